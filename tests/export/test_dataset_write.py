"""Writing: what is written loads as the same, whole or not at all."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tanager_export.atomic import TargetError
from tanager_export.dataset import (
    Dataset,
    DatasetError,
    Interactions,
    Item,
    User,
    load_dataset,
    write_dataset,
    writer,
)

if TYPE_CHECKING:
    from pathlib import Path

letters = st.characters(exclude_categories=["Cs"], exclude_characters=[chr(c) for c in (*range(32), 127)])
ids = st.text(letters, min_size=1, max_size=8).filter(str.strip)
texts = st.text(letters | st.sampled_from("\t\n"), min_size=1, max_size=30).filter(str.strip)
attributes = st.dictionaries(
    st.text(letters, max_size=5),
    st.text(letters, max_size=5)
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.lists(st.text(letters, max_size=5), max_size=3).map(tuple),
    max_size=3,
)
items = st.builds(
    Item,
    id=ids,
    title=st.text(letters, max_size=10),
    text=texts,
    domain=st.text(letters, max_size=5),
    categories=st.lists(st.text(letters, max_size=5), max_size=3).map(tuple),
    attributes=attributes,
)


@st.composite
def datasets(draw):
    catalogue = draw(st.lists(items, min_size=1, max_size=4, unique_by=lambda item: item.id))
    people = draw(st.lists(st.builds(User, id=ids, attributes=attributes), max_size=3, unique_by=lambda user: user.id))
    names = draw(st.lists(ids, min_size=1, max_size=3, unique=True))
    rows = draw(
        st.lists(
            st.tuples(
                st.integers(0, len(names) - 1),
                st.integers(0, len(catalogue) - 1),
                st.integers(-(10**17), 10**17),
                st.floats(width=32, allow_nan=False, allow_infinity=False),
            ),
            max_size=8,
        )
    )
    # Ids of users stand in order of first appearance.
    seen = list(dict.fromkeys(row[0] for row in rows))
    interactions = Interactions(
        user=np.array([seen.index(row[0]) for row in rows], np.int32),
        item=np.array([row[1] for row in rows], np.int32),
        timestamp=np.array([row[2] for row in rows], np.int64),
        weight=np.array([row[3] for row in rows], np.float32),
        user_ids=tuple(names[user] for user in seen),
    )
    return Dataset(
        name=draw(ids).strip(),
        items=tuple(catalogue),
        interactions=interactions,
        users=tuple(people),
        description=draw(st.text(letters, max_size=10)),
        simulated_behaviour=draw(st.booleans()),
        times=draw(st.sampled_from(["seconds", "order", "none"])),
    )


def assert_same(one: Dataset, other: Dataset) -> None:
    for field in ("name", "description", "source", "licence", "simulated_behaviour", "times", "items", "users"):
        assert getattr(one, field) == getattr(other, field)
    assert one.interactions.user_ids == other.interactions.user_ids
    for column in ("user", "item", "timestamp", "weight"):
        np.testing.assert_array_equal(getattr(one.interactions, column), getattr(other.interactions, column))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dataset=datasets())
def test_what_is_written_loads_as_the_same(tmp_path, dataset):
    assert_same(load_dataset(write_dataset(dataset, tmp_path / "round", overwrite=True)), dataset)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.binary(max_size=60) | st.text(st.sampled_from('u,i1"\n\r 9-+.e_\t\u0661'), max_size=60).map(str.encode))
@example(b'"u",i1,"1"\n\n"u\nv",i1,1')
@example(b'u,i1,1,1\n"u')
def test_whatever_a_csv_file_holds_it_loads_or_is_refused(tmp_path, rows):
    (tmp_path / "items.jsonl").write_text('{"id": "i1", "text": "t"}')
    (tmp_path / "interactions.csv").write_bytes(b"user_id,item_id,timestamp,weight\n" + rows)
    with contextlib.suppress(DatasetError):
        assert np.isfinite(load_dataset(tmp_path).interactions.weight).all()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(line=st.binary(max_size=40) | st.text(st.sampled_from('{}[]":, \\ud8001etxid'), max_size=40).map(str.encode))
def test_whatever_an_items_file_holds_it_loads_or_is_refused(tmp_path, line):
    (tmp_path / "items.jsonl").write_bytes(line)
    with contextlib.suppress(DatasetError):
        assert load_dataset(tmp_path).items


SMALL = Dataset(name="small", items=(Item("a", text="first"),))


def contents(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_weights_are_written_as_short_as_they_were(tmp_path):
    columns = Interactions(
        user=np.zeros(3, np.int32),
        item=np.zeros(3, np.int32),
        timestamp=np.arange(3, dtype=np.int64),
        weight=np.array([0.1, 4, 1e-7], np.float32),
        user_ids=('u "x", y',),
    )
    directory = write_dataset(Dataset(name="w", items=SMALL.items, interactions=columns), tmp_path / "w")
    lines = (directory / "interactions.csv").read_text().splitlines()
    assert lines == [
        "user_id,item_id,timestamp,weight",
        '"u ""x"", y",a,0,0.1',
        '"u ""x"", y",a,1,4',
        '"u ""x"", y",a,2,0.0000001',
    ]


def test_a_dataset_that_is_there_is_only_replaced_on_demand(tmp_path):
    target = write_dataset(SMALL, tmp_path / "d")
    (target / "users.jsonl").write_text('{"id": "old"}\n')
    before = contents(target)
    with pytest.raises(TargetError, match="is there already"):
        write_dataset(SMALL, target)
    assert contents(target) == before
    write_dataset(Dataset(name="new", items=SMALL.items), target, overwrite=True)
    assert load_dataset(target).name == "new"
    assert sorted(contents(target)) == ["dataset.json", "items.jsonl"]


def test_an_empty_directory_is_taken(tmp_path):
    (tmp_path / "d").mkdir()
    assert load_dataset(write_dataset(SMALL, tmp_path / "d")).name == "small"


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_dataset_is_never_replaced(tmp_path, overwrite):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("more of it")
    for name in ("d", "file"):
        with pytest.raises(TargetError):
            write_dataset(SMALL, tmp_path / name, overwrite=overwrite)
    assert contents(tmp_path) == {"d/thesis.txt": b"years of work", "file": b"more of it"}


@pytest.mark.parametrize("there_before", [False, True])
def test_a_write_that_breaks_off_leaves_things_as_they_were(tmp_path, monkeypatch, there_before):
    if there_before:
        write_dataset(SMALL, tmp_path / "d")
    before = contents(tmp_path)

    def interrupted(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(writer, "write_items", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(Dataset(name="new", items=SMALL.items), tmp_path / "d", overwrite=True)
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == (["d"] if there_before else [])


def test_a_full_disk_is_told_in_a_line(tmp_path, monkeypatch):
    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "write_items", full)
    with pytest.raises(TargetError, match="cannot be written: No space left on device"):
        write_dataset(SMALL, tmp_path / "d")
