"""Tanager's Python client: recommendations, similar items and embeddings over gRPC.

    import tanager

    with tanager.Client("127.0.0.1:50051") as client:
        for result in client.recommend(text="a thoughtful science-fiction novel", page_size=5):
            print(result.rank, result.title, result.score)

`AsyncClient` offers the same calls to asyncio. Every failed call raises a subclass of `TanagerError`.
"""

from tanager._async_client import AsyncClient
from tanager._client import Client
from tanager._details import FieldViolation
from tanager._errors import (
    CancelledError,
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    TanagerError,
    UnauthenticatedError,
    UnavailableError,
    UnexpectedStatusError,
    UnimplementedError,
)
from tanager._results import (
    Bundle,
    Embeddings,
    Reason,
    ReasonKind,
    Recommendations,
    Result,
    Runtime,
    Shortfall,
    SimilarItems,
    Source,
    Status,
    Strategy,
    Timing,
)
from tanager._stubs import AsyncStubs, Stubs
from tanager._values import Diversity, Event, Retry, Tls
from tanager._version import __version__

__all__ = [
    "AsyncClient",
    "AsyncStubs",
    "Bundle",
    "CancelledError",
    "Client",
    "DeadlineExceededError",
    "Diversity",
    "Embeddings",
    "Event",
    "FailedPreconditionError",
    "FieldViolation",
    "InternalError",
    "InvalidArgumentError",
    "NotFoundError",
    "PermissionDeniedError",
    "Reason",
    "ReasonKind",
    "Recommendations",
    "ResourceExhaustedError",
    "Result",
    "Retry",
    "Runtime",
    "Shortfall",
    "SimilarItems",
    "Source",
    "Status",
    "Strategy",
    "Stubs",
    "TanagerError",
    "Timing",
    "Tls",
    "UnauthenticatedError",
    "UnavailableError",
    "UnexpectedStatusError",
    "UnimplementedError",
    "__version__",
]
