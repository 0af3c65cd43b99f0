"""Whom an item is for, among all users that the server knows.

Scores are those of `Audience`, and nobody is passed over: for each event of each user a compiled loop adds what the
item gets for it, which takes some nanoseconds. All that depends on the item is put into one table by item number
before: its columns of B and T and the products of its text. The histories are read where `Users` keeps them, so a
change counts at once, and only two things that are kept by slot have to follow it: the rows of A that a profile has,
and what the sequence head expects next.

The text of a large catalogue is read in bytes at first; the users who come of that, and some more, are scored once more
with exact products. So no score that is returned is an estimate.

Items that came after the bundle was made are given by their figures like all others: see `AudienceItem`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tanager_server.engine._audience import Scorer
from tanager_server.index.topk import top

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from numpy.typing import NDArray

    from tanager_server.engine.audience_tables import AudienceItem, AudienceTables, Items
    from tanager_server.state.users import Users

_PART = 8192  # slots that are scored at a time: about a millisecond
_SPARE = 64  # users beyond those asked for whose scores are looked at once more


class Members(NamedTuple):
    """The users whom an item is for, best first; equals in the order of their slots.

    Attributes:
        user_ids: who.
        scores: what the item scores for each.
        candidates: number of users who might have been among them.
    """

    user_ids: list[str]
    scores: list[float]
    candidates: int


class AudienceIndex:
    """Finds the users whom an item is for. For the thread that has the users.

    Args:
        users: all of them.
        tables: made for the generation that items are given in.
    """

    def __init__(self, users: Users, tables: AudienceTables) -> None:
        self._users, self.tables = users, tables

    def publish(self, tables: AudienceTables) -> None:
        """Goes over to another generation: the next search is in its terms."""
        self.tables = tables

    def find(
        self,
        item: AudienceItem,
        count: int,
        *,
        items: Items,
        allowed: Callable[[], NDArray[np.uint8]] | None = None,
        include_seen: bool = False,
    ) -> Members:
        """The same as `search`, at once."""
        search = self.search(item, count, items=items, allowed=allowed, include_seen=include_seen)
        while True:
            try:
                next(search)
            except StopIteration as done:
                members: Members = done.value
                return members

    def search(
        self,
        item: AudienceItem,
        count: int,
        *,
        items: Items,
        allowed: Callable[[], NDArray[np.uint8]] | None = None,
        include_seen: bool = False,
    ) -> Generator[None, None, Members]:
        """Finds the best users for an item, and lets others run every millisecond or so.

        Users may change meanwhile: those who are returned are scored as they are at the end, and who is gone is not
        among them.

        Args:
            item: what for.
            count: how many users are wanted.
            items: the catalogue.
            allowed: gives (slots,) uint8, other than 0 for slots of users who may be among them; slots beyond it may
                not. None for all.
            include_seen: whether users who did something with the item may be among them.
        """
        users, tables = self._users, self.tables
        yield from tables.follow(users, items)
        began, slots = users.version, users.slots
        if allowed is None:
            among = users.alive[:slots].copy()
        else:
            asked = allowed()
            slots = min(slots, len(asked))
            among = ((asked[:slots] != 0) & (users.alive[:slots] != 0)).astype(np.uint8)
        if tables.text is None:
            alike = items.vectors @ item.vector
        else:
            alike = yield from tables.text.products(item.vector)
        scorer = _scorer(item, tables, items, alike)
        scores = np.empty(slots, np.float32)
        candidates = 0
        for start in range(0, slots, _PART):
            if start:
                yield
            part = slice(start, min(start + _PART, slots))
            candidates += _score(
                scorer, users, tables, np.arange(part.start, part.stop), among, include_seen, scores[part]
            )
        best = top(scores, min(count + _SPARE, candidates)) if candidates else np.empty(0, np.int64)
        if users.version > began:
            # Somebody else may have the slot, for whom `allowed` was not said.
            best = best[[users.same_user_since(slot, began) for slot in best.tolist()]]
            for _ in tables.follow(users, items):
                pass  # nobody else may run from here on; it is what changed within this call
        if not len(best):
            return Members([], [], candidates)
        tables.read_again(users, best, items)
        best.sort()
        if tables.text is not None:
            numbers = _numbers_of(users, best, items)
            scorer.correct(numbers, items.vectors[items.of(numbers)] @ item.vector)
        final = np.empty(len(best), np.float32)
        _score(scorer, users, tables, best, among, include_seen, final)
        order = top(final, count)
        order = order[np.isfinite(final[order])]
        ids = [users.user_id(slot) or "" for slot in best[order].tolist()]
        return Members(ids, final[order].tolist(), candidates)


def _numbers_of(users: Users, slots: NDArray[np.int64], items: Items) -> NDArray[np.int32]:
    """Numbers of all items in histories, as far as the catalogue has them."""
    numbers = np.unique(np.concatenate([users.events.latest(slot, 0) for slot in slots.tolist()]))
    known: NDArray[np.int32] = numbers[items.of(numbers) >= 0]
    return known


def _scorer(item: AudienceItem, tables: AudienceTables, items: Items, alike: NDArray[np.float32]) -> Scorer:
    scoring = tables.scoring
    attributes = np.bincount(item.attributes.indices, item.attributes.weights, minlength=tables.attribute_count)
    return Scorer(
        number=item.number,
        positions=items.positions,
        alike=alike,
        neighbours=item.neighbours,
        follows=item.transitions,
        prior=item.priors[0],
        prior_known=item.priors[1],
        attributes=(scoring.profile * attributes).tolist(),
        sequence=item.sequence.tolist(),
        collaborative=scoring.collaborative,
        collaborative_half_life=scoring.collaborative_half_life,
        transitions=scoring.transitions,
        transitions_half_life=scoring.transitions_half_life,
        history_text=scoring.history_text,
        history_text_half_life=scoring.history_text_half_life,
        history_limit=scoring.history_limit,
        known_events=scoring.known_events,
    )


def _score(
    scorer: Scorer,
    users: Users,
    tables: AudienceTables,
    slots: NDArray[np.int64],
    allowed: NDArray[np.uint8],
    include_seen: bool,
    scores: NDArray[np.float32],
) -> int:
    """Arrays are looked up anew each time: they are replaced when users come."""
    events, attributes = users.events, tables.attributes
    return scorer.score(
        slots,
        include_seen,
        scores,
        numbers=events.blocks[0],
        weights=events.blocks[1],
        starts=events.starts,
        lengths=events.lengths,
        attributes=attributes.blocks[0],
        attribute_starts=attributes.starts,
        attribute_lengths=attributes.lengths,
        allowed=allowed,
        expected=tables.expected,
    )
