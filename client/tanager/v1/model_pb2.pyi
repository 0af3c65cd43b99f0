import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TrialMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRIAL_MODE_UNSPECIFIED: _ClassVar[TrialMode]
    TRIAL_MODE_SPLIT: _ClassVar[TrialMode]
    TRIAL_MODE_SHADOW: _ClassVar[TrialMode]
TRIAL_MODE_UNSPECIFIED: TrialMode
TRIAL_MODE_SPLIT: TrialMode
TRIAL_MODE_SHADOW: TrialMode

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("server_version", "start_time", "execution_provider", "queue_depth", "bundle", "runtime", "state", "trial")
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_PROVIDER_FIELD_NUMBER: _ClassVar[int]
    QUEUE_DEPTH_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    server_version: str
    start_time: _timestamp_pb2.Timestamp
    execution_provider: str
    queue_depth: int
    bundle: Bundle
    runtime: Runtime
    state: State
    trial: Trial
    def __init__(self, server_version: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., execution_provider: _Optional[str] = ..., queue_depth: _Optional[int] = ..., bundle: _Optional[_Union[Bundle, _Mapping]] = ..., runtime: _Optional[_Union[Runtime, _Mapping]] = ..., state: _Optional[_Union[State, _Mapping]] = ..., trial: _Optional[_Union[Trial, _Mapping]] = ...) -> None: ...

class State(_message.Message):
    __slots__ = ("consistency_token", "item_count", "user_count", "event_count", "unindexed_item_count")
    CONSISTENCY_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    USER_COUNT_FIELD_NUMBER: _ClassVar[int]
    EVENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNINDEXED_ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    consistency_token: str
    item_count: int
    user_count: int
    event_count: int
    unindexed_item_count: int
    def __init__(self, consistency_token: _Optional[str] = ..., item_count: _Optional[int] = ..., user_count: _Optional[int] = ..., event_count: _Optional[int] = ..., unindexed_item_count: _Optional[int] = ...) -> None: ...

class ListBundlesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListBundlesResponse(_message.Message):
    __slots__ = ("bundles",)
    BUNDLES_FIELD_NUMBER: _ClassVar[int]
    bundles: _containers.RepeatedCompositeFieldContainer[AvailableBundle]
    def __init__(self, bundles: _Optional[_Iterable[_Union[AvailableBundle, _Mapping]]] = ...) -> None: ...

class AvailableBundle(_message.Message):
    __slots__ = ("name", "bundle", "active", "problem")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    name: str
    bundle: Bundle
    active: bool
    problem: str
    def __init__(self, name: _Optional[str] = ..., bundle: _Optional[_Union[Bundle, _Mapping]] = ..., active: bool = ..., problem: _Optional[str] = ...) -> None: ...

class ActivateBundleRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class RollbackBundleRequest(_message.Message):
    __slots__ = ("expected_bundle_id",)
    EXPECTED_BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    expected_bundle_id: str
    def __init__(self, expected_bundle_id: _Optional[str] = ...) -> None: ...

class ActivateBundleResponse(_message.Message):
    __slots__ = ("bundle", "encoded_count")
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    ENCODED_COUNT_FIELD_NUMBER: _ClassVar[int]
    bundle: Bundle
    encoded_count: int
    def __init__(self, bundle: _Optional[_Union[Bundle, _Mapping]] = ..., encoded_count: _Optional[int] = ...) -> None: ...

class Runtime(_message.Message):
    __slots__ = ("threads", "workers", "max_batch_tokens", "batch_cost_tokens")
    THREADS_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_TOKENS_FIELD_NUMBER: _ClassVar[int]
    BATCH_COST_TOKENS_FIELD_NUMBER: _ClassVar[int]
    threads: int
    workers: int
    max_batch_tokens: int
    batch_cost_tokens: int
    def __init__(self, threads: _Optional[int] = ..., workers: _Optional[int] = ..., max_batch_tokens: _Optional[int] = ..., batch_cost_tokens: _Optional[int] = ...) -> None: ...

