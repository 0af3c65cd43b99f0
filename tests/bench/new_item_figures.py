"""Figures of items that nobody took up: those that training put into a bundle, beside those by their traits alone.

python -m tests.bench.new_item_figures BUNDLE
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tanager_server.bundle import Item, open_bundle
from tanager_server.bundle import manifest as schema

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tanager_server.bundle import Bundle, Column, ExpectedColumns, ItemFigures, Neighbours

REPETITIONS = 50
BATCH = 256


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of B or T beside those of the bundle.

    Attributes:
        error: greatest difference of an entry that both have.
        largest: greatest entry of them all, in absolute value.
        entries: of all columns of the bundle.
        missing: entries of the bundle that are not there.
        more: entries that the bundle does not have.
        above_least: how far one of these is above what a row of the bundle keeps at least, as a share of that; what is
            negative is below. Never above 0 but by rounding: such entries were cut off as the smallest of their rows.
    """

    error: float
    largest: float
    entries: int
    missing: int
    more: int
    above_least: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """All figures beside those of the bundle.

    Attributes:
        items: that nobody took up.
        neighbours: columns of B.
        transitions: columns of T.
        priors: greatest difference of a prior.
        sequence: greatest difference of a coordinate in the space of the sequence head; 0 where there is none.
    """

    items: int
    neighbours: Columns
    transitions: Columns
    priors: float
    sequence: float


def compare(bundle: Bundle) -> Comparison:
    """Compares the figures of those items that nothing was learned of, with all their entries."""
    new_items, vectors, priors = bundle.read_new_items(), bundle.read_vectors(), bundle.read_priors()
    items = read_items(bundle)
    known = np.union1d(new_items.neighbours.items, new_items.transitions.items)
    unknown = np.setdiff1d(np.arange(len(items)), known)
    if not len(known):  # nothing was learned of any
        unknown = np.flatnonzero([item.popularity == 0 for item in items])
    figures = new_items.figures_of(vectors[unknown], [items[at] for at in unknown], most=len(items))
    sequence = 0.0
    if bundle.manifest.sequence is not None:
        own = bundle.read_sequence_vectors()[unknown]
        sequence = _greatest(np.array([figure.sequence for figure in figures]).reshape(own.shape) - own)
    return Comparison(
        len(unknown),
        _columns(bundle.read_neighbours(), [one.neighbours for one in figures], unknown, new_items.neighbours),
        _columns(bundle.read_transitions(), [one.transitions for one in figures], unknown, new_items.transitions),
        _greatest(np.array([one.priors for one in figures]).reshape(-1, 2) - priors[:, unknown].T),
        sequence,
    )


def read_items(bundle: Bundle) -> list[Item]:
    """The catalogue in full."""
    with bundle.file(schema.ITEMS).open(encoding="utf-8") as lines:
        return [Item.model_validate_json(line) for line in lines]


def _columns(rows: Neighbours, columns: list[Column], unknown: NDArray[np.int64], expected: ExpectedColumns) -> Columns:
    count = len(rows.indptr) - 1
    stored, found = np.zeros((count, len(unknown)), np.float32), np.zeros((count, len(unknown)), np.float32)
    place = np.full(count, -1)
    place[unknown] = np.arange(len(unknown))
    at = place[rows.indices]
    stored[np.repeat(np.arange(count), np.diff(rows.indptr))[at >= 0], at[at >= 0]] = rows.weights[at >= 0]
    for number, column in enumerate(columns):
        found[column.indices, number] = column.weights
    # What a row keeps at least, as the bundle itself shows; of rows that are not full there is none.
    there, here = stored != 0, found != 0
    least = np.full(count, np.inf)
    least[expected.items] = expected.least
    more = here & ~there
    above = (np.abs(found) / np.where(least > 0, least, np.nan)[:, None] - 1)[more]
    return Columns(
        error=_greatest((stored - found)[there & here]),
        largest=_greatest(stored),
        entries=int(there.sum()),
        missing=int((there & ~here).sum()),
        more=int(more.sum()),
        above_least=float(np.nan_to_num(above, nan=np.inf).max(initial=-np.inf)),
    )


def _greatest(values: NDArray[np.floating]) -> float:
    return float(np.abs(values).max(initial=0.0))


def main() -> None:
    """Compares, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    bundle = open_bundle(parser.parse_args().bundle)
    found = compare(bundle)
    new_items, vectors, items = bundle.read_new_items(), bundle.read_vectors(), read_items(bundle)
    print(
        f"{len(items):,} items, {found.items:,} of which nothing is learned; {len(new_items.layout)} traits beside text"
    )
    for name, columns in (("B", found.neighbours), ("T", found.transitions)):
        print(
            f"{name:<10} {columns.entries:,} entries up to {columns.largest:.3g}: off by {columns.error:.1e} at most, "
            f"{columns.missing} missing, {columns.more} more"
        )
    print(f"{'priors':<10} off by {found.priors:.1e} at most")
    if new_items.sequence is not None:
        print(f"{'sequence':<10} off by {found.sequence:.1e} at most")
    file = bundle.file(schema.NEW_ITEMS)
    print(f"{'file':<10} {file.stat().st_size / 1e6:.2f} MB")

    def alone(at: int) -> ItemFigures:
        return new_items.figures_of(vectors[at : at + 1], items[at : at + 1])[0]

    alone(0)
    began = time.perf_counter()
    for number in range(REPETITIONS):
        alone(number % len(items))
    print(f"{'time':<10} {(time.perf_counter() - began) / REPETITIONS * 1e3:.2f} ms for an item alone")
    some = min(BATCH, len(items))
    began = time.perf_counter()
    new_items.figures_of(vectors[:some], items[:some])
    print(f"{'':<10} {(time.perf_counter() - began) / some * 1e3:.2f} ms for each of {some}")


if __name__ == "__main__":
    main()
