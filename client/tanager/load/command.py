"""What `tanager load` does, from its options to its exit status."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING

from tanager._client import Client
from tanager._errors import TanagerError
from tanager.load import figures, options, report, schedule, workload
from tanager.load.connections import Connections
from tanager.load.progress import Progress
from tanager.load.runner import Run, new_event_loop
from tanager.load.search import RateSearch, Step, judge
from tanager.load.table import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tanager.load.measurement import Measurement
    from tanager.load.options import Options
    from tanager.load.workload import Pool

_EXIT_OK, _EXIT_FAILED, _EXIT_USAGE, _EXIT_INTERRUPTED = 0, 1, 2, 130
_CATALOGUE_TIMEOUT_S = 30.0
# Files that are open beside the connections.
_SPARE_FILES = 64


def main(argv: Sequence[str]) -> int:
    """Runs the command.

    Args:
        argv: Its arguments, without `load`.

    Returns:
        The exit status: see `tanager load --help`.

    Raises:
        SystemExit: For wrong usage and for --help.
    """
    chosen = options.parse(argv)
    try:
        with _writable(chosen):
            _allow_files(chosen.connections)
            session = Session(chosen, _pool(chosen))
            session.run()
            return _report(session)
    except (TanagerError, workload.WorkloadError) as error:
        return _fail(str(error), _EXIT_FAILED if isinstance(error, TanagerError) else _EXIT_USAGE)
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), _EXIT_USAGE)
    except ValueError as error:
        return _fail(str(error), _EXIT_USAGE)
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED


class Session:
    """All runs of one command, and what came of them."""

    def __init__(self, chosen: Options, pool: Pool) -> None:
        self.options = chosen
        self.pool = pool
        self.steps: list[Step] = []
        self._run: Run | None = None
        self._progress = Progress()
        # Streams of their own, so that the requests of a seed are the same however they are sent.
        self._draws = _draws(chosen, len(pool.requests))
        self._gaps_random = _random(chosen, "gaps")

    @property
    def interrupted(self) -> bool:
        """Whether it was ended early."""
        return self._run is not None and self._run.interrupted

    @property
    def measurement(self) -> Measurement | None:
        """Of the run, or with --find-rate of the best one; None if there was none."""
        passed = [step for step in self.steps if step.passed]
        if self.steps:
            return max(passed or self.steps[-1:], key=lambda step: step.rate).measurement
        return None if self._run is None else self._run.measurement()

    def run(self) -> None:
        """Runs everything; ends early, without an error, when interrupted.

        Raises:
            TanagerError: The server cannot be reached.
            KeyboardInterrupt: Interrupted before anything was sent.
        """
        with asyncio.Runner(loop_factory=lambda: new_event_loop(self.options.connections)) as runner:
            try:
                runner.run(self._main())
            except KeyboardInterrupt:
                if self._run is None:
                    raise
                self._run.abandon()

    async def _main(self) -> None:
        connections = Connections(
            self.options.target, self.options.tls, self.options.connections, self.options.timeout_s
        )
        try:
            await connections.connect()
            if self.options.objective is None:
                await self._once(connections, self.options.rate)
            else:
                await self._search(connections)
        finally:
            await connections.close()

    async def _search(self, connections: Connections) -> None:
        assert self.options.rate is not None
        assert self.options.objective is not None
        search = RateSearch(self.options.rate, self.options.precision)
        while (rate := search.next_rate()) is not None:
            run = await self._once(connections, rate, f"{rate:,.1f} calls/s: ")
            if run.interrupted:
                return
            step = judge(rate, run.measurement(), self.options.objective, self.options.max_errors)
            self.steps.append(step)
            search.tell(rate, passed=step.passed)
            verdict = f"meets {self.options.objective.text}" if step.passed else f"fails: {step.failure}"
            self._progress.say(f"{rate:,.1f} calls/s {verdict}")

    async def _once(self, connections: Connections, rate: float | None, prefix: str = "") -> Run:
        chosen = self.options
        self._run = run = Run(
            connections.channels,
            self.pool,
            self._draws,
            concurrency=chosen.concurrency,
            gaps=None if rate is None else self._gaps(rate),
            duration_s=chosen.duration_s,
            count=chosen.count,
            warm_up_s=chosen.warm_up_s,
        )
        watcher = asyncio.create_task(self._progress.watch(run, prefix, chosen.duration_s, chosen.count))
        try:
            await run.run()
        finally:
            watcher.cancel()
            await asyncio.wait((watcher,))
            # A second Ctrl-C may have struck while it wrote: that has ended the loop, and is not to be raised again.
            if not watcher.cancelled() and isinstance(error := watcher.exception(), Exception):
                raise error
        return run

    def _gaps(self, rate: float) -> Iterator[float]:
        if self.options.arrivals == "poisson":
            return schedule.poisson_gaps(rate, self._gaps_random)
        return schedule.constant_gaps(rate)


def _pool(chosen: Options) -> Pool:
    if chosen.requests_file is not None:
        return workload.read_pool(chosen.requests_file, chosen.workload, chosen.page_size)
    with Client(chosen.target, tls=chosen.tls, timeout_s=max(chosen.timeout_s, _CATALOGUE_TIMEOUT_S)) as client:
        items = workload.list_items(client)
    return workload.make_pool(
        items, chosen.workload, page_size=chosen.page_size, size=chosen.pool_size, random=_random(chosen, "pool")
    )


def _draws(chosen: Options, size: int) -> Iterator[int]:
    random = _random(chosen, "draws")
    if chosen.zipf is None:
        return schedule.uniform_draws(size, random)
    return schedule.zipf_draws(size, chosen.zipf, random)


def _random(chosen: Options, purpose: str) -> Random:
    return Random(f"{chosen.seed} {purpose}")  # noqa: S311 - repeatable, not secret


def _report(session: Session) -> int:
    chosen, measurement = session.options, session.measurement
    if measurement is None or not measurement.sent:
        if session.interrupted:
            print("nothing was measured: interrupted before a call counted", file=sys.stderr)
            return _EXIT_INTERRUPTED
        return _fail("no call was due in the time that counts; raise --rate or --duration", _EXIT_FAILED)
    made = figures.as_json(chosen, session.pool, measurement, session.steps)
    text = table(chosen, session.pool, measurement, session.steps)
    if chosen.json is not None:
        document = json.dumps(made, indent=2)
        if chosen.json == options.STANDARD_OUTPUT:
            text = document
        else:
            chosen.json.write_text(f"{document}\n", encoding="utf-8")
    if chosen.report is not None:
        page = report.page(chosen, session.pool, measurement, session.steps)
        chosen.report.write_text(page, encoding="utf-8")
    print(text, flush=True)
    if session.interrupted:
        return _EXIT_INTERRUPTED
    failed = not measurement.ok or (chosen.objective is not None and made["found_rate"] is None)
    return _EXIT_FAILED if failed else _EXIT_OK


@contextmanager
def _writable(chosen: Options) -> Iterator[None]:
    """Finds out before the run, not after it, that its figures cannot be written; leaves no empty file of its own."""
    made: list[Path] = []
    try:
        for path in (chosen.json, chosen.report):
            if path is not None and path != options.STANDARD_OUTPUT:
                try:
                    path.open("x", encoding="utf-8").close()
                    made.append(path)
                except FileExistsError:
                    path.open("a", encoding="utf-8").close()
        yield
    finally:
        for path in made:
            if path.exists() and not path.stat().st_size:
                path.unlink()


def _allow_files(connections: int) -> None:
    """Raises this process's limit of open files to what the connections need."""
    try:
        import resource
    except ImportError:  # no such limit on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + _SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise ValueError(f"--connections {connections} needs {needed} open files; the limit is {hard} (ulimit -Hn)")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _fail(message: str, status: int) -> int:
    print(f"tanager: error: load: {' '.join(message.split())}", file=sys.stderr)
    return status
