"""The sample dataset: real works, simulated behaviour."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tanager_export.atomic import fresh_directory
from tanager_export.dataset.interactions import REQUIRED
from tanager_export.dataset.records import ITEMS, Metadata
from tanager_export.dataset.writer import Written, write_interactions, write_items, write_metadata, write_users
from tanager_export.sample.simulate import DEVICES, EVENTS, PARTS_OF_DAY, simulate
from tanager_export.sample.works import load_works

if TYPE_CHECKING:
    import os

NAME = "tanager-sample"

_DESCRIPTION = (
    "Books, films, albums and video games with simulated behaviour. The works are real and are described in words "
    "of Tanager's own. The users and everything they do come from a random model: nothing here says anything about "
    "real people, or about how the works are liked."
)

_README = """# tanager-sample

The works in `items.jsonl` are real: {items} books, films, albums and video games, described in words of Tanager's own.

The behaviour is simulated. The {users} users in `users.jsonl` do not exist, and the {interactions} interactions in
`interactions.csv` come from a seeded random model (seed {seed}). They show how a recommender works; they say nothing
about real people, or about how the works are liked.

`tanager-export dataset sample DIR --seed {seed}` makes this directory again, byte for byte. The model is described,
with its formulas, in the module `tanager_export.sample.simulate`.
"""


def write_sample(
    target: str | os.PathLike[str], *, seed: int = 0, users: int = 2400, overwrite: bool = False
) -> Written:
    """Write the sample dataset; the same seed and number of users give the same bytes.

    Args:
        target: The dataset directory to create.
        seed: Of the simulation, any integer from 0.
        users: How many to simulate.
        overwrite: Whether a dataset that is there already may be replaced.

    Raises:
        TargetError: The target is taken.
        DatasetError: The files of works are damaged.
    """
    works = load_works()
    simulation = simulate(works, users=users, seed=seed)
    people = simulation.population.users
    written = Written(
        Path(target),
        NAME,
        items=len(works),
        users=len(set(simulation.user.tolist())),
        interactions=len(simulation.user),
    )
    rows = zip(
        (people[index].id for index in simulation.user.tolist()),
        (works[index].id for index in simulation.work.tolist()),
        simulation.timestamp.tolist(),
        (EVENTS[index] for index in simulation.event.tolist()),
        (simulation.event + 1).tolist(),
        (DEVICES[index] for index in simulation.device.tolist()),
        (PARTS_OF_DAY[index] for index in simulation.part_of_day.tolist()),
        strict=True,
    )
    readme = _README.format(
        items=written.items, users=f"{len(people):,}", interactions=f"{written.interactions:,}", seed=seed
    )
    with fresh_directory(target, marker=ITEMS, overwrite=overwrite) as directory:
        write_metadata(directory, Metadata(NAME, _DESCRIPTION, "Tanager", "Apache-2.0", simulated_behaviour=True))
        write_items(directory, (work.item() for work in works))
        write_users(directory, people)
        write_interactions(directory, (*REQUIRED, "event", "weight", "device", "part_of_day"), rows)
        (directory / "README.md").write_text(readme, encoding="utf-8", newline="\n")
    return written
