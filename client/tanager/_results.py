"""What the clients answer with: immutable, typed, free of protobuf."""

from __future__ import annotations

import array
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    import datetime as dt

    import numpy as np
    from numpy.typing import NDArray

_FLOAT_BYTES = 4


class Strategy(StrEnum):
    """How a list came about."""

    #: Scored from the history, and from the wish too if one was sent.
    PERSONAL = "personal"
    #: Scored from the wish alone.
    WISH = "wish"
    #: Nothing was known about the user: the most popular items.
    COLD_START = "cold_start"
    #: Items like a given item.
    SIMILAR = "similar"
    #: Scored from the profile or the context: there was neither a history nor a wish.
    PROFILE = "profile"
    #: A value that this version of the client does not know.
    UNKNOWN = "unknown"


class Shortfall(StrEnum):
    """Why fewer results came back than were asked for."""

    #: As many came back as were asked for.
    NONE = "none"
    #: The seen and excluded items left fewer.
    FILTER = "filter"
    #: The catalogue holds fewer.
    CATALOGUE = "catalogue"
    #: A value that this version of the client does not know.
    UNKNOWN = "unknown"


class Source(StrEnum):
    """A way by which an item became a candidate."""

    #: Nearest to the wish in the space of the text encoder.
    WISH = "wish"
    #: Nearest in that space to the items of the history, or to the item asked about.
    TEXT = "text"
    #: Liked by the same users as the items of the history, or as the item asked about.
    COLLABORATIVE = "collaborative"
    #: One of the items that most users like.
    POPULAR = "popular"
    #: Often taken up soon after the items of the history.
    TRANSITION = "transition"
    #: Liked by users with the same attributes, or nearest to what the profile or the context says in words.
    PROFILE = "profile"
    #: What a model of the order in which users take up items says comes next.
    SEQUENCE = "sequence"
    #: A value that this version of the client does not know.
    UNKNOWN = "unknown"


