"""How many names attributes may have in all: filters have a column for each, of items and of users' profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager_server.errors import FieldViolation, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

MOST = 10_000
"""Of all items together, and of all profiles; each is an object of its own."""


def check_names(
    attributes: Iterable[Iterable[str]],
    *,
    field: str,
    whose: str,
    has: Callable[[str], bool],
    count: int,
    under_way: Collection[str] = (),
) -> set[str]:
    """Looks whether there would be too many names, if some attributes were written.

    What has more already is taken as it is; then nothing can bring another. Names that a write would do away with count
    until it is done.

    Args:
        attributes: names of what is to be written, one after the other.
        field: of each in the request, with `{}` for its place.
        whose: as a message says it.
        has: tells whether a name is there.
        count: how many there are.
        under_way: names that wait to be written, there or not.

    Returns:
        All the names. Those that are there too are under way from then on: what has them may be gone before they come.

    Raises:
        InvalidRequestError: there would be too many.
    """
    waiting = sum(not has(name) for name in under_way)
    seen, beyond = set[str](), 0
    for place, names in enumerate(attributes):
        for name in names:
            if name not in seen:
                seen.add(name)
                beyond += not has(name) and name not in under_way
        if beyond and count + waiting + beyond > MOST:
            raise InvalidRequestError(
                FieldViolation(
                    field.format(place),
                    f"{whose} would have more than {MOST} names together; give them the same names, and tell them "
                    "apart by values",
                )
            )
    return seen
