"""What a profile says: attributes found by name and by range, and files that cannot reach beyond the arrays."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanager_server.bundle import KnownProfile, ProfileWeights
from tanager_server.errors import BundleError

ATTRIBUTES = ("gender=female", "gender=male", "age=-17", "age=18-24", "age=25-", "member=true", "hobby=Sci Fi", "zip=7")
RANGES = {"age=-17": (None, 18.0), "age=18-24": (18.0, 25.0), "age=25-": (25.0, None)}


def weights(attributes=ATTRIBUTES, ranges=RANGES):
    rows = len(attributes)
    indices = np.zeros(rows, np.int32)
    return ProfileWeights(attributes, ranges, np.arange(rows + 1), indices, np.ones(rows, np.float32))


@pytest.mark.parametrize(
    ("profile", "rows"),
    [
        ({}, ()),
        ({"gender": "female"}, (0,)),
        ({"Gender": " FEMALE "}, (0,)),
        ({"age": 3.0}, (2,)),
        ({"age": 18.0}, (3,)),
        ({"age": 24.999}, (3,)),
        ({"age": 25}, (4,)),
        ({"AGE": 1e9}, (4,)),
        ({"age": "18-24"}, (3,)),
        ({"member": True}, (5,)),
        ({"member": False}, ()),
        ({"hobby": ("chess", "sci fi", "Sci Fi")}, (6,)),
        ({"zip": 7.0}, (7,)),
        ({"zip": 7.5}, ()),
        ({"member": True, "gender": "male", "age": 20.0}, (5, 1, 3)),
    ],
    ids=str,
)
def test_attributes_are_found_by_name_and_numbers_by_range(profile, rows):
    assert weights().know(profile).rows == rows


def test_words_that_are_not_known_are_left_for_the_encoder_and_nothing_else():
    profile = {"gender": "other", "about": "likes chess", "hobby": ("go", "sci fi"), "height": 180.0, "vip": True}
    rest = (("gender", "other"), ("about", "likes chess"), ("hobby", "go"))
    assert weights().know(profile) == KnownProfile((6,), rest, 2)


def test_who_knows_no_attribute_leaves_every_word():
    assert ProfileWeights.none().know({"a": "b", "c": 1.0}) == KnownProfile((), (("a", "b"),), 1)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_in_one_range_if_they_leave_no_gap(age):
    assert len(weights().know({"age": age}).rows) == 1


# Files


@pytest.fixture
def file(tmp_path):
    return tmp_path / "profile.npz"


def test_what_is_written_is_read_again(file):
    written = weights()
    written.write(file)
    read = ProfileWeights.read(file, items=1)
    assert (read.attributes, read.ranges) == (written.attributes, written.ranges)
    for name in ("indptr", "indices", "weights"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name), strict=True)


def test_no_attributes_are_written_and_read(file):
    ProfileWeights.none().write(file)
    assert ProfileWeights.read(file, items=3).attributes == ()


SOUND = {
    "names": {"attributes": ["a=b", "c=1-2"], "ranges": {"c=1-2": [1, 3]}},
    "indptr": np.array([0, 1, 2]),
    "indices": np.array([2, 0], np.int32),
    "weights": np.array([1, 2], np.float32),
}


def save(file, **changes):
    content: dict[str, Any] = SOUND | changes
    names = content["names"]
    if isinstance(names, dict):
        content["names"] = np.frombuffer(json.dumps(names).encode(), np.uint8)
    np.savez(file, allow_pickle=True, **content)


def test_the_sound_one_is_read(file):
    save(file)
    assert ProfileWeights.read(file, items=3).know({"c": 2.5}).rows == (1,)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ({"attributes": ["a=b", "A= B"], "ranges": {}}, "the same but for upper and lower case"),
        ({"attributes": ["a=b", "c"], "ranges": {}}, "'c': an attribute is called field=value"),
        ({"attributes": ["a=b", "=c"], "ranges": {}}, "'=c': an attribute is called"),
        ({"attributes": ["a=b", "c= "], "ranges": {}}, "an attribute is called"),
        ({"attributes": ["a=b", "c=1"], "ranges": {"d=1": [0, 1]}}, "'d=1' is no attribute"),
        ({"attributes": ["a=b", "c=1"], "ranges": {"c=1": [1, 1]}}, "'c=1' is empty"),
        ({"attributes": ["c=1", "c=2"], "ranges": {"c=1": [0, 2], "c=2": [1, 3]}}, "two of 'c' overlap"),
        ({"attributes": ["c=1", "C=2"], "ranges": {"c=1": [0, 2], "C=2": [1, 3]}}, "two of 'c' overlap"),
        ({"attributes": ["c=1", "c=2"], "ranges": {"c=1": [None, 2], "c=2": [None, 3]}}, "two of 'c' overlap"),
        ({"attributes": ["a=b", "c=1"], "ranges": {"c=1": [0, float("nan")]}}, "finite"),
        ({"attributes": ["a=b", "c=1"], "ranges": {"c=1": [0]}}, "names: "),
        ({"attributes": ["a=b", "c=1"]}, "Field required"),
        ({"attributes": ["a=b", "c=1"], "ranges": {}, "more": 1}, "Extra inputs"),
        (np.frombuffer(b"garbage", np.uint8), "names: Invalid JSON"),
        (np.frombuffer(b"{}" * 2, np.uint16), "the names are no bytes"),
        (np.array(["a=b"]), "the names are no bytes"),
        (np.array([{}], dtype=object), "not a profile file"),
        ({"attributes": ["a=b"], "ranges": {}}, "does not fit a catalogue of 3 items"),
    ],
    ids=str,
)
def test_names_that_make_no_sense_are_refused(file, names, problem):
    save(file, names=names)
    with pytest.raises(BundleError, match=r"profile\.npz: ") as refused:
        ProfileWeights.read(file, items=3)
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"indices": np.array([2, 3], np.int32)},
        {"indices": np.array([-1, 0], np.int32)},
        {"weights": np.array([1, np.nan], np.float32)},
        {"weights": np.array([1, 2], np.float64)},
        {"indptr": np.array([0, 1, 3])},
        {"indptr": np.array([0, 1, 1, 2])},
    ],
    ids=str,
)
def test_indices_that_reach_beyond_the_arrays_are_refused(file, changes):
    save(file, **changes)
    with pytest.raises(BundleError, match=r"profile\.npz: does not fit a catalogue of 3 items"):
        ProfileWeights.read(file, items=3)


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04"])
def test_what_is_no_archive_is_refused(file, content):
    file.write_bytes(content)
    with pytest.raises(BundleError, match=r"profile\.npz: not a profile file"):
        ProfileWeights.read(file, items=3)
