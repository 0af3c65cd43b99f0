"""What an item that the bundle does not have is expected to be, against the formulas, and files that do not fit."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanager_server.bundle import (
    Description,
    ExpectedColumns,
    ExpectedPriors,
    NewItems,
    NumberRanks,
    TextProjection,
    TraitLayout,
)
from tanager_server.errors import BundleError

DIM, ITEMS, STEPS, SEQUENCE_DIM = 6, 30, 4, 5
NAMES = ("category=love", "domain=film", "by=Ann", "used=True")
YEARS = np.array([1990.0, 1990, 1994, 2000, 2000, 2000, 2010])
LAYOUT = TraitLayout(
    NAMES,
    np.array([1.0, 2.0, 3.0, 0.5]),
    (NumberRanks.of("price", np.array([1.0, 3, 5])), NumberRanks.of("year", YEARS)),
    steps=STEPS,
    width=0.2,
)
TRAITS = DIM + len(LAYOUT)


def columns(random: np.random.Generator, size: float = 0.01) -> ExpectedColumns:
    own = np.sort(random.permutation(ITEMS)[:20]).astype(np.int32)
    weights, offset, least = (
        (size * random.normal(size=shape)).astype(np.float32) for shape in ((TRAITS, 20), (20,), (20,))
    )
    return ExpectedColumns.fit(own, weights, offset, np.abs(least), dim=DIM)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(1)


@pytest.fixture
def new_items(random) -> NewItems:
    priors, projection = random.normal(size=(TRAITS, 2)), random.normal(size=(DIM, SEQUENCE_DIM - 2))
    return NewItems(
        DIM,
        LAYOUT,
        columns(random),
        columns(random, size=3.0),
        ExpectedPriors(
            priors.astype(np.float32),
            np.array([-3.0, -2.0], np.float32),
            1e-3,
            random.normal(size=(2, 4)).astype(np.float32),
        ),
        TextProjection(projection.astype(np.float32), np.array([0.1, -0.2, 0.3], np.float32), -0.4, 9.0),
    )


def some(count: int) -> list[Description]:
    return [
        Description(
            "film" if at % 2 else "",
            ("love", "other")[: at % 3],
            {"by": ["Ann", "Bo"], "used": at % 5 == 0, "year": 1990 + at % 25, "price": 0.5 * at},
        )
        for at in range(count)
    ]


# Traits


@given(st.lists(st.integers(0, 9), min_size=1), st.floats(-1, 10))
def test_a_number_lies_in_the_middle_of_its_ranks(values, number):
    share = NumberRanks.of("n", np.array(values, float)).share(np.array([number]))[0]
    below, equal = sum(value < number for value in values), sum(value == number for value in values)
    assert share == pytest.approx((below + equal / 2) / len(values))


def test_names_are_weighed_and_of_length_one_together():
    row = LAYOUT.matrix([Description("film", ("love", "love", "unheard of"), {"by": ("Ann", "Bo"), "used": True})])[0]
    expected = np.array([1.0, 2.0, 3.0, 0.5]) / math.sqrt(1 + 4 + 9 + 0.25)
    np.testing.assert_allclose(row[:4], expected)
    assert not row[4:].any()
    assert not LAYOUT.matrix([Description("book", ("war",), {"used": False, "by": "ann", "pages": 7})]).any()


@pytest.mark.parametrize(("year", "share"), [(1990, 1 / 7), (2005.5, 6 / 7), (-1e300, 0), (10**30, 1), (2010, 6.5 / 7)])
def test_numbers_are_bells_along_their_ranks(year, share):
    row = LAYOUT.matrix([Description(attributes={"year": year})])[0]
    bells = np.exp(-0.5 * ((share - np.linspace(0, 1, STEPS)) / 0.2) ** 2)
    np.testing.assert_allclose(row[4 + STEPS :], bells / np.linalg.norm(bells), atol=1e-12)
    assert not row[: 4 + STEPS].any()


@pytest.mark.parametrize("year", [math.nan, math.inf, 10**400, "1990", True, []])
def test_what_is_no_number_says_nothing(year):
    assert not LAYOUT.matrix([Description(attributes={"year": year})]).any()


# Figures


def test_figures_are_those_of_the_formulas(new_items, unit_vectors):
    items, vectors = some(70), unit_vectors(70, DIM)
    traits = np.concatenate((vectors, LAYOUT.matrix(items)), axis=1)
    found = new_items.figures_of(vectors, items)
    for name in ("neighbours", "transitions"):
        expected = getattr(new_items, name)
        weights = np.concatenate((expected.of_text, expected.of_others.astype(float) * expected.scale))
        whole = traits @ weights + expected.offset
        clear = np.abs(np.abs(whole) - expected.least) > 1e-6
        for row, figures in enumerate(found):
            dense = np.zeros(ITEMS)
            indices, values = getattr(figures, name)
            dense[indices] = values
            kept = np.where(np.abs(whole[row]) >= expected.least, whole[row], 0)
            np.testing.assert_allclose(dense[expected.items][clear[row]], kept[clear[row]], atol=1e-5)
            assert (indices.dtype, values.dtype) == (np.int32, np.float32)
            assert (np.diff(indices) > 0).all()
    share = np.maximum(np.exp(traits @ new_items.priors.weights + new_items.priors.offset) - 1e-3, 0)
    logs = np.log(share + 1e-3)
    of_prior = np.stack((logs[:, 0], share[:, 0], logs[:, 1], np.ones(70)))
    expected_priors = (new_items.priors.of_figures @ of_prior).T
    np.testing.assert_allclose([figures.priors for figures in found], expected_priors, rtol=1e-4, atol=1e-4)
    own = np.column_stack((vectors @ new_items.sequence.weights + new_items.sequence.offset, np.full(70, -0.4)))
    sequence = np.array([figures.sequence for figures in found])
    np.testing.assert_allclose(sequence[:, :-1], own / 9, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(sequence, axis=1), 1, atol=1e-6)


def test_an_item_has_alone_what_it_has_among_others(new_items, unit_vectors):
    items, vectors = some(150), unit_vectors(150, DIM)
    together = new_items.figures_of(vectors, items)
    for at in (0, 63, 64, 149):
        item = items[at]
        alone = new_items.figures(
            vectors[at], domain=item.domain, categories=item.categories, attributes=item.attributes
        )
        for one, other in zip(alone[:2], together[at][:2], strict=True):
            np.testing.assert_array_equal(one.indices, other.indices)
            np.testing.assert_allclose(one.weights, other.weights, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(alone.priors, together[at].priors, atol=1e-5)
        np.testing.assert_allclose(alone.sequence, together[at].sequence, atol=1e-6)
    assert new_items.figures_of(vectors[:0], []) == []


def test_the_largest_entries_are_kept_where_there_are_too_many(new_items, unit_vectors):
    vectors = unit_vectors(1, DIM)
    whole, few = (new_items.figures_of(vectors, some(1), most=most)[0].neighbours for most in (ITEMS, 3))
    largest = np.sort(np.argsort(-np.abs(whole.weights))[:3])
    np.testing.assert_array_equal(few.indices, whole.indices[largest])
    np.testing.assert_array_equal(few.weights, whole.weights[largest])


@pytest.mark.parametrize("size", [1e-15, 1e-7, 1.0, 1e4])
def test_weights_of_any_size_keep_their_precision(random, size):
    weights = (size * random.normal(size=(TRAITS, 3))).astype(np.float32)
    nothing = np.zeros(3, np.float32)
    found = ExpectedColumns.fit(np.arange(3, dtype=np.int32), weights, nothing, nothing, dim=DIM)
    kept = np.concatenate((found.of_text, found.of_others.astype(np.float32) * np.float32(found.scale)))
    # Half of the last of eleven bits; the small beside the largest lose no more than that of a ten millionth.
    np.testing.assert_allclose(kept, weights, rtol=2**-11, atol=1e-7 * size)


def test_a_vector_longer_than_any_keeps_its_direction(new_items, unit_vectors):
    short = replace(new_items.sequence, longest=0.5)
    vectors = unit_vectors(20, DIM)
    found = short.of(vectors)
    whole = np.column_stack((vectors @ short.weights + short.offset, np.full(20, short.bias)))
    long = np.linalg.norm(whole, axis=1) > 0.5
    assert long.any()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(
        found[long, :-1], (whole / np.linalg.norm(whole, axis=1, keepdims=True))[long], atol=1e-6
    )


def test_nothing_learned_is_nothing_expected(unit_vectors):
    figures = NewItems.none(DIM).figures(unit_vectors(1, DIM)[0], domain="film", categories=("love",))
    assert [len(column.indices) for column in figures[:2]] == [0, 0]
    assert figures.priors.tolist() == [0, 0]
    assert figures.sequence is None


def test_a_share_that_cannot_be_is_still_a_number(new_items, unit_vectors):
    priors = replace(new_items.priors, offset=np.array([1e5, -1e5], np.float32))
    found = replace(new_items, priors=priors).figures_of(unit_vectors(3, DIM), some(3))
    assert np.isfinite([figures.priors for figures in found]).all()


# Files


@pytest.fixture
def file(tmp_path):
    return tmp_path / "new_items.npz"


def read(file) -> NewItems:
    return NewItems.read(file, items=ITEMS, dim=DIM, sequence_dim=SEQUENCE_DIM)


@pytest.mark.parametrize("none", [False, True])
def test_what_is_written_is_read_again(file, new_items, unit_vectors, none):
    written = NewItems.none(DIM) if none else new_items
    written.write(file)
    again = NewItems.read(file, items=ITEMS, dim=DIM, sequence_dim=None if none else SEQUENCE_DIM)
    assert again.layout.names == written.layout.names
    for one, other in zip(
        written.figures_of(unit_vectors(9, DIM), some(9)), again.figures_of(unit_vectors(9, DIM), some(9)), strict=True
    ):
        for column, other_column in zip(one[:2], other[:2], strict=True):
            np.testing.assert_array_equal(column.indices, other_column.indices, strict=True)
            np.testing.assert_array_equal(column.weights, other_column.weights, strict=True)
        np.testing.assert_array_equal(one.priors, other.priors, strict=True)
        np.testing.assert_array_equal(one.sequence, other.sequence)


def changed(file, **arrays) -> None:
    with np.load(file) as archive:
        whole = dict(archive)
    np.savez(file, **whole | arrays)


@pytest.mark.parametrize(
    "fits", [{"items": 10}, {"dim": DIM + 1}, {"sequence_dim": SEQUENCE_DIM + 1}, {"sequence_dim": 1}]
)
def test_a_file_of_another_bundle_is_refused(file, new_items, fits):
    new_items.write(file)
    with pytest.raises(BundleError, match="export the bundle again"):
        NewItems.read(file, **{"items": ITEMS, "dim": DIM, "sequence_dim": SEQUENCE_DIM} | fits)


def test_a_head_without_a_projection_is_refused_and_a_projection_without_a_head(file, new_items):
    replace(new_items, sequence=None).write(file)
    with pytest.raises(BundleError, match="it has no sequence head, and the bundle has; export the bundle again"):
        read(file)
    new_items.write(file)
    with pytest.raises(BundleError, match="the bundle has no sequence head, and it has"):
        NewItems.read(file, items=ITEMS, dim=DIM)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("neighbours_items", np.arange(20, dtype=np.int64)),
        ("neighbours_items", np.zeros(20, np.int32)),
        ("neighbours_items", np.arange(-1, 19, dtype=np.int32)),
        ("neighbours_items", np.zeros((), np.int32)),
        ("neighbours_text", np.zeros((DIM, 20), np.float32)),
        ("neighbours_text", np.full((DIM, 20), np.inf, np.float16)),
        ("neighbours_others", np.full((len(LAYOUT), 20), np.nan, np.float16)),
        ("transitions_others", np.zeros((len(LAYOUT), 19), np.float16)),
        ("transitions_scale", np.array(np.nan)),
        ("transitions_scale", np.array(1e9)),
        ("transitions_offset", np.full(20, 1e7, np.float32)),
        ("transitions_least", np.full(20, np.nan, np.float32)),
        ("priors_weights", np.zeros((TRAITS + 1, 2), np.float32)),
        ("priors_weights", np.full((TRAITS, 2), np.nan, np.float32)),
        ("priors_least_share", np.array(0.0)),
        ("priors_of_figures", np.zeros((2, 3), np.float32)),
        ("sequence_weights", np.zeros((DIM, 2), np.float32)),
        ("sequence_bias", np.array(np.inf)),
        ("sequence_longest", np.array(0.0)),
        ("name_weights", np.zeros(3)),
        ("name_weights", np.full(4, np.nan)),
        ("number_starts", np.array([0, 4, 7])),
        ("number_starts", np.array([0, 9, 7])),
        ("number_starts", np.array([3, 7])),
        ("number_values", np.array([1.0, 3, 5, 1990, 1994, 2000, np.nan])),
        ("number_values", np.array([1.0, 3, 5, 1990, 1994, 2000, 2000])),
        ("number_values", np.zeros(())),
        ("number_ends", np.array([1, 2, 3, 2, 3, 6, 6])),
        ("number_ends", np.array([0, 2, 3, 2, 3, 6, 7])),
        ("names", np.zeros((2, 2), np.uint8)),
        ("names", np.frombuffer(b"{}", np.uint8)),
        ("names", np.array([{"pickled": "object"}], object)),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value)[:30],
)
def test_arrays_of_another_kind_are_refused(file, new_items, name, value):
    new_items.write(file)
    read(file)
    changed(file, **{name: value})
    with pytest.raises(BundleError, match=r"new_items\.npz: "):
        read(file)


@pytest.mark.parametrize(
    "changes",
    [{"names": [*NAMES[:3], NAMES[0]]}, {"numbers": ["year", "year"]}, {"width": 0}, {"steps": -1}, {"more": 1}],
    ids=str,
)
def test_names_that_are_not_sound_are_refused(file, new_items, changes):
    new_items.write(file)
    with np.load(file) as archive:
        names = json.loads(archive["names"].tobytes())
    changed(file, names=np.frombuffer(json.dumps(names | changes).encode(), np.uint8))
    with pytest.raises(BundleError, match="names: "):
        read(file)


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04"])
def test_what_is_no_archive_is_refused(file, content):
    file.write_bytes(content)
    with pytest.raises(BundleError, match="not a new items file"):
        read(file)
