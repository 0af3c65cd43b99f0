"""Filters over users: by their ids and the attributes of their profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tanager_server.errors import FieldViolation, InvalidRequestError
from tanager_server.filter import Columns, FilterError, Predicates

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from tanager_server.state.users import Users

_PART = 128  # profiles that are taken in at a time: about a millisecond


class UserFilter:
    """Tells whom a filter allows. It is of no bundle: all engines share one. For the thread that has the users.

    Args:
        users: all of them.
    """

    def __init__(self, users: Users) -> None:
        self._users = users
        self._columns = Columns()
        self._predicates = Predicates(self._columns)
        self._version = 0

    def follow(self) -> Generator[None, None, None]:
        """Takes in what changed of users since it was last called, and lets others run now and then.

        Users may change meanwhile, and others may call it; at the end it knows of that too.
        """
        users = self._users
        while True:
            began = users.version
            changed = users.profiles_changed_since(self._version)
            for start in range(0, len(changed), _PART):
                if start:
                    yield
                for slot in changed[start : start + _PART].tolist():
                    self._put(slot)
            self._version = max(self._version, began)
            if users.version == began:
                return

    def _put(self, slot: int) -> None:
        user_id = self._users.user_id(slot)
        if user_id is not None:
            profile = self._users.profile(slot) or {}
            attributes = {name: list(value) if isinstance(value, tuple) else value for name, value in profile.items()}
            self._columns.put(slot, item_id=user_id, title="", domain="", categories=(), attributes=attributes)
        elif slot < len(self._columns):
            self._columns.remove(slot)

    def forget(self, slot: int) -> None:
        """Forgets who had a slot, before `follow` would: for a purge, which leaves no text of the user behind."""
        if slot < len(self._columns):
            self._columns.remove(slot)

    def allowed(self, text: str) -> NDArray[np.uint8]:
        """(slots,) uint8: whom a filter allows; `follow` must have come to its end.

        Raises:
            InvalidRequestError: the filter cannot be read.
        """
        try:
            found = self._predicates.compile(text).mask
        except FilterError as error:
            raise InvalidRequestError(FieldViolation("filter", str(error))) from error
        allowed = np.zeros(self._users.slots, np.uint8)
        allowed[: len(found)] = found
        return allowed
