"""Which of the texts that wait make up the next batch: by length around the most urgent, or smaller for a deadline."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tanager_server.runtime.cost import CostModel
    from tanager_server.runtime.job import BatchPolicy

    PaddedTokens = Callable[[int, int], int]


class Candidate(Protocol):
    """A text that waits."""

    length: int
    urgency: float
    deadline: float


CandidateT = TypeVar("CandidateT", bound=Candidate)


class BatchChooser(Generic[CandidateT]):
    """Chooses among the most urgent texts, the window.

    Args:
        policy: bounds of a batch.
        cost: what batches cost.
        padded: tokens that a batch of so many texts, the longest so long, takes when it is run.
    """

    def __init__(self, *, policy: BatchPolicy, cost: CostModel, padded: PaddedTokens) -> None:
        self._policy = policy
        self._cost = cost
        self._padded = padded

    def bound(self, batch: Sequence[CandidateT]) -> float:
        """Seconds within which the batch is mostly done."""
        return self._cost.bound(self._padded(len(batch), max(entry.length for entry in batch)))

    def fit(self, window: Sequence[CandidateT]) -> list[CandidateT]:
        """The longest run by length that holds the first, keeps the budget, and is not better split in two.

        To split a batch costs a batch more, and saves at most its padding: so that may come to the cost of a batch.
        """
        # In order of length; of texts equally long the more urgent ones lie nearer to the most urgent of all.
        length = window[0].length
        shorter = sorted((e for e in reversed(window) if e.length < length), key=lambda entry: entry.length)
        ordered = shorter + sorted((e for e in window if e.length >= length), key=lambda entry: entry.length)
        first = len(shorter)
        tokens = [0, *itertools.accumulate(entry.length for entry in ordered)]

        def fits(start: int, last: int) -> bool:
            return self._fits(last + 1 - start, ordered[last].length, tokens[last + 1] - tokens[start])

        start = first
        while start > 0 and fits(start - 1, first):
            start -= 1
        best = (start, first + 1)
        for last in range(first + 1, len(ordered)):
            while start < first and not fits(start, last):  # a longer text makes room for fewer shorter ones
                start += 1
            if not fits(start, last):
                break
            if last + 1 - start > best[1] - best[0]:
                best = (start, last + 1)
        return ordered[best[0] : best[1]]

    def hurry(
        self, window: Sequence[CandidateT], late: Sequence[CandidateT], now: float, *, others_wait: bool
    ) -> list[CandidateT]:
        """A smaller batch, in time for some of those that the full one would make late.

        What has come of age is in it as well, or it would starve under a stream of such texts. It is filled up as far
        as the first of its deadlines allows: the smaller the batches, the fewer texts a second.

        Args:
            window: in order of urgency.
            late: of the full batch, those whose deadlines it would miss; at least one.
            now: the time.
            others_wait: whether there are texts beyond the full batch, which are put off for this one.

        Returns:
            Empty if nobody would be in time, or another text would be late for it: where all have about the same
            time, serving some of them in small batches only makes more of them late.
        """
        spared = {id(entry) for entry in late}
        first = window[0]
        # In the window's order: among equally urgent ones the earlier come first there.
        urgent = [entry for entry in window if id(entry) in spared or (entry is first and entry.urgency <= now)]
        draft = _Draft(urgent[0])
        for entry in urgent[1:]:
            self._add_in_time(draft, entry, now)
        ready = now + self.bound(draft.entries)
        saved = any(entry.deadline >= ready for entry in draft.entries if id(entry) in spared)
        if saved:
            longest = draft.longest
            spared.add(id(urgent[0]))
            for entry in window:
                if entry.length <= longest and id(entry) not in spared:
                    self._add_in_time(draft, entry, now)
        if others_wait:
            spared.update(map(id, draft.entries))
            others = [entry for entry in window if id(entry) not in spared]
            if not saved or (others and not self._is_harmless(draft.entries, others, now)):
                return []
        return sorted(draft.entries, key=lambda entry: entry.length)

    def _is_harmless(self, batch: Sequence[CandidateT], others: Sequence[CandidateT], now: float) -> bool:
        """Whether nobody of the others who would be in time without this batch is late after it."""
        next_s, delay_s = self.bound(self.fit(others)), self.bound(batch)
        return not any(now + next_s <= entry.deadline < now + delay_s + next_s for entry in others)

    def _add_in_time(self, draft: _Draft[CandidateT], entry: CandidateT, now: float) -> None:
        """Adds a text if the batch stays within its bounds, and in time for all of them."""
        count, longest = len(draft.entries) + 1, max(draft.longest, entry.length)
        deadline = min(draft.deadline, entry.deadline)
        if (
            self._fits(count, longest, draft.tokens + entry.length)
            and now + self._cost.bound(self._padded(count, longest)) <= deadline
        ):
            draft.entries.append(entry)
            draft.tokens += entry.length
            draft.longest, draft.deadline = longest, deadline

    def _fits(self, count: int, longest: int, tokens: int) -> bool:
        policy = self._policy
        return (
            self._padded(count, longest) <= policy.max_batch_tokens
            and count <= policy.max_batch_size
            # Up to the longest text only: what a fixed shape adds, another batch would not save.
            and count * longest - tokens <= policy.batch_cost_tokens
        )


class _Draft(Generic[CandidateT]):
    """A batch that grows."""

    def __init__(self, first: CandidateT) -> None:
        self.entries = [first]
        self.tokens = self.longest = first.length
        self.deadline = first.deadline
