"""Tanager's Python client: recommendations, and all that they are made from, over gRPC.

    import tanager

    with tanager.Client("127.0.0.1:50051") as client:
        for result in client.recommend(text="a thoughtful science-fiction novel", page_size=5):
            print(result.rank, result.title, result.score)

`AsyncClient` offers the same calls to asyncio. Every failed call raises a subclass of `TanagerError`.
"""

from tanager._async_client import AsyncClient
from tanager._client import Client
from tanager._details import FieldViolation
from tanager._embeddings import Embeddings
from tanager._enums import ReasonKind, Shortfall, Source, Strategy, TrialMode
from tanager._errors import (
    AbortedError,
    CancelledError,
    DeadlineExceededError,
    FailedPreconditionError,
    ImportStoppedError,
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
from tanager._records import Item, User, UserEvent
from tanager._results import (
    Audience,
    AudienceMember,
    BatchRecommendations,
    Ranking,
    Reason,
    Recommendations,
    Result,
    SimilarItems,
    Timing,
    TrendingItems,
    UserRecommendations,
)
from tanager._status import (
    Activation,
    AvailableBundle,
    Bundle,
    BundleList,
    EndedTrial,
    Runtime,
    StartedTrial,
    State,
    Status,
    Trial,
    VariantCounts,
)
from tanager._stubs import AsyncStubs, Stubs
from tanager._values import Diversity, Event, Example, Retry, Tls
from tanager._version import __version__
from tanager._writes import (
    DeletedItems,
    ImportedEvents,
    ImportedItems,
    ImportedUsers,
    ItemPage,
    PurgedUser,
    UpsertedItems,
    UpsertedUsers,
    WrittenEvents,
)

__all__ = [
    "AbortedError",
    "Activation",
    "AsyncClient",
    "AsyncStubs",
    "Audience",
    "AudienceMember",
    "AvailableBundle",
    "BatchRecommendations",
    "Bundle",
    "BundleList",
    "CancelledError",
    "Client",
    "DeadlineExceededError",
    "DeletedItems",
    "Diversity",
    "Embeddings",
    "EndedTrial",
    "Event",
    "Example",
    "FailedPreconditionError",
    "FieldViolation",
    "ImportStoppedError",
    "ImportedEvents",
    "ImportedItems",
    "ImportedUsers",
    "InternalError",
    "InvalidArgumentError",
    "Item",
    "ItemPage",
    "NotFoundError",
    "PermissionDeniedError",
    "PurgedUser",
    "Ranking",
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
    "StartedTrial",
    "State",
    "Status",
    "Strategy",
    "Stubs",
    "TanagerError",
    "Timing",
    "Tls",
    "TrendingItems",
    "Trial",
    "TrialMode",
    "UnauthenticatedError",
    "UnavailableError",
    "UnexpectedStatusError",
    "UnimplementedError",
    "UpsertedItems",
    "UpsertedUsers",
    "User",
    "UserEvent",
    "UserRecommendations",
    "VariantCounts",
    "WrittenEvents",
    "__version__",
]
