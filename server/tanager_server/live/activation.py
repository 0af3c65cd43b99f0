"""Serving another bundle: in the place of the one that is served, or beside it for a trial."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Protocol, TypeVar

from tanager_server.bundle import open_manifest
from tanager_server.errors import ActivationError, ActivationUnderWayError, BundleNotFoundError, ServerError
from tanager_server.live.folding import fingerprint
from tanager_server.live.indexing import IndexObserver
from tanager_server.live.lineage import GIVEN, Lineage
from tanager_server.live.making import Made, Maker
from tanager_server.live.trials import NO_TRIAL, Trial
from tanager_server.runtime.memory import give_back
from tanager_server.runtime.worker import WorkerThread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tanager_server.bundle import Shelf, ShelvedBundle
    from tanager_server.engine.engine import Engine
    from tanager_server.live.opening import Opener
    from tanager_server.live.replica import Replica
    from tanager_server.live.served import Served
    from tanager_server.live.trials import TrialPlan
    from tanager_server.live.writes import Live
    from tanager_server.state import Store

_log = logging.getLogger(__name__)

T = TypeVar("T")


class ActivationObserver(IndexObserver, Protocol):
    """Told, on the event loop, what becomes of bundles that are opened; for metrics."""

    def observe_activation(self, outcome: str, seconds: float) -> None:
        """One has ended: `activated`, `failed`, or `abandoned` by its caller or the end of the server."""


class _Change:
    """A change under way."""

    def __init__(self) -> None:
        self.abandoned = False

    def check(self) -> None:
        """Ends it, if nobody waits for it any more."""
        if self.abandoned:
            raise asyncio.CancelledError


class Activator:
    """Serves other bundles and tries them. Only one change goes on at a time.

    Args:
        served: what calls are answered from.
        shelf: the bundles that there are.
        opener: how they are opened.
        lineage: what is served, and what was.
        live: what is written; None for a server without state, which forgets all this when it ends.
        store: where that is kept.
        directory: for the index of live items; that of the state.
        observe: told of every bundle that is opened, for a trial too.
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
        observe: ActivationObserver | None = None,
    ) -> None:
        self._served, self._shelf, self._lineage, self._live = served, shelf, lineage, live
        self._observe = observe
        self._maker = Maker(served, opener, live=live, store=store, directory=directory, observe=observe)
        self._lists = WorkerThread("bundles")
        # Whatever becomes of their directories.
        self._active, self._tried = lineage.path(shelf), shelf.given
        if live is not None:
            live.lose_by(self._lose)
        self._under_way: asyncio.Task[object] | None = None
        self._retiring: asyncio.Task[None] | None = None

    @property
    def active(self) -> Path:
        """Directory of the bundle that is served."""
        return self._active

    async def bundles(self) -> list[ShelvedBundle]:
        """All that can be asked for, latest first.

        Raises:
            BundleError: the directory cannot be read.
        """
        return await self._lists.run(self._shelf.bundles)

    # In its place

    async def activate(self, name: str) -> Made:
        """Serves a bundle, whose directory has this name.

        If it is served already nothing is done; if it is being tried, the trial ends with it.

        Raises:
            BundleNotFoundError: there is no such bundle.
            BundleError: it is not whole, or unfit for this machine; what was served is served on, as with all of these.
            ActivationUnderWayError: another change is.
            StorageError: the disk does not take what has to be kept of it.
        """
        self._check_idle()
        path = self._shelf.path(name)
        bundle_id = await self._bundle_id(path)
        lineage, manifest = self._lineage, self._served.engine.generation.manifest
        if path == self.active and bundle_id == manifest.bundle_id:
            return Made(self._served.engine, 0)
        following = Lineage(self._known_as(path), lineage.active, fingerprint(manifest))
        return await self._change(lambda check: self._serve(path, following, check))

    async def roll_back(self, expected_bundle_id: str = "") -> Made:
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
        following = Lineage(lineage.previous, lineage.active, fingerprint(manifest))
        return await self._change(lambda check: self._serve(path, following, check))

    async def _serve(self, path: Path, lineage: Lineage, check: Callable[[], None]) -> Made:
        trial = self._served.trial
        if (
            trial is not None
            and path == self._tried
            and await self._bundle_id(path) == trial.engine.generation.manifest.bundle_id
        ):
            return await self._promote(trial, path, lineage, check)
        began = time.monotonic()
        # What is tried goes on, beside another one: it is counted anew.
        renewed = None if trial is None else trial.plan.renewed()

        def take(engine: Engine, replica: Replica | None) -> None:
            self._swap(engine, replica, path, lineage, renewed)

        meta = lineage.meta() | ({} if renewed is None else renewed.meta())
        made = await self._make(path, meta, take, check)
        manifest, took_s = made.engine.generation.manifest, time.monotonic() - began
        extra = {"bundle_id": manifest.bundle_id, "encoded": made.encoded, "took_s": round(took_s, 3)}
        _log.info("activated", extra=extra)
        return made

    async def _promote(self, trial: Trial, path: Path, lineage: Lineage, check: Callable[[], None]) -> Made:
        """Serves what is tried already."""
        engine, live = trial.engine, self._live
        if engine.stuck:
            raise ActivationError(f"the encoder of {path.name!r}, which is tried, does not come back")
        check()
        if live is None:
            self._swap(engine, None, path, lineage, None)
        else:
            replica = live.replicas[-1]
            await live.put_meta(lineage.meta() | NO_TRIAL, lambda: self._swap(engine, replica, path, lineage, None))
        _log.info("activated", extra={"bundle_id": engine.generation.manifest.bundle_id, "trial": trial.plan.variant})
        return Made(engine, 0)

    def _swap(
        self, engine: Engine, replica: Replica | None, path: Path, lineage: Lineage, renewed: TrialPlan | None
    ) -> None:
        trial, live = self._served.trial, self._live
        before, unneeded = self._served.swap(engine), self._lineage.previous_encoder
        self._lineage, self._active, idle = lineage, path, None
        if self._served.trial is not None and renewed is not None:
            self._served.trial = Trial(renewed, self._served.trial.engine)
        if live is not None and replica is not None:
            idle, *others = live.replicas
            live.follow_with(replica, *(other for other in others if other is not replica))
        self._put_away(before, idle, trial, unneeded)

    # Beside it

    async def start_trial(self, plan: TrialPlan) -> Trial:
        """Tries a bundle beside the one that is served.

        If it is being tried under the same name, that goes on as the plan says and is counted anew.

        Raises:
            ActivationError: it is served, or another one is being tried.
            As `activate`.
        """
        self._check_idle()
        path = self._shelf.path(plan.bundle)
        plan = plan._replace(bundle=self._known_as(path))
        if path == self.active:
            raise ActivationError(f"name: {path.name!r} is served; a trial is of another bundle")
        trial = self._served.trial
        if trial is not None and (trial.plan.bundle, trial.plan.variant) != (plan.bundle, plan.variant):
            raise ActivationError(f"a trial of {trial.plan.variant!r} is under way; EndTrial ends it")
        if trial is not None:
            return await self._change(lambda check: self._go_on(trial, plan, check))
        return await self._change(lambda check: self._try(path, plan, plan.meta(), check))

    async def resume_trial(self, plan: TrialPlan) -> None:
        """Goes on with a trial of before the server was started. If its bundle cannot be had, that is logged."""
        try:
            path = self._path(plan.bundle)
            if path == self.active:
                raise ActivationError(f"{path.name!r} is served")
            await self._change(lambda check: self._try(path, plan, {}, check))
        except ServerError as error:
            _log.error("the trial does not go on: %s", error, extra={"trial": plan.variant})

    async def _try(self, path: Path, plan: TrialPlan, meta: dict[str, str | None], check: Callable[[], None]) -> Trial:
        served, live = self._served, self._live

        def take(engine: Engine, replica: Replica | None) -> None:
            served.trial, self._tried = Trial(plan, engine), path
            if live is not None and replica is not None:
                live.follow_with(*live.replicas, replica)

        await self._make(path, meta, take, check)
        assert served.trial is not None
        _log.info("trial", extra={"variant": plan.variant, "mode": plan.mode.name, "share": plan.share})
        return served.trial

    async def _go_on(self, trial: Trial, plan: TrialPlan, check: Callable[[], None]) -> Trial:
        following = Trial(plan, trial.engine)
        check()

        def take() -> None:
            self._served.trial = following

        await self._keep(plan.meta(), take)
        await trial.end()
        return following

    async def end_trial(self) -> Trial | None:
        """Ends a trial; all users are answered from the bundle that is served.

        Returns:
            What came of it; None if there was none.

        Raises:
            As `activate`.
        """
        self._check_idle()
        trial = self._served.trial
        if trial is None:
            await self._change(lambda _: self._keep(NO_TRIAL, lambda: None))  # of one that could not go on
            return None

        async def end(check: Callable[[], None]) -> None:
            check()
            await self._keep(NO_TRIAL, lambda: self._leave(trial))
            await trial.end()

        await self._change(end)
        _log.info("trial ended", extra={"variant": trial.plan.variant})
        return trial

    def _leave(self, trial: Trial) -> None:
        self._served.trial, idle = None, None
        if self._live is not None:
            first, idle = self._live.replicas
            self._live.follow_with(first)
        self._put_away(trial.engine, idle, trial, None)

    def _lose(self, replica: Replica, error: ServerError) -> bool:
        """Ends a trial whose encoder fails on what is written: nobody's write may depend on what is only tried.

        Returns:
            Whether it is lost; not so while something else is under way.
        """
        trial = self._served.trial
        if self._under_way is not None or trial is None or trial.engine is not replica.engine:
            return False
        _log.error("the trial is ended: %s", error, extra={"trial": trial.plan.variant})
        self._leave(trial)
        self._under_way = asyncio.create_task(self._keep(NO_TRIAL, lambda: None), name="trial")
        self._under_way.add_done_callback(self._ended)
        return True

    # All of it

    def _path(self, name: str) -> Path:
        return self._shelf.path(name) if name != GIVEN else self._shelf.given

    def _known_as(self, path: Path) -> str:
        return GIVEN if path == self._shelf.given else path.name

    async def _bundle_id(self, path: Path) -> str:
        return (await self._lists.run(open_manifest, path)).bundle_id

    async def _keep(self, meta: dict[str, str | None], then: Callable[[], None]) -> None:
        if self._live is None:
            then()
        else:
            await self._live.put_meta(meta, then)

    async def _make(
        self,
        path: Path,
        meta: dict[str, str | None],
        take: Callable[[Engine, Replica | None], None],
        check: Callable[[], None],
    ) -> Made:
        _log.info("opening a bundle", extra={"bundle": str(path)})
        began, outcome = time.monotonic(), "failed"
        try:
            made = await self._maker.make(path, meta=meta, take=take, check=check)
            outcome = "activated"
        except asyncio.CancelledError:
            outcome = "abandoned"
            _log.warning("the bundle is not served: nobody waits for it any more", extra={"bundle": str(path)})
            raise
        except Exception as error:
            expected = isinstance(error, ServerError)
            _log.error("the bundle is not served", exc_info=not expected, extra={"error": str(error)})
            raise
        finally:
            if self._observe is not None:
                self._observe.observe_activation(outcome, time.monotonic() - began)
        return made

    def _check_idle(self) -> None:
        if self._under_way is not None:
            raise ActivationUnderWayError("another bundle is being activated; try again when it is served")

    async def _change(self, work: Callable[[Callable[[], None]], Awaitable[T]]) -> T:
        self._check_idle()
        change = _Change()

        async def run() -> T:
            if self._retiring is not None:
                await asyncio.shield(self._retiring)  # or there would be one more in memory
            return await work(change.check)

        # A task of its own: what a caller who has gone leaves behind must be put away before there is another one.
        task = asyncio.create_task(run(), name="activation")
        self._under_way = task
        task.add_done_callback(self._ended)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            change.abandoned = True
            raise

    def _ended(self, task: asyncio.Task[T]) -> None:
        self._under_way = None
        if not task.cancelled():
            task.exception()  # where the caller has gone: looked at, and let be

    def _put_away(self, engine: Engine, idle: Replica | None, trial: Trial | None, unneeded: str | None) -> None:
        before, calls_end = self._retiring, self._served.calls_end()
        retiring = self._retire(before, engine, calls_end, idle, trial, unneeded)
        self._retiring = asyncio.create_task(retiring, name="retire")

    async def _retire(
        self,
        before: asyncio.Task[None] | None,
        engine: Engine,
        calls_end: Awaitable[object] | None,
        idle: Replica | None,
        trial: Trial | None,
        unneeded: str | None,
    ) -> None:
        if before is not None:
            await before
        own = fingerprint(engine.generation.manifest)
        try:
            if idle is not None:
                await idle.indexer.close()
            if trial is not None:
                await trial.end()
            await self._served.retire(engine, calls_end)
            del engine, idle, trial
            await self._lists.run(give_back)
            needed = {self._lineage.previous_encoder}
            needed |= {fingerprint(other.generation.manifest) for other in self._served.engines}
            for of in {own, unneeded} - needed:
                if of is not None and self._live is not None:
                    await self._live.drop_vectors(of)
        except ServerError as error:
            _log.warning("vectors that no bundle needs could not be removed: %s", error)
        finally:
            if self._retiring is asyncio.current_task():
                self._retiring = None

    async def close(self) -> None:
        """Abandons what is under way."""
        waiting = [task for task in (self._under_way, self._retiring) if task is not None]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        self._maker.close()
        self._lists.close()