class Bundle(_message.Message):
    __slots__ = ("bundle_id", "create_time", "model_name", "precision", "dim", "max_tokens", "dataset_name", "simulated_behaviour", "item_count", "domain_item_counts", "quality")
    class DomainItemCountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class QualityEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    DIM_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DATASET_NAME_FIELD_NUMBER: _ClassVar[int]
    SIMULATED_BEHAVIOUR_FIELD_NUMBER: _ClassVar[int]
    ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_ITEM_COUNTS_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    bundle_id: str
    create_time: _timestamp_pb2.Timestamp
    model_name: str
    precision: str
    dim: int
    max_tokens: int
    dataset_name: str
    simulated_behaviour: bool
    item_count: int
    domain_item_counts: _containers.ScalarMap[str, int]
    quality: _containers.ScalarMap[str, float]
    def __init__(self, bundle_id: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., model_name: _Optional[str] = ..., precision: _Optional[str] = ..., dim: _Optional[int] = ..., max_tokens: _Optional[int] = ..., dataset_name: _Optional[str] = ..., simulated_behaviour: bool = ..., item_count: _Optional[int] = ..., domain_item_counts: _Optional[_Mapping[str, int]] = ..., quality: _Optional[_Mapping[str, float]] = ...) -> None: ...

class RollbackBundleResponse(_message.Message):
    __slots__ = ("bundle", "encoded_count")
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    ENCODED_COUNT_FIELD_NUMBER: _ClassVar[int]
    bundle: Bundle
    encoded_count: int
    def __init__(self, bundle: _Optional[_Union[Bundle, _Mapping]] = ..., encoded_count: _Optional[int] = ...) -> None: ...

class BackUpStateRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class BackUpStateResponse(_message.Message):
    __slots__ = ("size_bytes",)
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    size_bytes: int
    def __init__(self, size_bytes: _Optional[int] = ...) -> None: ...

class StartTrialRequest(_message.Message):
    __slots__ = ("name", "mode", "share", "variant")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    name: str
    mode: TrialMode
    share: float
    variant: str
    def __init__(self, name: _Optional[str] = ..., mode: _Optional[_Union[TrialMode, str]] = ..., share: _Optional[float] = ..., variant: _Optional[str] = ...) -> None: ...

class StartTrialResponse(_message.Message):
    __slots__ = ("trial",)
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    trial: Trial
    def __init__(self, trial: _Optional[_Union[Trial, _Mapping]] = ...) -> None: ...

class EndTrialRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class EndTrialResponse(_message.Message):
    __slots__ = ("trial",)
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    trial: Trial
    def __init__(self, trial: _Optional[_Union[Trial, _Mapping]] = ...) -> None: ...

class Trial(_message.Message):
    __slots__ = ("variant", "mode", "share", "bundle", "count_start_time", "control", "candidate", "compared_count", "skipped_count", "mean_overlap")
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    COUNT_START_TIME_FIELD_NUMBER: _ClassVar[int]
    CONTROL_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    COMPARED_COUNT_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_COUNT_FIELD_NUMBER: _ClassVar[int]
    MEAN_OVERLAP_FIELD_NUMBER: _ClassVar[int]
    variant: str
    mode: TrialMode
    share: float
    bundle: Bundle
    count_start_time: _timestamp_pb2.Timestamp
    control: VariantCounts
    candidate: VariantCounts
    compared_count: int
    skipped_count: int
    mean_overlap: float
    def __init__(self, variant: _Optional[str] = ..., mode: _Optional[_Union[TrialMode, str]] = ..., share: _Optional[float] = ..., bundle: _Optional[_Union[Bundle, _Mapping]] = ..., count_start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., control: _Optional[_Union[VariantCounts, _Mapping]] = ..., candidate: _Optional[_Union[VariantCounts, _Mapping]] = ..., compared_count: _Optional[int] = ..., skipped_count: _Optional[int] = ..., mean_overlap: _Optional[float] = ...) -> None: ...

class VariantCounts(_message.Message):
    __slots__ = ("list_count", "failed_count", "degraded_count", "short_count", "mean_us", "shown_item_count", "attributed_event_count", "attributed_weight")
    LIST_COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILED_COUNT_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_COUNT_FIELD_NUMBER: _ClassVar[int]
    SHORT_COUNT_FIELD_NUMBER: _ClassVar[int]
    MEAN_US_FIELD_NUMBER: _ClassVar[int]
    SHOWN_ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTED_EVENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTED_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    list_count: int
    failed_count: int
    degraded_count: int
    short_count: int
    mean_us: float
    shown_item_count: int
    attributed_event_count: int
    attributed_weight: float
    def __init__(self, list_count: _Optional[int] = ..., failed_count: _Optional[int] = ..., degraded_count: _Optional[int] = ..., short_count: _Optional[int] = ..., mean_us: _Optional[float] = ..., shown_item_count: _Optional[int] = ..., attributed_event_count: _Optional[int] = ..., attributed_weight: _Optional[float] = ...) -> None: ...
