"""How both clients connect: target, options of the channel, credentials, and what every call carries."""

from __future__ import annotations

import json
import math
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from tanager._errors import TanagerError, from_rpc_error
from tanager._values import Retry
from tanager._version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tanager._values import Tls

DEFAULT_TARGET = "127.0.0.1:50051"
DEFAULT_TIMEOUT_S = 5.0
# A bundle is verified, loaded and warmed, and every live item encoded, before it is served.
ACTIVATION_TIMEOUT_S = 600.0
DEFAULT_RETRY = Retry()
REQUEST_ID_KEY = "x-request-id"
# Between two questions to a server that answers that it is not ready.
READY_PAUSE_S = 0.1

# gRPC takes a deadline much further away for one that has passed.
_MAX_TIMEOUT_S = 1e8
_HEALTH_SERVICE = "tanager.v1.RecommendationService"
_MAX_MESSAGE_BYTES = 16 * 1024 * 1024
# Rolled back twice, the server would be where it was.
_UNREPEATABLE = [{"service": "tanager.v1.ModelService", "method": "RollbackBundle"}]
# URI schemes of gRPC's name resolvers. Any other "name:" is a host.
_URI = re.compile(r"(?:dns|ipv4|ipv6|unix|unix-abstract|vsock|xds):")
_METADATA_KEY = re.compile(r"[a-z0-9_.-]+")
_HOST_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]]+):(\d{1,5})")


@dataclass(frozen=True, slots=True)
class Call:
    """What one call carries beside its request.

    Attributes:
        target: What is called, as the caller wrote it.
        timeout_s: Its deadline, in seconds from now.
        request_id: Names it in the server's logs.
        metadata: What is sent as gRPC metadata, the request id included.
    """

    target: str
    timeout_s: float
    request_id: str
    metadata: tuple[tuple[str, str | bytes], ...]

    def error(self, error: grpc.RpcError) -> TanagerError:
        """What this call raises for what gRPC raised."""
        return from_rpc_error(error, target=self.target, timeout_s=self.timeout_s, request_id=self.request_id)


class Connection:
    """The settings that both clients share, checked once."""

    def __init__(
        self,
        target: str,
        *,
        timeout_s: float,
        retry: Retry | None,
        tls: Tls | None,
        metadata: Mapping[str, str | bytes] | None,
    ) -> None:
        self.target = target
        self.uri = _uri(target)
        self.options = _options(retry, tls)
        self.credentials = _credentials(tls) if tls is not None else None
        self._timeout_s = _timeout(timeout_s)
        self._metadata = tuple(_checked(metadata or {}))

    def new_call(self, timeout_s: float | None, request_id: str | None) -> Call:
        """What the next call carries; None stands for the client's deadline and for a new id.

        Raises:
            ValueError: `timeout_s` is not a positive number, or `request_id` cannot be sent.
        """
        if request_id is None:
            request_id = uuid.uuid4().hex
        elif not _is_header(request_id):
            raise ValueError(f"request_id must be printable ASCII and not empty, not {request_id!r}")
        return Call(
            self.target,
            self._timeout_s if timeout_s is None else _timeout(timeout_s),
            request_id,
            (*self._metadata, (REQUEST_ID_KEY, request_id)),
        )


def _timeout(timeout_s: float) -> float:
    if not (math.isfinite(timeout_s) and timeout_s > 0):
        raise ValueError(f"timeout_s must be a positive number of seconds, not {timeout_s}")
    return min(timeout_s, _MAX_TIMEOUT_S)


def _checked(metadata: Mapping[str, str | bytes]) -> Iterator[tuple[str, str | bytes]]:
    # gRPC finds these only at the first call, as an internal error that does not name the key. The value may be secret.
    for key, value in metadata.items():
        if not _METADATA_KEY.fullmatch(key):
            raise ValueError(f"metadata keys are lower-case ASCII letters, digits and -_., not {key!r}")
        if not (isinstance(value, bytes) if key.endswith("-bin") else _is_header(value)):
            raise ValueError(f"metadata[{key!r}] must be printable ASCII, or bytes if its key ends with -bin")
        yield key, value


def _is_header(value: object) -> bool:
    return isinstance(value, str) and value != "" and value.isascii() and value.isprintable()


def _uri(target: str) -> str:
    """The target as gRPC wants it: `dns:///` re-resolves, so that round_robin sees every address of a name."""
    if _URI.match(target):
        return target
    match = _HOST_PORT.fullmatch(target)
    # gRPC would take a missing port for 443 and fail much later, saying something else.
    if match is None or not 0 < int(match[1]) < 65536:
        raise ValueError(f"target must be host:port or a gRPC URI, for example {DEFAULT_TARGET}, not {target!r}")
    return f"dns:///{target}"


def _options(retry: Retry | None, tls: Tls | None) -> list[tuple[str, str | int]]:
    service_config: dict[str, object] = {
        "loadBalancingConfig": [{"round_robin": {}}],
        # A server that drains tells NOT_SERVING first; calls then go to the others.
        "healthCheckConfig": {"serviceName": _HEALTH_SERVICE},
    }
    if retry is not None:
        policy = {
            "maxAttempts": retry.max_attempts,
            "initialBackoff": f"{retry.initial_backoff_s:g}s",
            "maxBackoff": f"{retry.max_backoff_s:g}s",
            "backoffMultiplier": retry.multiplier,
            # Of the server, the one status that says the request was not worked on; its RESOURCE_EXHAUSTED means that
            # it has too much to do already. gRPC says UNAVAILABLE of a lost connection too, when the work may have been
            # done: every method but those of `_UNREPEATABLE` may be done twice. Reads change nothing, upserts and
            # deletes end in the state they name, events are known by their ids, and a bundle that is active stays so.
            "retryableStatusCodes": [grpc.StatusCode.UNAVAILABLE.name],
        }
        service_config["methodConfig"] = [{"name": [{}], "retryPolicy": policy}, {"name": _UNREPEATABLE}]
        service_config["retryThrottling"] = {"maxTokens": 10, "tokenRatio": 0.1}
    options: list[tuple[str, str | int]] = [
        ("grpc.service_config", json.dumps(service_config)),
        ("grpc.primary_user_agent", f"tanager-python/{__version__}"),
        ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        # Requests larger than this are not tried again; by default 256 KiB, which a batch of items exceeds.
        ("grpc.per_rpc_retry_buffer_size", _MAX_MESSAGE_BYTES),
        # Finds dead connections, also idle ones, before a call does. The server allows a ping every 10 s.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # By default a server that was away for long is not looked for again for up to two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]
    if tls is not None and tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    return options


def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=Path(tls.ca_file).read_bytes() if tls.ca_file is not None else tls.ca_bytes,
        private_key=Path(tls.key_file).read_bytes() if tls.key_file is not None else None,
        certificate_chain=Path(tls.cert_file).read_bytes() if tls.cert_file is not None else None,
    )
