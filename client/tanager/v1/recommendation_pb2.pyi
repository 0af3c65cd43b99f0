import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from tanager.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Event(_message.Message):
    __slots__ = ("item_id", "weight", "event_time")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    weight: float
    event_time: _timestamp_pb2.Timestamp
    def __init__(self, item_id: _Optional[str] = ..., weight: _Optional[float] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Diversity(_message.Message):
    __slots__ = ("mmr_lambda", "max_per_category", "interests")
    MMR_LAMBDA_FIELD_NUMBER: _ClassVar[int]
    MAX_PER_CATEGORY_FIELD_NUMBER: _ClassVar[int]
    INTERESTS_FIELD_NUMBER: _ClassVar[int]
    mmr_lambda: float
    max_per_category: int
    interests: int
    def __init__(self, mmr_lambda: _Optional[float] = ..., max_per_category: _Optional[int] = ..., interests: _Optional[int] = ...) -> None: ...

class RecommendRequest(_message.Message):
    __slots__ = ("text", "recent_events", "page_size", "exclude_item_ids", "include_seen", "profile", "context", "explain", "max_reasons", "diversity")
    class ProfileEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _common_pb2.AttributeValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_common_pb2.AttributeValue, _Mapping]] = ...) -> None: ...
    class ContextEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TEXT_FIELD_NUMBER: _ClassVar[int]
    RECENT_EVENTS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SEEN_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    MAX_REASONS_FIELD_NUMBER: _ClassVar[int]
    DIVERSITY_FIELD_NUMBER: _ClassVar[int]
    text: str
    recent_events: _containers.RepeatedCompositeFieldContainer[Event]
    page_size: int
    exclude_item_ids: _containers.RepeatedScalarFieldContainer[str]
    include_seen: bool
    profile: _containers.MessageMap[str, _common_pb2.AttributeValue]
    context: _containers.ScalarMap[str, str]
    explain: bool
    max_reasons: int
    diversity: Diversity
    def __init__(self, text: _Optional[str] = ..., recent_events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., page_size: _Optional[int] = ..., exclude_item_ids: _Optional[_Iterable[str]] = ..., include_seen: bool = ..., profile: _Optional[_Mapping[str, _common_pb2.AttributeValue]] = ..., context: _Optional[_Mapping[str, str]] = ..., explain: bool = ..., max_reasons: _Optional[int] = ..., diversity: _Optional[_Union[Diversity, _Mapping]] = ...) -> None: ...

class RecommendResponse(_message.Message):
    __slots__ = ("results", "shortfall", "unknown_item_count", "served_by", "timing", "unknown_attribute_count")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    SHORTFALL_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_ATTRIBUTE_COUNT_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[_common_pb2.Result]
    shortfall: _common_pb2.Shortfall
    unknown_item_count: int
    served_by: _common_pb2.ServedBy
    timing: _common_pb2.Timing
    unknown_attribute_count: int
    def __init__(self, results: _Optional[_Iterable[_Union[_common_pb2.Result, _Mapping]]] = ..., shortfall: _Optional[_Union[_common_pb2.Shortfall, str]] = ..., unknown_item_count: _Optional[int] = ..., served_by: _Optional[_Union[_common_pb2.ServedBy, _Mapping]] = ..., timing: _Optional[_Union[_common_pb2.Timing, _Mapping]] = ..., unknown_attribute_count: _Optional[int] = ...) -> None: ...

class SimilarItemsRequest(_message.Message):
    __slots__ = ("item_id", "page_size", "exclude_item_ids")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    page_size: int
    exclude_item_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, item_id: _Optional[str] = ..., page_size: _Optional[int] = ..., exclude_item_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class SimilarItemsResponse(_message.Message):
    __slots__ = ("results", "shortfall", "served_by", "timing")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    SHORTFALL_FIELD_NUMBER: _ClassVar[int]
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[_common_pb2.Result]
    shortfall: _common_pb2.Shortfall
    served_by: _common_pb2.ServedBy
    timing: _common_pb2.Timing
    def __init__(self, results: _Optional[_Iterable[_Union[_common_pb2.Result, _Mapping]]] = ..., shortfall: _Optional[_Union[_common_pb2.Shortfall, str]] = ..., served_by: _Optional[_Union[_common_pb2.ServedBy, _Mapping]] = ..., timing: _Optional[_Union[_common_pb2.Timing, _Mapping]] = ...) -> None: ...
