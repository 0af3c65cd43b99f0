"""Serving another bundle: made ready beside the one that is served, and put in its place between two calls."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from tanager_server.bundle import open_manifest
from tanager_server.engine.folding import fingerprint, fold, follow
from tanager_server.engine.indexing import Indexer, rows_for
from tanager_server.engine.items import NoRoomError
from tanager_server.engine.known import KnownUsers
from tanager_server.errors import (
    ActivationError,
    ActivationUnderWayError,
    BundleError,
    BundleNotFoundError,
    EncodeError,
    ServerError,
)
from tanager_server.runtime.memory import give_back
from tanager_server.runtime.worker import WorkerThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from tanager_server.bundle import Manifest, Shelf, ShelvedBundle
    from tanager_server.engine.engine import Engine
    from tanager_server.engine.folding import Folded
    from tanager_server.engine.live import Live
    from tanager_server.engine.opening import Opened, Opener, Tried
    from tanager_server.engine.served import Served
    from tanager_server.state import DeleteItems, PutItems, Store, StoredVector

_log = logging.getLogger(__name__)

# Of what is native code for the most: below the threads that encode for callers. What is Python for the most is not
# nicer than the event loop: on busy cores it would be kept waiting while it has Python's lock, and the loop with it.
_NICENESS = 12
# Its threads take the niceness of the one that opens an encoder, and are to encode for callers later.
_NICENESS_OF_MANY = 8
# For Python's lock, while much of it is done beside the calls.
_SWITCH_INTERVAL_S = 0.0005
_WARM_TEXTS = 2_000
# Writes that may be left for the moment in which others wait; after so many tries, whatever there is.
_FEW_WRITES = 4
_ROUNDS = 20

_ACTIVE, _PREVIOUS, _PREVIOUS_ENCODER = "active_bundle", "previous_bundle", "previous_encoder"
_GIVEN = ""


class Lineage(NamedTuple):
    """Which bundle is served, and which was before.

    Attributes:
        active: name of its directory; empty for the one that the server was given.
        previous: the same of the one before; None if there was none.
        previous_encoder: fingerprint of that one's encoder.
    """

    active: str = _GIVEN
    previous: str | None = None
    previous_encoder: str | None = None

    @classmethod
    def of_meta(cls, meta: Mapping[str, str]) -> Lineage:
        """As a state has it."""
        return cls(meta.get(_ACTIVE, _GIVEN), meta.get(_PREVIOUS), meta.get(_PREVIOUS_ENCODER))

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


class Activated(NamedTuple):
    """What an activation came to.

    Attributes:
        engine: what is served now.
        encoded: live items that were encoded anew.
    """

    engine: Engine
    encoded: int


class _Change:
    """An activation under way."""

    def __init__(self) -> None:
        self.abandoned = False
        self.task: asyncio.Task[Activated] | None = None

    def check(self) -> None:
        """Ends it, if nobody waits for it any more."""
        if self.abandoned:
            raise asyncio.CancelledError


class Activator:
    """Serves other bundles. What takes long is done in a thread of its own; only one activation goes on at a time.

    Args:
        served: what calls are answered from.
        shelf: the bundles that there are.
        opener: how they are opened.
        lineage: what is served, and what was.
        live: what is written; None for a server without state, which forgets all this when it ends.
        store: where that is kept.
        directory: for the index of live items; that of the state.
    """

    def __init__(
        self,
        served: Served,
        shelf: Shelf,
        opener: Opener,
        *,
        lineage: Lineage,
        live: Live | None = None,
        store: Store | None = None,
        directory: Path | None = None,
    ) -> None:
        self._served, self._shelf, self._opener, self._lineage = served, shelf, opener, lineage
        self._live, self._store, self._directory = live, store, directory
        niceness = _NICENESS if opener.calibration.threads == 1 else _NICENESS_OF_MANY
        self._worker, self._native = WorkerThread("activation"), WorkerThread("activation-native", niceness=niceness)
        self._lists = WorkerThread("bundles")
        self._change: _Change | None = None
        self._retiring: asyncio.Task[None] | None = None

    @property
    def active(self) -> Path:
        """Directory of the bundle that is served."""
        return self._lineage.path(self._shelf)

    async def bundles(self) -> list[ShelvedBundle]:
        """All that can be asked for, latest first.

        Raises:
            BundleError: the directory cannot be read.
        """
        return await self._lists.run(self._shelf.bundles)

    async def activate(self, name: str) -> Activated:
        """Serves a bundle, whose directory has this name. If it is served already nothing is done.

        Raises:
            BundleNotFoundError: there is no such bundle.
            BundleError: it is not whole, or unfit for this machine; what was served is served on, as with all of these.
            ActivationUnderWayError: another one is.
            StorageError: the disk does not take what has to be kept of it.
        """
        self._check_idle()
        path = self._shelf.path(name)
        there = await self._lists.run(open_manifest, path)
        lineage, manifest = self._lineage, self._served.engine.generation.manifest
        if path == self.active and there.bundle_id == manifest.bundle_id:
            return Activated(self._served.engine, 0)
        active = _GIVEN if path == self._shelf.given else name
        following = Lineage(active, lineage.active, fingerprint(manifest))
        return await self._serve(path, following)

    async def roll_back(self, expected_bundle_id: str = "") -> Activated:
        """Serves the bundle again that was served before; that one is then the one before.

        Args:
            expected_bundle_id: of what is served now; empty for whatever it is.

        Raises:
            ActivationError: there is none, it is there no more, or another one is served than was expected.
            As `activate`.
        """
        self._check_idle()
        lineage, manifest = self._lineage, self._served.engine.generation.manifest
        if expected_bundle_id and manifest.bundle_id != expected_bundle_id:
            raise ActivationError(f"expected_bundle_id: {manifest.bundle_id} is served; was it rolled back already?")
        if lineage.previous is None:
            raise ActivationError("no other bundle was served before; ActivateBundle serves one by its name")
        try:
            path = self._shelf.path(lineage.previous) if lineage.previous else self._shelf.given
        except BundleNotFoundError:
            raise ActivationError(f"{lineage.previous!r}, which was served before, is not there; put it back") from None
        return await self._serve(path, Lineage(lineage.previous, lineage.active, fingerprint(manifest)))

    def _check_idle(self) -> None:
        if self._change is not None:
            raise ActivationUnderWayError("another bundle is being activated; try again when it is served")

    async def _serve(self, path: Path, lineage: Lineage) -> Activated:
        self._check_idle()
        change = self._change = _Change()
        # A task of its own: what a caller who has gone leaves behind must be put away before there is another one.
        change.task = asyncio.create_task(self._run(change, path, lineage), name="activation")
        change.task.add_done_callback(self._ended)
        try:
            return await asyncio.shield(change.task)
        except asyncio.CancelledError:
            change.abandoned = True
            raise

    def _ended(self, task: asyncio.Task[Activated]) -> None:
        self._change = None
        if not task.cancelled():
            task.exception()  # where the caller has gone: looked at, and let be

    async def _run(self, change: _Change, path: Path, lineage: Lineage) -> Activated:
        began = time.monotonic()
        if self._retiring is not None:
            await asyncio.shield(self._retiring)  # or there would be three in memory
        _log.info("activating", extra={"bundle": str(path)})
        try:
            with _short_turns():
                activated = await self._make(change, path, lineage)
        except Exception as error:
            _log.error(
                "the bundle is not served", exc_info=not isinstance(error, ServerError), extra={"error": str(error)}
            )
            raise
        manifest, took_s = activated.engine.generation.manifest, time.monotonic() - began
        extra = {"bundle_id": manifest.bundle_id, "encoded": activated.encoded, "took_s": round(took_s, 3)}
        _log.info("activated", extra=extra)
        return activated

    async def _make(self, change: _Change, path: Path, lineage: Lineage) -> Activated:
        run, native, live, served = self._worker.run, self._native.run, self._live, self._served
        engine: Engine | None = None
        indexer: Indexer | None = None
        if live is not None:
            live.follow_items()
        try:
            tried = await native(self._opener.try_out, path)
            change.check()
            opened = await run(self._read, tried)
            change.check()
            engine = await run(self._engine, opened)
            change.check()
            maker = _Maker(engine, opened)
            if live is not None:
                assert self._store is not None
                assert self._directory is not None
                indexer = Indexer(engine, opened.sequence, self._directory)
                await native(maker.fold, self._store)
                change.check()
                await native(indexer.make_now)
            texts = served.engine.recent_texts[:_WARM_TEXTS]
            await native(maker.warm, texts, served.engine.generation.manifest)
            await run(served.prepare, engine)
            change.check()
            if live is not None:
                for _ in range(_ROUNDS):
                    if live.waiting_items <= _FEW_WRITES:
                        break
                    await run(maker.follow, *live.items_since(maker.seq))
                    change.check()
                async with live.items_held():
                    await run(maker.follow, *live.items_since(maker.seq))
                    change.check()
                    # From here on it is not abandoned: it may be on the disk already.
                    await live.put_meta(lineage.meta(), self._swap(engine, lineage, indexer))
            else:
                self._swap(engine, lineage, None)()
        except BaseException:
            if indexer is not None and self._served.engine is not engine:
                await indexer.close()
            if engine is not None and self._served.engine is not engine:
                await served.discard(engine)
            raise
        finally:
            if live is not None:
                live.forget_items()
        if live is not None:
            with contextlib.suppress(ServerError):  # or they are made again at the next start
                await live.keep_vectors(*maker.made)
        return Activated(engine, len(maker.encoded))

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

    def _swap(self, engine: Engine, lineage: Lineage, indexer: Indexer | None) -> Callable[[], None]:
        def swap() -> None:
            before, unneeded = self._served.swap(engine), self._lineage.previous_encoder
            self._lineage = lineage
            idle = self._live.index_by(indexer) if self._live is not None and indexer is not None else None
            if unneeded in (lineage.previous_encoder, fingerprint(engine.generation.manifest)):
                unneeded = None
            self._retiring = asyncio.create_task(self._retire(before, idle, unneeded), name="retire")

        return swap

    async def _retire(self, engine: Engine, indexer: Indexer | None, unneeded: str | None) -> None:
        try:
            if indexer is not None:
                await indexer.close()
            await self._served.retire(engine)
            del engine
            await self._native.run(give_back)
            if unneeded is not None and self._live is not None:
                await self._live.drop_vectors(unneeded)
        except ServerError as error:
            _log.warning("vectors that no bundle needs could not be removed: %s", error)
        finally:
            self._retiring = None

    async def close(self) -> None:
        """Abandons what is under way."""
        waiting: list[asyncio.Task[Activated] | asyncio.Task[None]] = []
        if self._change is not None and self._change.task is not None:
            self._change.task.cancel()
            waiting.append(self._change.task)
        if self._retiring is not None:
            self._retiring.cancel()
            waiting.append(self._retiring)
        await asyncio.gather(*waiting, return_exceptions=True)
        self._worker.close()
        self._native.close()
        self._lists.close()


class _Maker:
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

    def warm(self, texts: list[str], of: Manifest) -> None:
        """Encodes what was asked for lately: all of it at once, when it is served, would keep other calls waiting."""
        own = _prompts(self._engine.generation.manifest)
        prompts = sorted(zip(_prompts(of), own, strict=True), key=lambda both: -len(both[0]))
        found = []
        for text in reversed(texts):
            before, after = next((both for both in prompts if text.startswith(both[0])), ("", ""))
            found.append(after + text.removeprefix(before))
        try:
            self._engine.warm(list(dict.fromkeys(found)))
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
