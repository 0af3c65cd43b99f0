"""Users as a request sees them: their histories as positions in the catalogue that is served."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tanager_server.engine.attribute_names import check_names
from tanager_server.engine.audience_filter import UserFilter
from tanager_server.state.item_numbers import ItemNumbers
from tanager_server.state.users import Users

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from numpy.typing import NDArray

    from tanager_server.bundle import Catalogue, ProfileValue

_NOWHERE = -1


class Past(NamedTuple):
    """What a user did with items that the catalogue has.

    Attributes:
        positions: of the items, oldest event first.
        weights: one for each.
    """

    positions: list[int]
    weights: list[float]


NO_PAST = Past([], [])


class KnownUsers:
    """Users, and where the items of their histories are.

    Args:
        catalogue: what is served.
        of: what knows the users already, over another catalogue; both know the same ones from then on.

    Attributes:
        users: profiles and histories by number of the item.
        numbers: of all items that anybody did something with.
        filter: tells whom a filter over users allows.
    """

    def __init__(self, catalogue: Catalogue, *, of: KnownUsers | None = None) -> None:
        self.users: Users = Users() if of is None else of.users
        self.numbers: ItemNumbers = ItemNumbers() if of is None else of.numbers
        self.filter: UserFilter = UserFilter(self.users) if of is None else of.filter
        self._catalogue = catalogue
        self._positions = np.empty(0, np.int32)
        self._follow()  # here, or the first call would wait for it

    @property
    def positions(self) -> NDArray[np.int32]:
        """(numbers,) int32: the position of each number's item, -1 where the catalogue does not have it."""
        self._follow()
        return self._positions[: len(self.numbers)]

    def moved(self, item_id: str, position: int | None) -> None:
        """An item came to be at a position, or is no more."""
        self._follow()
        number = self.numbers.find(item_id)
        if number is not None:
            self._positions[number] = _NOWHERE if position is None else position

    def _follow(self) -> None:
        """Finds what has got a number since."""
        known, count = len(self._positions), len(self.numbers)
        if known == count:
            return
        new = [self._catalogue.position(self.numbers.item_id(number)) for number in range(known, count)]
        found = np.array([_NOWHERE if position is None else position for position in new], np.int32)
        self._positions = np.concatenate((self._positions, found))

    def check_names(self, profiles: Iterable[Mapping[str, ProfileValue]], under_way: Collection[str] = ()) -> set[str]:
        """Looks whether attributes would have too many names, if some profiles were written: see `check_names`.

        Raises:
            InvalidRequestError: they would.
        """
        names = self.users.attribute_names
        return check_names(
            profiles,
            field="users[{}].profile",
            whose="the profiles of all users",
            has=names.__contains__,
            count=len(names),
            under_way=under_way,
        )

    def past(self, user_id: str) -> Past:
        """What a user did; nothing, where nothing is known of the user."""
        numbers, weights = self.users.history(user_id)
        if not len(numbers):
            return NO_PAST
        found = self.positions[numbers]
        there = found != _NOWHERE
        return Past(found[there].tolist(), weights[there].tolist())

    def profile(self, user_id: str) -> Mapping[str, ProfileValue]:
        """The profile of a user; empty, where there is none."""
        slot = self.users.slot(user_id)
        found = None if slot is None else self.users.profile(slot)
        return {} if found is None else found
