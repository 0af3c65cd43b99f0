"""Where a server is: how to connect to it, and what calls tell it in their headers."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from tanager._channel import Connection
from tanager._version import __version__
from tanager.load.http2 import Http2Error
from tanager.load.workload import METHODS

if TYPE_CHECKING:
    from tanager._values import Tls
    from tanager.load.http2 import Http2Connection

_ALPN = "h2"
# The grpc-timeout header takes at most eight digits, of one of these units.
_MAX_TIMEOUT_DIGITS = 99_999_999
_TIMEOUT_UNITS = (("u", 1e6), ("m", 1e3), ("S", 1))


class Endpoint:
    """Where a server is, and how to connect to it.

    Args:
        target: host:port or a URI of gRPC's schemes dns, ipv4, ipv6 or unix.
        tls: How to encrypt; None for not at all.

    Attributes:
        authority: What calls name the server.

    Raises:
        ValueError: `target` makes no sense, or is of another scheme.
        OSError: A file of `tls` cannot be read.
    """

    def __init__(self, target: str, tls: Tls | None) -> None:
        uri = Connection(target, timeout_s=1, retry=None, tls=tls, metadata=None).uri
        scheme, _, rest = uri.partition(":")
        self._path: str | None = None
        self._host, self._port = "localhost", 0
        if scheme == "unix":
            self._path = unquote(rest.removeprefix("//"))
        else:
            address = unquote(rest.rpartition("/")[2])
            try:
                parts = urlsplit(f"//{address}")
                host, port = parts.hostname, parts.port
            except ValueError:
                host = port = None
            if scheme not in ("dns", "ipv4", "ipv6") or host is None or port is None or "," in address:
                raise ValueError(f"load needs one address as target, host:port or unix:PATH, not {target!r}")
            self._host, self._port = host, port
        self._server_name = tls.server_name if tls is not None else None
        self._tls = None if tls is None else _context(tls)
        self.authority = self._server_name or ("localhost" if self._path is not None else address)

    async def open(self, connection: Http2Connection) -> None:
        """Connects, and waits for the server's settings.

        Raises:
            OSError: Nothing accepts the connection, or not in TLS.
            Http2Error: What accepts it does not speak HTTP/2.
        """
        loop = asyncio.get_running_loop()
        name = None if self._tls is None else self._server_name or self._host
        if self._path is not None:
            transport, _ = await loop.create_unix_connection(
                lambda: connection, self._path, ssl=self._tls, server_hostname=name
            )
        else:
            transport, _ = await loop.create_connection(
                lambda: connection, self._host, self._port, ssl=self._tls, server_hostname=name
            )
        encrypted = transport.get_extra_info("ssl_object")
        if encrypted is not None and encrypted.selected_alpn_protocol() != _ALPN:
            raise Http2Error("its TLS does not offer HTTP/2 (h2, by ALPN)")
        await connection.ready

    def headers(self, timeout_s: float) -> list[list[tuple[bytes, bytes]]]:
        """Of a call with this deadline, by number of the method."""
        return [
            [
                (b":method", b"POST"),
                (b":scheme", b"http" if self._tls is None else b"https"),
                (b":path", method.encode()),
                (b":authority", self.authority.encode()),
                (b"te", b"trailers"),
                (b"content-type", b"application/grpc"),
                (b"user-agent", f"tanager-load/{__version__}".encode()),
                (b"grpc-timeout", _timeout(timeout_s)),
            ]
            for method in METHODS
        ]


def _timeout(timeout_s: float) -> bytes:
    for unit, factor in _TIMEOUT_UNITS:
        if timeout_s * factor <= _MAX_TIMEOUT_DIGITS:
            return f"{max(1, round(timeout_s * factor))}{unit}".encode()
    return f"{_MAX_TIMEOUT_DIGITS}S".encode()


def _context(tls: Tls) -> ssl.SSLContext:
    authorities = Path(tls.ca_file).read_bytes() if tls.ca_file is not None else tls.ca_bytes
    try:
        context = ssl.create_default_context(cadata=None if authorities is None else authorities.decode())
    except (ssl.SSLError, UnicodeDecodeError):
        raise ValueError(f"--ca-file {tls.ca_file}: holds no certificate in PEM form") from None
    if tls.cert_file is not None:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    context.set_alpn_protocols([_ALPN])
    return context
