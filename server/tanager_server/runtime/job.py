"""What waits to be encoded: jobs, those who wait for them, what becomes of them; and the bounds of their batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Hashable


class Job(Protocol):
    """What is encoded: anything that has a length in tokens."""

    @property
    def length(self) -> int:
        """Tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPolicy:
    """Bounds of the batcher; `settings.BatchingSettings` describes them, `calibration` measures the first two."""

    max_batch_tokens: int
    batch_cost_tokens: int
    max_batch_size: int
    window: int
    max_queue: int
    max_age_s: float
    bulk_handicap_s: float
    stuck_after_s: float


JobT = TypeVar("JobT", bound=Job)
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Encoded(Generic[ResultT]):
    """What became of one job.

    Attributes:
        result: what the encode function made of it.
        queue_s: from submission until its batch began; 0 for who joined later.
        batch_s: run time of that batch.
        batch_size: texts in that batch, other callers' included.
    """

    result: ResultT
    queue_s: float
    batch_s: float
    batch_size: int


@dataclass(slots=True, eq=False)
class Waiter(Generic[JobT, ResultT]):
    """One caller who waits for one entry."""

    entry: Entry[JobT, ResultT]
    future: asyncio.Future[Encoded[ResultT]]
    deadline: float
    submitted: float


@dataclass(slots=True, eq=False)
class Entry(Generic[JobT, ResultT]):
    """One text and all who wait for it.

    Attributes:
        alone: whether it goes in a batch of its own.
        probe: whether it is tried although there seems to be no time; such a one goes alone too.
    """

    job: JobT
    length: int
    key: Hashable | None
    number: int
    urgency: float
    deadline: float
    waiters: list[Waiter[JobT, ResultT]]
    alone: bool = False
    probe: bool = False
    waiting: bool = True
    in_window: bool = False
