"""Lives of servers, each of which ends by a kill."""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import random
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.chaos.checks import Findings, look_at_files, look_at_server, served_bundle
from tests.bench.chaos.ledger import Ledger, Records
from tests.bench.chaos.server import ForkedServer
from tests.bench.chaos.writers import BUNDLE, WORK, Writers

from tanager import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

OPTIONS = (
    *("--encoder.threads", "1", "--encoder.workers", "1"),
    *("--batching.max-batch-tokens", "512", "--batching.batch-cost-tokens", "0"),
    *("--log.calls", "false"),
)
KINDS = (*WORK, "index")
"""What the server can be killed in the midst of."""
NAMES = ("first", "second", "third")
"""Of the bundles, as they are activated: the server is given the first; the third is the same by another name."""
_AIMS = ("anything", "activation", "index", "activated", "backup")
"""What a kill waits for, in turn: nothing, what is to be under way, or that a bundle is acknowledged to be served."""
_LONGEST_S = 0.5
"""Between the first write after a start and a kill that waits for nothing, at most."""
_WAIT_S = {"activation": 1.0, "index": 1.0, "activated": 10.0, "backup": 1.0}
"""For what is waited for: it may not be due."""
_SPAN_S = {"activation": 0.5, "index": 0.15, "activated": 0.05, "backup": 0.1}
"""From then on, at a random moment of which the server is killed; of activations, as long as they take."""
_AT_ONCE = 0.3
"""Share of the kills after which the server is killed once more before anything is looked at."""
_KILLS_OF_A_STATE = 25
"""After which a new one is begun, or most of the time would go into reading it."""
_POLL_S = 0.001


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server lives, under one directory."""

    root: Path

    @property
    def state(self) -> Path:
        """Its state."""
        return self.root / "state"

    @property
    def backups(self) -> Path:
        """What it makes of it."""
        return self.root / "backups"

    @property
    def bundles(self) -> Path:
        """What it can serve."""
        return self.root / "bundles"

    def start(self) -> ForkedServer:
        """A server of it, which does not listen yet."""
        return ForkedServer(
            self.bundles / NAMES[0],
            *OPTIONS,
            *("--state", str(self.state), "--backups", str(self.backups), "--bundles", str(self.bundles)),
        )


def run(
    bundles: Sequence[Path], kills: int, *, seed: int = 0, jobs: int = 1, tell: Callable[[str], None] = print
) -> Findings:
    """Kills servers so many times.

    Args:
        bundles: two that they serve.
        kills: how often one is killed.
        seed: of what is written, and when it is killed.
        jobs: how many live at a time, each with a state of its own.
        tell: told of what is found wrong, and now and then how far it is.
    """
    findings = Findings()
    of_a_state = min(_KILLS_OF_A_STATE, -(-kills // jobs))
    parts = [range(first, min(kills, first + of_a_state)) for first in range(0, kills, of_a_state)]
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(prefix="tanager-chaos-") as scratch,
        contextlib.ExitStack() as stack,
    ):
        pool: concurrent.futures.Executor = stack.enter_context(
            concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context)
            if jobs > 1
            else concurrent.futures.ThreadPoolExecutor(1)
        )
        lives = [pool.submit(_run_state, tuple(bundles), part, Path(scratch), seed) for part in parts]
        for life in concurrent.futures.as_completed(lives):
            found, told = life.result()
            findings.take(found)
            for line in told:
                tell(line)
            tell(f"{findings.kills:,} kills")
    return findings


def _run_state(bundles: tuple[Path, ...], kills: range, scratch: Path, seed: int) -> tuple[Findings, list[str]]:
    """The kills of one state from its beginning, and what is to be told."""
    told: list[str] = []
    life = _Life(Place(scratch / f"{kills.start}"), kills, seed, told.append)
    life.place.backups.mkdir(parents=True)
    life.place.bundles.mkdir()
    for name, bundle in zip(NAMES, (*bundles, bundles[0]), strict=True):
        shutil.copytree(bundle, life.place.bundles / name)
    try:
        life.live()
    finally:
        shutil.rmtree(life.place.root)
    life.findings.answered.update(life.answered)
    return life.findings, told


class _Life:
    """One state, whose server is killed and started again.

    Args:
        place: where it is.
        kills: numbers of the kills.
        seed: of what is written, and when it is killed.
        tell: told of what is found wrong.
    """

    def __init__(self, place: Place, kills: range, seed: int, tell: Callable[[str], None]) -> None:
        self.place, self.findings = place, Findings()
        self._kills, self._seed, self._tell = kills, seed, tell
        self._ledger, self._draw = Ledger(bundle=Records({BUNDLE: NAMES[0]})), random.Random(f"{seed} {kills.start}")
        self._turn = kills.start

    @property
    def answered(self) -> Mapping[str, int]:
        """Calls that were acknowledged, by what they do."""
        return self._ledger.counts

    def live(self) -> None:
        """All of it. After the last kill it is started once more."""
        for turn in range(self._kills.start, self._kills.stop + 1):
            self._turn, first, last = turn, turn == self._kills.start, turn == self._kills.stop
            at_once = not first and not last and self._draw.random() < _AT_ONCE
            if not first and not at_once:
                # As the killed server left them: the next one brings in what its log holds.
                copy = self.place.root / "copy"
                shutil.copytree(self.place.state, copy)
                look_at_files(copy, self.place.backups, NAMES[0], self._ledger, self.findings, self._say)
                shutil.rmtree(copy)
            began, server = time.monotonic(), self.place.start()
            try:
                server.wait_until_ready()
            except AssertionError as error:
                self.findings.failed_starts += 1
                self._say(f"it does not start again: {error}")
                server.kill()
                server.wait()
                return
            self.findings.restart_s.append(time.monotonic() - began)
            try:
                with Client(server.address, timeout_s=60, retry=None) as client:
                    self._look(client, at_once=at_once)
                    if not last:
                        self._write_and_kill(server, client)
            finally:
                server.kill()
                server.wait()

    def _say(self, what: str) -> None:
        self._tell(f"after kill {self._turn}: {what}")

    def _look(self, client: Client, *, at_once: bool) -> None:
        if (served := served_bundle(client)) not in (wanted := self._ledger.bundle.may_be(BUNDLE)):
            self.findings.unserved += 1
            self._say(f"{served!r} is served, not {wanted}")
        if not at_once:
            wrong = look_at_server(client, self._ledger, self._draw)
            self.findings.unserved += len(wrong)
            for each in wrong:
                self._say(f"not served as it was acknowledged: {each}")

    def _write_and_kill(self, server: ForkedServer, client: Client) -> None:
        findings = self.findings
        writers = Writers(client, self._ledger, NAMES, turn=self._turn, seed=self._seed)
        writers.start()
        try:
            self._wait(writers)
            under_way = writers.under_way | ({"index"} if self._indexes() else set())
            writers.expect_the_end()
            server.kill()
            status = server.wait()
        finally:
            writers.expect_the_end()
            server.kill()
            writers.wait()
        findings.kills += 1
        findings.interrupted.update(under_way)
        failed = [repr(error) for error in writers.errors]
        if status != -signal.SIGKILL:
            failed.append(f"it ended by itself, with {status}: {''.join(server.log[-5:])}")
        findings.errors += len(failed)
        for each in failed:
            self._say(f"before it was killed again: {each}")

    def _wait(self, writers: Writers) -> None:
        """Until a random moment of what this kill waits for."""
        aim = _AIMS[self._turn % len(_AIMS)]
        if aim == "anything" or (aim.startswith("activat") and not writers.activates):
            time.sleep(_LONGEST_S * self._draw.random() ** 2)
            return
        end, before = time.monotonic() + _WAIT_S[aim], len(self._ledger.activations_s)

        def reached() -> bool:
            if aim == "activated":
                return len(self._ledger.activations_s) > before
            return self._indexes() if aim == "index" else aim in writers.under_way

        while time.monotonic() < end and not reached():
            time.sleep(_POLL_S)
        took = sorted(self._ledger.activations_s) if aim == "activation" else []
        time.sleep((took[len(took) // 2] if took else _SPAN_S[aim]) * self._draw.random())

    def _indexes(self) -> bool:
        return any(self.place.state.glob("index-*"))
