"""The gRPC surface: servicers, validation, the one interceptor, and the server itself."""

from tanager_server.rpc.server import GrpcServer, check_address

__all__ = ["GrpcServer", "check_address"]
