"""The servicer of what is served: status, and other bundles."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from tanager.v1 import model_pb2, model_pb2_grpc
from tanager_server.errors import StateError, StatelessError
from tanager_server.rpc.bundles import bundle_message, served_bundle
from tanager_server.rpc.model_validation import backup_name, trial_plan
from tanager_server.rpc.trials import trial_message
from tanager_server.rpc.write_validation import required_id

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from google.protobuf.message import Message
    from grpc.aio import ServicerContext

    from tanager_server.engine import Engine
    from tanager_server.live import Activator, Live, Served
    from tanager_server.runtime import Calibration


class ModelServicer(model_pb2_grpc.ModelServiceServicer):
    """ModelService over what is served.

    Args:
        served: what answers.
        activator: serves other bundles.
        calibration: how encoders run.
        started: when the server did.
        live: what is written; None for a server without state.
        backups: directory that backups are made in; None for none.
    """

    def __init__(
        self,
        served: Served,
        activator: Activator,
        *,
        calibration: Calibration,
        started: datetime,
        live: Live | None = None,
        backups: Path | None = None,
    ) -> None:
        self._served, self._activator, self._live, self._backups = served, activator, live, backups
        self._runtime = model_pb2.Runtime(
            threads=calibration.threads,
            workers=calibration.workers,
            max_batch_tokens=calibration.max_batch_tokens,
            batch_cost_tokens=calibration.batch_cost_tokens,
        )
        self._version = version("tanager")
        self._started = Timestamp()
        self._started.FromDatetime(started)

    async def GetStatus(  # noqa: N802  # gRPC's name
        self, request: model_pb2.GetStatusRequest, context: ServicerContext[Message, Message]
    ) -> model_pb2.GetStatusResponse:
        """See the contract."""
        engine = self._served.engine
        return model_pb2.GetStatusResponse(
            server_version=self._version,
            start_time=self._started,
            execution_provider=engine.provider,
            queue_depth=engine.queue_depth,
            runtime=self._runtime,
            bundle=served_bundle(engine),
            state=None if self._live is None else _state(engine, self._live),
            trial=None if self._served.trial is None else trial_message(self._served.trial),
        )

    async def ListBundles(  # noqa: N802  # gRPC's name
        self, request: model_pb2.ListBundlesRequest, context: ServicerContext[Message, Message]
    ) -> model_pb2.ListBundlesResponse:
        """See the contract."""
        found = await self._activator.bundles()
        engine, active = self._served.engine, self._activator.active
        response = model_pb2.ListBundlesResponse()
        for each in found:
            is_active = each.path == active
            listed = response.bundles.add(name=each.name, active=is_active, problem=each.problem)
            if is_active:  # as it was when it was loaded, whatever became of its directory
                listed.bundle.CopyFrom(served_bundle(engine))
            elif each.manifest is not None:
                listed.bundle.CopyFrom(bundle_message(each.manifest))
        return response

    async def ActivateBundle(  # noqa: N802  # gRPC's name
        self, request: model_pb2.ActivateBundleRequest, context: ServicerContext[Message, Message]
    ) -> model_pb2.ActivateBundleResponse:
        """See the contract."""
        done = await self._activator.activate(required_id("name", request.name))
        return model_pb2.ActivateBundleResponse(bundle=served_bundle(done.engine), encoded_count=done.encoded)

    async def RollbackBundle(  # noqa: N802  # gRPC's name
        self, request: model_pb2.RollbackBundleRequest, context: ServicerContext[Message, Message]
    ) -> model_pb2.RollbackBundleResponse:
        """See the contract."""
        done = await self._activator.roll_back(request.expected_bundle_id)
        return model_pb2.RollbackBundleResponse(bundle=served_bundle(done.engine), encoded_count=done.encoded)

    async def StartTrial(  # noqa: N802  # gRPC's name
        self, request: model_pb2.StartTrialRequest, context: ServicerContext[Message, Message]
    ) -> model_pb2.StartTrialResponse:
        """See the contract."""
        return model_pb2.StartTrialResponse(trial=trial_message(await self._activator.start_trial(trial_plan(request))))

    async def EndTrial(  # noqa: N802  # gRPC's name
        self, request: model_pb2.EndTrialRequest, context: ServicerContext[Message, Message]
    ) -> model_pb2.EndTrialResponse:
        """See the contract."""
        ended = await self._activator.end_trial()
        return model_pb2.EndTrialResponse(trial=None if ended is None else trial_message(ended))

    async def BackUpState(  # noqa: N802  # gRPC's name
        self, request: model_pb2.BackUpStateRequest, context: ServicerContext[Message, Message]
    ) -> model_pb2.BackUpStateResponse:
        """See the contract."""
        name = backup_name(request)
        if self._live is None:
            raise StatelessError
        if self._backups is None:
            raise StateError("this server has no directory of backups: start it with --backups DIR")
        return model_pb2.BackUpStateResponse(size_bytes=await self._live.back_up(self._backups / name))


def _state(engine: Engine, live: Live) -> model_pb2.State:
    return model_pb2.State(
        consistency_token=live.token(live.seq),
        item_count=len(engine.generation.catalogue),
        user_count=len(engine.known.users),
        event_count=live.event_count,
        unindexed_item_count=engine.items.unindexed,
    )