class ReasonKind(StrEnum):
    """What a term of a score comes from."""

    #: An item of the history: who likes it likes this one.
    COLLABORATIVE = "collaborative"
    #: An item of the history: this one is often taken up soon after it.
    TRANSITION = "transition"
    #: An item of the history: its text is like this one's.
    TEXT = "text"
    #: The wish.
    WISH = "wish"
    #: An attribute of the profile that the bundle has learned of.
    PROFILE = "profile"
    #: What else the profile says in words.
    PROFILE_TEXT = "profile_text"
    #: The context.
    CONTEXT = "context"
    #: How much users like the item of whom as much is known.
    POPULARITY = "popularity"
    #: An item of the history: after it, this one is likelier to come next.
    SEQUENCE = "sequence"
    #: A value that this version of the client does not know.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A term of the sum that is a score.

    Attributes:
        kind: What it comes from.
        item_id: The item of the history; empty for other kinds.
        title: Its title; empty if the catalogue has none.
        attribute: The attribute as the bundle names it, for example "age=25-34"; empty for other kinds.
        contribution: What it adds to the score.
    """

    kind: ReasonKind
    item_id: str
    title: str
    attribute: str
    contribution: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One recommended item.

    Attributes:
        item_id: Id of the item.
        title: Its title; empty if the catalogue has none.
        domain: Its domain, for example "film"; empty if the catalogue has none.
        rank: Its place in the list, from 1.
        score: What the list is ordered by, higher is better. Comparable within one list only.
        sources: The ways by which it became a candidate.
        reasons: The largest terms of the score, largest first; empty unless asked for.
        other_contribution: The sum of the other terms: the score is this and what the reasons contribute. 0 unless
            asked for.
    """

    item_id: str
    title: str
    domain: str
    rank: int
    score: float
    sources: tuple[Source, ...]
    reasons: tuple[Reason, ...] = ()
    other_contribution: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Where the server's time for a call went, in microseconds.

    Attributes:
        queue_us: From submission of the texts until their batch began.
        tokenize_us: Turning texts into tokens.
        encode_us: The encoder's run over the batch that held the texts.
        search_us: Finding candidates.
        rank_us: Scoring, ordering and filling the results.
        batch_size: Texts in that batch, other callers' texts included; 0 if nothing was encoded.
    """

    queue_us: int
    tokenize_us: int
    encode_us: int
    search_us: int
    rank_us: int
    batch_size: int

    @property
    def total_us(self) -> int:
        """The stages together, in microseconds."""
        return self.queue_us + self.tokenize_us + self.encode_us + self.search_us + self.rank_us


@dataclass(frozen=True, slots=True, kw_only=True)
class _ResultList(Sequence[Result]):
    """What the two kinds of ranked lists have in common."""

    results: tuple[Result, ...]
    strategy: Strategy
    shortfall: Shortfall
    bundle_id: str
    timing: Timing
    request_id: str

    def __len__(self) -> int:
        return len(self.results)

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Result, ...]: ...
    def __getitem__(self, index: int | slice) -> Result | tuple[Result, ...]:
        return self.results[index]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendations(_ResultList):
    """The items recommended to a user, best first: a sequence of `Result`.

    Attributes:
        results: The results themselves.
        strategy: How the list came about.
        shortfall: Why there are fewer than asked for, if there are.
        unknown_item_count: Events of the history whose item the catalogue does not have.
        unknown_attribute_count: Values of the profile that say nothing: not known to the bundle, and no text.
        bundle_id: The bundle that answered: the sha256 over its contents.
        timing: Where the server's time went.
        request_id: What to look for in the server's logs.
    """

    unknown_item_count: int
    unknown_attribute_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarItems(_ResultList):
    """The items like a given item, most like first: a sequence of `Result`.

    Has the attributes of `Recommendations` but the two counts.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings(Sequence["array.array[float]"]):
    """Unit-length vectors in the order of their texts: a sequence of `array.array("f")`.

    Attributes:
        data: The vectors as they came, (texts, dim) float32, little-endian, row by row.
        dim: Dimensions of one vector.
        bundle_id: The bundle that answered: the sha256 over its contents.
        timing: Where the server's time went.
        request_id: What to look for in the server's logs.
    """

    data: bytes
    dim: int
    bundle_id: str
    timing: Timing
    request_id: str

    def __len__(self) -> int:
        return len(self.data) // (_FLOAT_BYTES * self.dim)

    @overload
    def __getitem__(self, index: int) -> array.array[float]: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[array.array[float], ...]: ...
    def __getitem__(self, index: int | slice) -> array.array[float] | tuple[array.array[float], ...]:
        rows = range(len(self))[index]  # negative, out of range and sliced indices mean what they mean for a list
        return self._row(rows) if isinstance(rows, int) else tuple(map(self._row, rows))

    def _row(self, row: int) -> array.array[float]:
        size = _FLOAT_BYTES * self.dim
        vector = array.array("f", self.data[row * size : (row + 1) * size])
        if sys.byteorder == "big":
            vector.byteswap()
        return vector

    def to_numpy(self) -> NDArray[np.float32]:
        """All vectors as one array, (texts, dim) float32, read-only and without a copy.

        Raises:
            ImportError: NumPy, which the client itself does not need, is not installed.
        """
        import numpy as np

        return np.frombuffer(self.data, dtype="<f4").reshape(-1, self.dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """An immutable unit of model, catalogue and index.

    Attributes:
        bundle_id: The sha256, in hexadecimal, over its contents.
        create_time: When it was exported, in UTC.
        model_name: Name of the language model.
        precision: Precision of the encoder: "fp32", "fp16" or "int8".
        dim: Dimensions of an item's vector.
        max_tokens: Tokens of a text that the encoder reads.
        dataset_name: Name of the dataset it was made from.
        simulated_behaviour: Whether the behaviour in that dataset was simulated.
        item_count: Number of items.
        domain_item_counts: Number of items by domain; items without one are under "".
        quality: What the export measured of its quality, by name.
    """

    bundle_id: str
    create_time: dt.datetime
    model_name: str
    precision: str
    dim: int
    max_tokens: int
    dataset_name: str
    simulated_behaviour: bool
    item_count: int
    domain_item_counts: Mapping[str, int]
    quality: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """How a server runs its encoder.

    Attributes:
        threads: Threads of one batch.
        workers: Batches encoded at a time.
        max_batch_tokens: Padded tokens in a batch, at most.
        batch_cost_tokens: What a batch costs beyond its padded tokens, in tokens.
    """

    threads: int
    workers: int
    max_batch_tokens: int
    batch_cost_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a server is and what it serves.

    Attributes:
        server_version: Version of the server.
        start_time: When it began to listen, in UTC.
        execution_provider: ONNX Runtime execution provider in use.
        queue_depth: Texts waiting to be encoded at that moment.
        bundle: The bundle being served.
        runtime: How its encoder runs; zeros from a server that does not tell.
        request_id: What to look for in the server's logs.
    """

    server_version: str
    start_time: dt.datetime
    execution_provider: str
    queue_depth: int
    bundle: Bundle
    runtime: Runtime
    request_id: str
