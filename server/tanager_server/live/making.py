"""Another bundle's engine, made ready beside the one that is served, with all that was written."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from tanager_server.engine.items import NoRoomError
from tanager_server.engine.known import KnownUsers
from tanager_server.errors import ActivationError, BundleError, EncodeError, ServerError
from tanager_server.live.folding import fold, follow
from tanager_server.live.indexing import Indexer, rows_for
from tanager_server.live.replica import Replica
from tanager_server.runtime.worker import WorkerThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from tanager_server.bundle import Manifest
    from tanager_server.engine.engine import Engine
    from tanager_server.live.folding import Folded
    from tanager_server.live.indexing import IndexObserver
    from tanager_server.live.opening import Opened, Opener, Tried
    from tanager_server.live.served import Served
    from tanager_server.live.writes import Live
    from tanager_server.state import DeleteItems, PutItems, Store, StoredVector

    Take = Callable[[Engine, Replica | None], None]
    """Has an engine answer from here on; the replica is what follows the writes, where there are any."""

# Of what is native code for the most: below the threads that encode for callers. What is Python for the most is not
# nicer than the event loop: on busy cores it would be kept waiting while it has Python's lock, and the loop with it.
_NICENESS = 12
# Its threads take the niceness of the one that opens an encoder, and are to encode for callers later.
_NICENESS_OF_MANY = 8
# For Python's lock, while much of it is done beside the calls.
_SWITCH_INTERVAL_S = 0.0005
_WARM_TEXTS, _WARM_AT_A_TIME, _WARM_S = 2_000, 32, 5.0
# Writes that may be left for the moment in which others wait; after so many tries, whatever there is.
_FEW_WRITES = 4
_ROUNDS = 20


class Made(NamedTuple):
    """An engine that answers.

    Attributes:
        engine: which.
        encoded: live items that were encoded anew.
    """

    engine: Engine
    encoded: int


class Maker:
    """Makes engines, one at a time. What takes long is done in threads of its own.

    Args:
        served: what calls are answered from.
        opener: how bundles are opened.
        live: what is written; None for a server without state.
        store: where that is kept.
        directory: for the index of live items; that of the state.
        observe: told of every index that is made beside calls.
    """

    def __init__(
        self,
        served: Served,
        opener: Opener,
        *,
        live: Live | None,
        store: Store | None,
        directory: Path | None,
        observe: IndexObserver | None = None,
    ) -> None:
        self._served, self._opener, self._observe = served, opener, observe
        self._live, self._store, self._directory = live, store, directory
        niceness = _NICENESS if opener.calibration.threads == 1 else _NICENESS_OF_MANY
        self._worker, self._native = WorkerThread("activation"), WorkerThread("activation-native", niceness=niceness)

    async def make(self, path: Path, *, meta: Mapping[str, str | None], take: Take, check: Callable[[], None]) -> Made:
        """Makes an engine and has it taken, between two calls and in the order of all writes.

        Args:
            path: of the bundle.
            meta: settings that are made durable with it.
            take: has it answer.
            check: raises where nobody waits for it any more.

        Raises:
            BundleError: the bundle is not whole, or unfit for this machine; as with all of these, nothing was taken.
            ActivationError: too much is written meanwhile.
            StorageError: the disk does not take what has to be kept of it.
        """
        with _short_turns():
            return await self._make(path, meta, take, check)

    async def _make(self, path: Path, meta: Mapping[str, str | None], take: Take, check: Callable[[], None]) -> Made:
        run, native, live, served = self._worker.run, self._native.run, self._live, self._served
        engine: Engine | None = None
        replica: Replica | None = None
        taken = False

        def took() -> None:
            nonlocal taken
            assert engine is not None
            taken = True
            take(engine, replica)

        if live is not None:
            live.items.follow()
        try:
            tried = await native(self._opener.try_out, path)
            check()
            opened = await run(self._read, tried)
            check()
            engine = await run(self._engine, opened)
            check()
            follower = _Follower(engine, opened)
            if live is not None:
                assert self._store is not None
                assert self._directory is not None
                replica = Replica(engine, Indexer(engine, opened.sequence, self._directory, self._observe))
                await native(follower.fold, self._store)
                check()
                await native(replica.indexer.make_now)
            texts = served.engine.recent_texts[:_WARM_TEXTS]
            await native(follower.warm, texts, served.engine.generation.manifest, check)
            await run(served.prepare, engine)
            check()
            if live is not None:
                await engine.audiences.prepare(self._worker)
                check()
                for _ in range(_ROUNDS):
                    if live.items.waiting <= _FEW_WRITES:
                        break
                    await run(follower.follow, *live.items_since(follower.seq))
                    check()
                async with live.items.held():
                    await run(follower.follow, *live.items_since(follower.seq))
                    check()
                    # From here on it is not abandoned: it may be on the disk already.
                    await live.put_meta(meta, took)
            else:
                took()
        except BaseException:
            if not taken:
                if replica is not None:
                    await replica.indexer.close()
                if engine is not None:
                    await served.discard(engine)
            raise
        finally:
            if live is not None:
                live.items.forget()
        if live is not None:
            with contextlib.suppress(ServerError):  # or they are made again at the next start
                await live.keep_vectors(*follower.made)
        return Made(engine, len(follower.encoded))

    def _read(self, tried: Tried) -> Opened:
        opened = self._opener.read(tried)
        if self._store is None:
            return opened
        with self._store.load() as snapshot:
            written = sum(1 for _ in snapshot.items())
        generation = opened.generation
        return opened._replace(generation=generation.with_room(rows_for(len(generation.catalogue) + written)))

    def _engine(self, opened: Opened) -> Engine:
        before = self._served.engine
        known = KnownUsers(opened.generation.catalogue, of=before.known)
        return self._opener.engine(opened, known=known, trends=before.trends)

    def close(self) -> None:
        """Ends its threads, when they have done what they were given."""
        self._worker.close()
        self._native.close()


class _Follower:
    """Brings an engine up to what was written, in another thread."""

    def __init__(self, engine: Engine, opened: Opened) -> None:
        self._engine, self._encoder = engine, opened.encoder
        self.encoded: set[str] = set()
        self._vectors: dict[str, StoredVector] = {}
        self.seq = 0
        """The write up to which the engine has all."""

    @property
    def made(self) -> tuple[list[StoredVector], int]:
        """Vectors that the state does not have, and the write of which they are."""
        return list(self._vectors.values()), self.seq

    def fold(self, store: Store) -> None:
        """All that is stored."""
        with store.load() as snapshot:
            self._take(fold(self._engine, snapshot, self._encode), snapshot.seq)

    def follow(self, writes: list[PutItems | DeleteItems], seq: int) -> None:
        """What came since."""
        try:
            self._take(follow(self._engine, writes, self._encode), seq)
        except NoRoomError as error:
            raise ActivationError(f"too many items are written meanwhile; try again ({error})") from error
        _ = self._engine.known.positions  # finds those of users' new items, which takes a while if they are many

    def warm(self, texts: list[str], of: Manifest, check: Callable[[], None]) -> None:
        """Encodes what was asked for lately: all of it at once, when it is served, would keep other calls waiting.

        Args:
            texts: latest first; as many of them as there is time for.
            of: prompts that they have.
            check: raises where nobody waits for it any more.
        """
        own = _prompts(self._engine.generation.manifest)
        prompts = sorted(zip(_prompts(of), own, strict=True), key=lambda both: -len(both[0]))
        found: dict[str, None] = {}
        for text in texts:
            before, after = next((both for both in prompts if text.startswith(both[0])), ("", ""))
            found[after + text.removeprefix(before)] = None
        until = time.monotonic() + _WARM_S
        try:
            for start in range(0, len(found), _WARM_AT_A_TIME):
                self._engine.warm(list(found)[start : start + _WARM_AT_A_TIME])
                check()
                if time.monotonic() > until:
                    break
        except EncodeError as error:
            raise BundleError(f"its encoder fails on what callers asked for: {error}") from error

    def _encode(self, texts: list[str]) -> NDArray[np.float32]:
        try:
            return self._encoder.encode_texts(texts)
        except EncodeError as error:
            raise BundleError(f"its encoder fails on items that were written: {error}") from error

    def _take(self, folded: Folded, seq: int) -> None:
        self.seq = seq
        for vector in folded.encoded:
            self.encoded.add(vector.item_id)
            self._vectors[vector.item_id] = vector


def _prompts(manifest: Manifest) -> tuple[str, ...]:
    encoder = manifest.encoder
    return encoder.query_prompt, encoder.profile_prompt, encoder.context_prompt, ""


@contextlib.contextmanager
def _short_turns() -> Iterator[None]:
    """Has threads hand over Python's lock sooner: who answers calls must not wait 5 ms for it, again and again."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
