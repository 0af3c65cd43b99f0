"""The servers that are compared: how each is started, and what it was told."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tests.bench.http_load import LoadError, ask
from tests.bench.process import ProcessGroup, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.contenders.tuning import Tuning

BIN = Path(sys.executable).parent
_START_TIMEOUT_S = 90.0
_POLL_S = 0.05
_PACKAGE = "tests.bench.contenders"
_PATH = "/recommend"

Kind = Literal["tanager", "echo", "fastapi", "mosec", "litserve", "bentoml"]


class StartError(Exception):
    """A contender could not be started."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One server.

    Attributes:
        name: short, for the command line and the JSON.
        label: what it is, for people.
        kind: the program.
        options: further ones, of `tanager-server`.
        tuning: what the framework was told; None where there is nothing to tell.
    """

    name: str
    label: str
    kind: Kind
    options: tuple[str, ...] = ()
    tuning: Tuning | None = None

    @property
    def is_grpc(self) -> bool:
        """Whether it speaks gRPC; HTTP otherwise."""
        return self.kind in ("tanager", "echo")

    @property
    def takes_lists(self) -> bool:
        """Whether a request is a list of texts: BentoML batches nothing else."""
        return self.kind == "bentoml"

    def command(self, bundle: Path, port: int) -> list[str]:
        """The command line."""
        python = [sys.executable, "-m"]
        match self.kind:
            case "tanager":
                # No balancer watches the health here: without the delay it ends at once.
                fixed = ["--port", str(port), "--metrics.port", "0", "--shutdown.drain-delay-s", "0"]
                return [str(BIN / "tanager-server"), "--bundle", str(bundle), *fixed, *self.options]
            case "echo":
                return [*python, f"{_PACKAGE}.echo_server", str(port)]
            case "fastapi":
                return [*python, f"{_PACKAGE}.fastapi_server", str(bundle), str(port)]
            case "mosec":
                address = ["--address", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
                return [*python, f"{_PACKAGE}.mosec_server", *address, "--timeout", "60000"]
            case "litserve":
                return [*python, f"{_PACKAGE}.litserve_server", str(port)]
            case "bentoml":
                service = f"{_PACKAGE}.bentoml_server:Recommender"
                address = ["--host", "127.0.0.1", "--port", str(port)]
                return [str(BIN / "bentoml"), "serve", service, *address, "--do-not-track", "--quiet"]

    @contextmanager
    def running(self, bundle: Path, scratch: Path) -> Iterator[Running]:
        """Starts it, waits until it answers, and ends it.

        Raises:
            StartError: it ended, or did not answer in time.
        """
        port = free_port()
        environment = {} if self.tuning is None else self.tuning.environment(bundle)
        log = scratch / f"{self.name}.log"
        with ProcessGroup(self.command(bundle, port), log=log, environment=environment) as group:
            running = Running(self, group, f"127.0.0.1:{port}")
            running.wait_until_it_answers()
            yield running


@dataclass(slots=True)
class Running:
    """A contender that runs.

    Attributes:
        contender: which.
        group: its processes.
        address: host:port.
        metrics_port: of Tanager's Prometheus endpoint, None if it has none.
        failure: why it did not answer when last asked.
    """

    contender: Contender
    group: ProcessGroup
    address: str
    metrics_port: int | None = None
    failure: Exception | None = None

    @property
    def target(self) -> str:
        """What a load generator is given."""
        return self.address if self.contender.is_grpc else f"{self.address}{_PATH}"

    def wait_until_it_answers(self) -> None:
        """Reads the log of a gRPC server until it listens; asks an HTTP server until it answers."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        answers = self._listens if self.contender.is_grpc else self._answers
        while not answers():
            if self.group.ended or time.monotonic() > deadline:
                what = "ended" if self.group.ended else f"did not answer within {_START_TIMEOUT_S:.0f} s"
                raise StartError(
                    f"{self.contender.name}: the server {what} ({self.failure}); it said:\n{self.group.tail()}"
                )
            time.sleep(_POLL_S)

    def _listens(self) -> bool:
        for line in self.group.log.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("{") and line.endswith("}"):
                record = json.loads(line)
                if record["message"] == "listening":
                    self.metrics_port = record.get("metrics_port")
                    return True
        return False

    def _answers(self) -> bool:
        try:
            ask(self.target, ["is anybody there"], concurrency=1, batched=self.contender.takes_lists)
        except (OSError, LoadError) as error:  # not yet
            self.failure = error
            return False
        return True
