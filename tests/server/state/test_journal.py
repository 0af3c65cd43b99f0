"""Group commit, against a store that keeps a list and a store that keeps files."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tanager_server.errors import DrainingError, OverloadedError, StorageFullError
from tanager_server.state import AddEvents, Journal, JournalPolicy, Outcome, PutMeta, SqliteStore, StoredEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tanager_server.state import Write


class ListStore:
    """Keeps transactions in a list; `gate` holds the thread before each."""

    def __init__(self) -> None:
        self.transactions: list[list[str]] = []
        self.tried: list[list[str]] = []
        self.fault: Callable[[str], Exception | None] = lambda _: None
        self.gate = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)
        self.seq = 0

    def commit(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        self.entered.release()
        assert self.gate.acquire(timeout=30)
        names = [next(iter(write.values)) for write in writes if isinstance(write, PutMeta)]
        self.tried.append(names)
        for name in names:
            if (error := self.fault(name)) is not None:
                raise error
        self.transactions.append(names)
        self.seq += len(writes)
        return [Outcome(self.seq - len(writes) + n) for n in range(1, len(writes) + 1)]

    def open(self) -> None:
        self.gate.release(1000)

    async def busy(self) -> None:
        """Until the thread is in a transaction."""
        await asyncio.to_thread(self.entered.acquire)


class Memory:
    def __init__(self) -> None:
        self.applied: list[tuple[int, str]] = []
        self.fault: Exception | None = None

    def apply(self, write: Write, outcome: Outcome) -> None:
        assert isinstance(write, PutMeta)
        if self.fault is not None:
            raise self.fault
        self.applied.append((outcome.seq, next(iter(write.values))))

    @property
    def names(self) -> list[str]:
        return [name for _, name in self.applied]


class Observer:
    def __init__(self) -> None:
        self.commits: list[tuple[int, int]] = []
        self.failed: list[Exception] = []
        self.dropped = 0

    def observe_commit(self, *, writes: int, rows: int, seconds: float) -> None:
        assert seconds >= 0
        self.commits.append((writes, rows))

    def observe_failed_commit(self, error: Exception) -> None:
        self.failed.append(error)

    def observe_dropped(self, rows: int) -> None:
        self.dropped += rows


def put(name: str) -> PutMeta:
    return PutMeta({name: ""})


async def later(journal: Journal, *names: str) -> asyncio.Task[Any]:
    """A write that is under way."""
    task = asyncio.create_task(journal.write(*map(put, names)))
    await asyncio.sleep(0)
    return task


def make(store: ListStore, memory: Memory, **policy: Any) -> tuple[Journal, Observer]:
    observer = Observer()
    journal = Journal(store, apply=memory.apply, policy=JournalPolicy(**policy), observe=observer)  # type: ignore[arg-type]
    return journal, observer


async def test_what_waits_shares_a_transaction():
    store, memory = ListStore(), Memory()
    journal, observer = make(store, memory)
    async with journal:
        first = await later(journal, "a")
        await store.busy()
        others = [await later(journal, *names) for names in ("b", "cd", "e")]
        assert journal.rows == 5
        store.open()
        outcomes = [await task for task in (first, *others)]
    assert store.transactions == [["a"], ["b", "c", "d", "e"]]
    assert [[outcome.seq for outcome in each] for each in outcomes] == [[1], [2], [3, 4], [5]]
    assert memory.applied == [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e")]
    assert observer.commits == [(1, 1), (4, 4)]
    assert journal.rows == 0


async def test_a_transaction_is_bounded_but_a_caller_is_never_parted():
    store, memory = ListStore(), Memory()
    journal, _ = make(store, memory, max_commit_rows=3)
    async with journal:
        tasks = [await later(journal, "a")]
        await store.busy()
        tasks += [await later(journal, *names) for names in ("bc", "de", "f", "ghijk", "l")]
        store.open()
        await asyncio.gather(*tasks)
    assert store.transactions == [["a"], ["b", "c"], ["d", "e", "f"], ["g", "h", "i", "j", "k"], ["l"]]
    assert memory.names == list("abcdefghijkl")


async def test_memory_has_what_is_acknowledged():
    store, memory = ListStore(), Memory()
    store.open()
    journal, _ = make(store, memory)

    async def write(name: str) -> bool:
        await journal.write(put(name))
        return name in memory.names

    async with journal:
        assert all(await asyncio.gather(*(write(str(n)) for n in range(50))))
    assert [seq for seq, _ in memory.applied] == list(range(1, 51))


async def test_only_the_guilty_fails():
    store, memory = ListStore(), Memory()
    store.fault = lambda name: ValueError(name) if name == "bad" else None
    journal, observer = make(store, memory)
    async with journal:
        first = await later(journal, "a")
        await store.busy()
        tasks = [await later(journal, *names) for names in (["b"], ["c", "bad"], ["d"])]
        store.open()
        await first
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[1], ValueError)
    assert [outcome.seq for result in (results[0], results[2]) for outcome in result] == [2, 3]  # type: ignore[union-attr]
    assert store.transactions == [["a"], ["b"], ["d"]]
    assert memory.names == ["a", "b", "d"]
    assert len(observer.failed) == 2


async def test_a_full_disk_fails_all_of_a_transaction_and_the_next_is_tried():
    store, memory = ListStore(), Memory()
    full = StorageFullError("full")
    store.fault = lambda _: full
    journal, observer = make(store, memory)
    async with journal:
        first = await later(journal, "a")
        await store.busy()
        tasks = [await later(journal, name) for name in "bc"]
        store.open()
        errors = await asyncio.gather(first, *tasks, return_exceptions=True)
        assert [type(error) for error in errors] == [StorageFullError] * 3
        assert len({id(error) for error in errors}) == 3
        assert store.tried == [["a"], ["b", "c"]]
        store.fault = lambda _: None
        await journal.write(put("d"))
    assert memory.names == ["d"]
    assert observer.failed == [full, full]


async def test_a_caller_who_goes_loses_nothing():
    store, memory = ListStore(), Memory()
    journal, _ = make(store, memory)
    async with journal:
        committing = await later(journal, "a")
        await store.busy()
        waiting = await later(journal, "b")
        for task in (committing, waiting):
            task.cancel()
        assert [await asyncio.gather(task, return_exceptions=True) for task in (committing, waiting)]
        assert committing.cancelled()
        assert waiting.cancelled()
        store.open()
        await journal.write(put("c"))
    assert memory.applied == [(1, "a"), (2, "b"), (3, "c")]
    assert journal.rows == 0


async def test_there_is_a_bound_on_what_waits():
    store, memory = ListStore(), Memory()
    journal, _ = make(store, memory, max_rows=3)
    async with journal:
        tasks = [await later(journal, "a", "b")]
        with pytest.raises(OverloadedError, match="2 rows"):
            await journal.write(put("c"), put("d"))
        tasks.append(await later(journal, "e"))
        store.open()
        await asyncio.gather(*tasks)
        assert len(await journal.write(*map(put, "fghij"))) == 5  # alone there is room for any
    assert memory.names == list("abefghij")


async def test_posted_writes_share_a_commit_and_come_before_later_writes():
    store, memory = ListStore(), Memory()
    store.open()
    journal, observer = make(store, memory, post_delay_s=3600)
    async with journal:
        assert all(journal.post(put(name)) for name in "abc")
        assert journal.posted_rows == 3
        await journal.write(put("d"))
        assert journal.posted_rows == 0
        assert memory.names == list("abcd")
        journal.post(put("e"))
    assert memory.names == list("abcde")  # close waits for no timer
    assert observer.dropped == 0


async def test_posted_writes_go_by_themselves():
    store, memory = ListStore(), Memory()
    journal, _ = make(store, memory, post_delay_s=0.0)
    async with journal:
        journal.post(put("a"))
        journal.post(put("b"))
        await store.busy()
        store.open()
    assert store.transactions == [["a", "b"]]


async def test_posted_writes_without_room_are_dropped_and_counted(caplog: pytest.LogCaptureFixture):
    store, memory = ListStore(), Memory()
    store.open()
    journal, observer = make(store, memory, max_posted_rows=2)
    async with journal:
        assert [journal.post(put(name)) for name in "abc"] == [True, True, False]
        assert observer.dropped == 1
        store.fault = lambda _: StorageFullError("full")
    assert observer.dropped == 3
    assert "posted writes are dropped: full" in caplog.text
    assert journal.post(put("d")) is False
    assert observer.dropped == 4
    assert memory.names == []


async def test_a_fault_of_apply_is_told_to_its_caller_alone(caplog: pytest.LogCaptureFixture):
    store, memory = ListStore(), Memory()
    store.open()
    journal, _ = make(store, memory)
    async with journal:
        memory.fault = KeyError("a bug")
        with pytest.raises(KeyError):
            await journal.write(put("a"))
        memory.fault = None
        await journal.write(put("b"))
    assert "could not be applied" in caplog.text
    assert journal.rows == 0


async def test_close_writes_what_waits_and_refuses_the_rest():
    store, memory = ListStore(), Memory()
    journal, _ = make(store, memory)
    tasks = [await later(journal, name) for name in "abc"]
    closing = [asyncio.create_task(journal.close()) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(DrainingError):
        await journal.write(put("d"))
    assert not any(task.done() for task in closing)
    store.open()
    await asyncio.gather(*closing)
    assert memory.names == list("abc")
    assert all(task.done() for task in tasks)
    await journal.close()


async def test_a_large_commit_lets_others_have_the_event_loop(monkeypatch: pytest.MonkeyPatch):
    """Each job is applied in a turn of its own when applying takes long; in order, and before `close` returns."""
    monkeypatch.setattr("tanager_server.state.journal._APPLY_S", -1.0)
    store, memory = ListStore(), Memory()
    journal, _ = make(store, memory)
    tasks = [await later(journal, str(n)) for n in range(20)]
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        if len(memory.applied) < 20:
            asyncio.get_running_loop().call_soon(turn)

    store.open()
    turn()
    await asyncio.gather(*tasks)
    await journal.close()
    assert memory.names == [str(n) for n in range(20)]
    assert turns >= 15


async def test_between_the_steps_of_a_write_others_have_the_event_loop_and_no_other_write_is_applied(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("tanager_server.state.journal._APPLY_S", -1.0)
    store, done, turns = ListStore(), list[str](), 0

    def apply(write: Write, outcome: Outcome) -> Iterator[None]:
        assert isinstance(write, PutMeta)
        name = next(iter(write.values))
        for step in range(5):
            done.append(f"{name}{step} in turn {turns}")
            yield
            if name == "b" and step == 2:
                raise KeyError("a bug")

    journal = Journal(store, apply=apply)  # type: ignore[arg-type]

    def turn() -> None:
        nonlocal turns
        turns += 1
        if not all(task.done() for task in tasks):
            asyncio.get_running_loop().call_soon(turn)

    tasks = [await later(journal, name) for name in "abc"]
    store.open()
    turn()
    await asyncio.wait(tasks)
    await journal.close()
    assert [step.split()[0] for step in done] == [f"{name}{step}" for name in "abc" for step in range(5)][:8] + [
        f"c{step}" for step in range(5)
    ]
    assert len({step.split()[-1] for step in done}) == len(done)  # each in a turn of its own
    assert isinstance(tasks[1].exception(), KeyError)
    assert tasks[0].exception() is tasks[2].exception() is None
    assert journal.rows == 0


async def test_many_callers_over_a_real_store(tmp_path: Path):
    """One holds what cannot be stored; every other's events are in the file, and were applied in order."""
    applied: list[int] = []

    def event(name: str) -> StoredEvent:
        return StoredEvent(name, f"user-{name[-1]}", "item", "view", 1.0, 0)

    with SqliteStore(tmp_path) as store:
        async with Journal(store, apply=lambda _, outcome: applied.append(outcome.seq)) as journal:
            results = await asyncio.gather(
                *(journal.write(AddEvents([event(f"{n}-{i}") for i in range(7)])) for n in range(100)),
                journal.write(AddEvents([event("\ud800")])),
                return_exceptions=True,
            )
        assert isinstance(results[-1], UnicodeEncodeError)
        assert applied == list(range(1, 101))
    with SqliteStore(tmp_path) as store, store.load() as snapshot:
        assert {stored.event_id for stored in snapshot.events()} == {f"{n}-{i}" for n in range(100) for i in range(7)}
