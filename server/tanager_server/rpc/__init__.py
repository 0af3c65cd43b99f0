"""The gRPC surface: servicers, validation, the one interceptor, and the server itself."""

from tanager_server.rpc.server import GrpcServer

__all__ = ["GrpcServer"]
