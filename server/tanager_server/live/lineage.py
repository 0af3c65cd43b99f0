"""Which bundle is served, and which was before: kept, so that the next start goes on with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tanager_server.errors import BundleError, BundleNotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tanager_server.bundle import Shelf

_ACTIVE, _PREVIOUS, _PREVIOUS_ENCODER = "active_bundle", "previous_bundle", "previous_encoder"
GIVEN = ""
"""Stands for the bundle that the server was given, whatever the name of its directory."""


class Lineage(NamedTuple):
    """Which bundle is served, and which was before.

    Attributes:
        active: name of its directory; empty for the one that the server was given.
        previous: the same of the one before; None if there was none.
        previous_encoder: fingerprint of that one's encoder.
    """

    active: str = GIVEN
    previous: str | None = None
    previous_encoder: str | None = None

    @classmethod
    def of_meta(cls, meta: Mapping[str, str]) -> Lineage:
        """As a state has it."""
        return cls(meta.get(_ACTIVE, GIVEN), meta.get(_PREVIOUS), meta.get(_PREVIOUS_ENCODER))

    def meta(self) -> dict[str, str | None]:
        """For a state to keep."""
        return {
            _ACTIVE: self.active or None,
            _PREVIOUS: self.previous,
            _PREVIOUS_ENCODER: self.previous_encoder,
        }

    def path(self, shelf: Shelf) -> Path:
        """Directory of the bundle that is served.

        Raises:
            BundleError: it is there no more.
        """
        if not self.active:
            return shelf.given
        try:
            return shelf.path(self.active)
        except BundleNotFoundError:
            raise BundleError(
                f"bundles: {self.active!r}, which was activated last, is not there; put it back, or start without "
                "`bundles` to serve `bundle`"
            ) from None
