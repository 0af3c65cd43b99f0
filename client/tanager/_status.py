"""What the clients tell of a server and of its bundles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tanager._rows import Rows

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from tanager._enums import TrialMode


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
class State:
    """What a server keeps beside its bundle.

    Attributes:
        consistency_token: Stands for the state at that moment.
        item_count: Items that can be recommended, those of the bundle included.
        user_count: Users of whom something is known.
        event_count: Number of events.
        unindexed_item_count: Items that are scored one by one until they are in the index.
    """

    consistency_token: str
    item_count: int
    user_count: int
    event_count: int
    unindexed_item_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantCounts:
    """What came of the lists of one variant in a trial.

    Attributes:
        list_count: Lists that were made.
        failed_count: Lists that could not be made, but for requests that were invalid.
        degraded_count: Of the lists, those that were degraded.
        short_count: Of the lists, those with fewer items than asked for.
        mean_us: Time that a list took, the mean of all, in microseconds.
        shown_item_count: Items of the lists with an attribution token.
        attributed_event_count: Events with a positive weight that were attributed to them.
        attributed_weight: The sum of the weights of these.
    """

    list_count: int
    failed_count: int
    degraded_count: int
    short_count: int
    mean_us: float
    shown_item_count: int
    attributed_event_count: int
    attributed_weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A bundle that is tried beside the one that is served, and what came of it.

    Attributes:
        variant: What its answers are told to be of.
        mode: How it is tried.
        share: Share of the users.
        bundle: The bundle.
        count_start_time: Since when there are counts, in UTC.
        control: Of the bundle that is served: of users of whom the trial could have taken some; in a shadow, of lists
            that were compared.
        candidate: Of the bundle that is tried.
        compared_count: Of a shadow: lists of both bundles for the same request.
        skipped_count: Of a shadow: requests that were not compared, as too many were under way.
        mean_overlap: Of a shadow: the share of a list's items that the other list has too, 0 to 1.
    """

    variant: str
    mode: TrialMode
    share: float
    bundle: Bundle
    count_start_time: dt.datetime
    control: VariantCounts
    candidate: VariantCounts
    compared_count: int
    skipped_count: int
    mean_overlap: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedTrial:
    """What came of ending a trial.

    Attributes:
        trial: As it ended; None if there was none.
        request_id: What to look for in the server's logs.
    """

    trial: Trial | None
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedTrial:
    """What came of starting a trial.

    Attributes:
        trial: As it begins.
        request_id: What to look for in the server's logs.
    """

    trial: Trial
    request_id: str


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
        state: What was written to it; None if it keeps no state.
        trial: The bundle that is tried beside the one that is served; None if none is.
    """

    server_version: str
    start_time: dt.datetime
    execution_provider: str
    queue_depth: int
    bundle: Bundle
    runtime: Runtime
    request_id: str
    state: State | None = None
    trial: Trial | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AvailableBundle:
    """A bundle in the server's directory of bundles.

    Attributes:
        name: Name of its directory: what `activate_bundle` takes.
        bundle: What it says of itself; None if that cannot be read.
        active: Whether it is served.
        problem: Why it cannot be served, as far as can be told without loading it; empty if it can.
    """

    name: str
    bundle: Bundle | None
    active: bool
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleList(Rows[AvailableBundle]):
    """The bundles that a server can be told to serve, latest first: a sequence of `AvailableBundle`.

    Attributes:
        bundles: The bundles themselves.
        request_id: What to look for in the server's logs.
    """

    bundles: tuple[AvailableBundle, ...]
    request_id: str

    def _rows(self) -> tuple[AvailableBundle, ...]:
        return self.bundles


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """What came of serving another bundle.

    Attributes:
        bundle: What is served now.
        encoded_count: Number of live items that were encoded anew.
        request_id: What to look for in the server's logs.
    """

    bundle: Bundle
    encoded_count: int
    request_id: str


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was made.

    Attributes:
        name: Of its directory.
        size_bytes: Its size.
    """

    name: str
    size_bytes: int
