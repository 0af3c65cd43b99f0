"""The servers that are compared: how each is started, and what it was told."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import grpc
from tests.bench.http_load import LoadError, ask
from tests.bench.process import ProcessGroup, free_port

from tanager.v1 import recommendation_pb2, recommendation_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.contenders.tuning import Tuning

BIN = Path(sys.executable).parent
_START_TIMEOUT_S = 90.0
_POLL_S = 0.05
_ASK_TIMEOUT_S = 5.0
_QUESTION = "is anybody there"
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

    def command(self, bundle: Path, port: int, metrics_port: int) -> list[str]:
        """The command line; the second port is Tanager's alone."""
        python = [sys.executable, "-m"]
        match self.kind:
            case "tanager":
                # No balancer watches the health here: without the delay it ends at once.
                fixed = ["--port", str(port), "--metrics.port", str(metrics_port), "--shutdown.drain-delay-s", "0"]
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
        port, metrics_port = free_port(), free_port()
        environment = {} if self.tuning is None else self.tuning.environment(bundle)
        environment["BENTOML_HOME"] = str(scratch)  # else BentoML makes a folder in the user's
        log = scratch / f"{self.name}.log"
        with ProcessGroup(self.command(bundle, port, metrics_port), log=log, environment=environment) as group:
            running = Running(self, group, f"127.0.0.1:{port}", metrics_port)
            running.wait_until_it_answers()
            yield running


@dataclass(slots=True)
class Running:
    """A contender that runs.

    Attributes:
        contender: which.
        group: its processes.
        address: host:port.
        metrics_port: of Tanager's Prometheus endpoint.
    """

    contender: Contender
    group: ProcessGroup
    address: str
    metrics_port: int

    @property
    def target(self) -> str:
        """What a load generator is given."""
        return self.address if self.contender.is_grpc else f"{self.address}{_PATH}"

    def wait_until_it_answers(self) -> None:
        """Asks until there is an answer.

        Raises:
            StartError: the server ended, or did not answer in time.
        """
        deadline = time.monotonic() + _START_TIMEOUT_S
        while (failure := self._ask()) is not None:
            if self.group.ended or time.monotonic() > deadline:
                what = "ended" if self.group.ended else f"did not answer within {_START_TIMEOUT_S:.0f} s"
                said = f"it said:\n{self.group.tail()}"
                raise StartError(f"{self.contender.name}: the server {what} ({failure}); {said}")
            time.sleep(_POLL_S)

    def _ask(self) -> str | None:
        """Asks once; gives why there is no answer."""
        try:
            if self.contender.is_grpc:
                # Without a pool of its own, a channel would wait as long as the ones before it came to wait.
                with grpc.insecure_channel(self.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                    stub = recommendation_pb2_grpc.RecommendationServiceStub(channel)
                    stub.Recommend(recommendation_pb2.RecommendRequest(text=_QUESTION), timeout=_ASK_TIMEOUT_S)
            else:
                ask(self.target, [_QUESTION], concurrency=1, batched=self.contender.takes_lists)
        except grpc.RpcError as error:  # not yet
            return str(error.details())
        except (OSError, LoadError) as error:
            return str(error)
        return None
