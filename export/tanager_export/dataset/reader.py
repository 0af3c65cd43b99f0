"""Load a dataset directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tanager_export.dataset.format import Dataset
from tanager_export.dataset.interactions import read_interactions
from tanager_export.dataset.problem import Problem, refuse
from tanager_export.dataset.records import read_items, read_metadata, read_users

if TYPE_CHECKING:
    import os

    import numpy as np
    from numpy.typing import NDArray

    from tanager_export.dataset.problem import Reporter


@dataclass(frozen=True, slots=True, eq=False)
class LocatedDataset:
    """A dataset and where in its files things are.

    Attributes:
        dataset: What could be read; its catalogue may be empty.
        item_lines: The line of each item in `items.jsonl`.
        interaction_lines: `(n,) int64`, the line of each interaction in `interactions.csv`.
        part: `(n,) int8`, the part of a split that each interaction is in, as `LocatedInteractions` has it.
    """

    dataset: Dataset
    item_lines: list[int]
    interaction_lines: NDArray[np.int64]
    part: NDArray[np.int8] | None


def load_dataset(directory: str | os.PathLike[str], *, progress: bool = False) -> Dataset:
    """Load a dataset directory.

    Args:
        directory: Holds `items.jsonl` and, each optional, `interactions.csv`, `users.jsonl` and `dataset.json`.
        progress: Whether to show a bar on stderr, if that is a terminal.

    Returns:
        The dataset, with at least one item.

    Raises:
        DatasetError: Anything in the directory is not as it should be: the message names file, line and mend.
    """
    return read_dataset(Path(directory), refuse, progress=progress).dataset


def read_dataset(directory: Path, report: Reporter, *, progress: bool = False) -> LocatedDataset:
    """Read what can be read of a dataset directory, and report what cannot."""
    if not directory.is_dir():
        report(Problem(str(directory), None, "no-directory", "no such directory"))
    items, item_lines = read_items(directory, report)
    item_index = {item.id: position for position, item in enumerate(items)}
    located = read_interactions(directory, item_index, report, progress=progress)
    metadata = read_metadata(directory, report)
    dataset = Dataset(
        name=metadata.name,
        items=tuple(items),
        interactions=located.interactions,
        users=tuple(read_users(directory, report)),
        description=metadata.description,
        source=metadata.source,
        licence=metadata.licence,
        simulated_behaviour=metadata.simulated_behaviour,
        times=metadata.times,
        texts_until=metadata.texts_until,
    )
    return LocatedDataset(dataset, item_lines, located.lines, located.part)
