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

class Example(_message.Message):
    __slots__ = ("item_id", "weight")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    weight: float
    def __init__(self, item_id: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

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
    __slots__ = ("text", "recent_events", "page_size", "exclude_item_ids", "include_seen", "profile", "context", "explain", "max_reasons", "diversity", "user_id", "filter", "target_domains", "source_domains", "examples", "page_token", "min_consistency_token")
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
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    TARGET_DOMAINS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_DOMAINS_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MIN_CONSISTENCY_TOKEN_FIELD_NUMBER: _ClassVar[int]
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
    user_id: str
    filter: str
    target_domains: _containers.RepeatedScalarFieldContainer[str]
    source_domains: _containers.RepeatedScalarFieldContainer[str]
    examples: _containers.RepeatedCompositeFieldContainer[Example]
    page_token: str
    min_consistency_token: str
    def __init__(self, text: _Optional[str] = ..., recent_events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., page_size: _Optional[int] = ..., exclude_item_ids: _Optional[_Iterable[str]] = ..., include_seen: bool = ..., profile: _Optional[_Mapping[str, _common_pb2.AttributeValue]] = ..., context: _Optional[_Mapping[str, str]] = ..., explain: bool = ..., max_reasons: _Optional[int] = ..., diversity: _Optional[_Union[Diversity, _Mapping]] = ..., user_id: _Optional[str] = ..., filter: _Optional[str] = ..., target_domains: _Optional[_Iterable[str]] = ..., source_domains: _Optional[_Iterable[str]] = ..., examples: _Optional[_Iterable[_Union[Example, _Mapping]]] = ..., page_token: _Optional[str] = ..., min_consistency_token: _Optional[str] = ...) -> None: ...

class RecommendResponse(_message.Message):
    __slots__ = ("results", "shortfall", "unknown_item_count", "served_by", "timing", "unknown_attribute_count", "next_page_token", "attribution_token")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    SHORTFALL_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_ATTRIBUTE_COUNT_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTION_TOKEN_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[_common_pb2.Result]
    shortfall: _common_pb2.Shortfall
    unknown_item_count: int
    served_by: _common_pb2.ServedBy
    timing: _common_pb2.Timing
    unknown_attribute_count: int
    next_page_token: str
    attribution_token: str
    def __init__(self, results: _Optional[_Iterable[_Union[_common_pb2.Result, _Mapping]]] = ..., shortfall: _Optional[_Union[_common_pb2.Shortfall, str]] = ..., unknown_item_count: _Optional[int] = ..., served_by: _Optional[_Union[_common_pb2.ServedBy, _Mapping]] = ..., timing: _Optional[_Union[_common_pb2.Timing, _Mapping]] = ..., unknown_attribute_count: _Optional[int] = ..., next_page_token: _Optional[str] = ..., attribution_token: _Optional[str] = ...) -> None: ...

class BatchRecommendRequest(_message.Message):
    __slots__ = ("user_ids", "page_size", "filter", "target_domains", "source_domains", "exclude_item_ids", "include_seen")
    USER_IDS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    TARGET_DOMAINS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_DOMAINS_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SEEN_FIELD_NUMBER: _ClassVar[int]
    user_ids: _containers.RepeatedScalarFieldContainer[str]
    page_size: int
    filter: str
    target_domains: _containers.RepeatedScalarFieldContainer[str]
    source_domains: _containers.RepeatedScalarFieldContainer[str]
    exclude_item_ids: _containers.RepeatedScalarFieldContainer[str]
    include_seen: bool
    def __init__(self, user_ids: _Optional[_Iterable[str]] = ..., page_size: _Optional[int] = ..., filter: _Optional[str] = ..., target_domains: _Optional[_Iterable[str]] = ..., source_domains: _Optional[_Iterable[str]] = ..., exclude_item_ids: _Optional[_Iterable[str]] = ..., include_seen: bool = ...) -> None: ...

class BatchRecommendResponse(_message.Message):
    __slots__ = ("users", "served_by")
    USERS_FIELD_NUMBER: _ClassVar[int]
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    users: _containers.RepeatedCompositeFieldContainer[UserRecommendations]
    served_by: _common_pb2.ServedBy
    def __init__(self, users: _Optional[_Iterable[_Union[UserRecommendations, _Mapping]]] = ..., served_by: _Optional[_Union[_common_pb2.ServedBy, _Mapping]] = ...) -> None: ...

class UserRecommendations(_message.Message):
    __slots__ = ("results", "user_id", "strategy", "shortfall", "variant")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    SHORTFALL_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[_common_pb2.Result]
    user_id: str
    strategy: _common_pb2.Strategy
    shortfall: _common_pb2.Shortfall
    variant: str
    def __init__(self, results: _Optional[_Iterable[_Union[_common_pb2.Result, _Mapping]]] = ..., user_id: _Optional[str] = ..., strategy: _Optional[_Union[_common_pb2.Strategy, str]] = ..., shortfall: _Optional[_Union[_common_pb2.Shortfall, str]] = ..., variant: _Optional[str] = ...) -> None: ...

class RankRequest(_message.Message):
    __slots__ = ("item_ids", "user_id", "text", "recent_events", "profile", "context", "explain", "max_reasons")
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
    ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    RECENT_EVENTS_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    MAX_REASONS_FIELD_NUMBER: _ClassVar[int]
    item_ids: _containers.RepeatedScalarFieldContainer[str]
    user_id: str
    text: str
    recent_events: _containers.RepeatedCompositeFieldContainer[Event]
    profile: _containers.MessageMap[str, _common_pb2.AttributeValue]
    context: _containers.ScalarMap[str, str]
    explain: bool
    max_reasons: int
    def __init__(self, item_ids: _Optional[_Iterable[str]] = ..., user_id: _Optional[str] = ..., text: _Optional[str] = ..., recent_events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., profile: _Optional[_Mapping[str, _common_pb2.AttributeValue]] = ..., context: _Optional[_Mapping[str, str]] = ..., explain: bool = ..., max_reasons: _Optional[int] = ...) -> None: ...

class RankResponse(_message.Message):
    __slots__ = ("results", "unknown_item_count", "served_by", "timing")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[_common_pb2.Result]
    unknown_item_count: int
    served_by: _common_pb2.ServedBy
    timing: _common_pb2.Timing
    def __init__(self, results: _Optional[_Iterable[_Union[_common_pb2.Result, _Mapping]]] = ..., unknown_item_count: _Optional[int] = ..., served_by: _Optional[_Union[_common_pb2.ServedBy, _Mapping]] = ..., timing: _Optional[_Union[_common_pb2.Timing, _Mapping]] = ...) -> None: ...

class TrendingRequest(_message.Message):
    __slots__ = ("page_size", "half_life_h", "filter", "target_domains", "exclude_item_ids")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    HALF_LIFE_H_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    TARGET_DOMAINS_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    half_life_h: float
    filter: str
    target_domains: _containers.RepeatedScalarFieldContainer[str]
    exclude_item_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, page_size: _Optional[int] = ..., half_life_h: _Optional[float] = ..., filter: _Optional[str] = ..., target_domains: _Optional[_Iterable[str]] = ..., exclude_item_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class TrendingResponse(_message.Message):
    __slots__ = ("results", "shortfall", "served_by")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    SHORTFALL_FIELD_NUMBER: _ClassVar[int]
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[_common_pb2.Result]
    shortfall: _common_pb2.Shortfall
    served_by: _common_pb2.ServedBy
    def __init__(self, results: _Optional[_Iterable[_Union[_common_pb2.Result, _Mapping]]] = ..., shortfall: _Optional[_Union[_common_pb2.Shortfall, str]] = ..., served_by: _Optional[_Union[_common_pb2.ServedBy, _Mapping]] = ...) -> None: ...

class FindAudienceRequest(_message.Message):
    __slots__ = ("item_id", "page_size", "include_seen", "filter", "explain")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SEEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    page_size: int
    include_seen: bool
    filter: str
    explain: bool
    def __init__(self, item_id: _Optional[str] = ..., page_size: _Optional[int] = ..., include_seen: bool = ..., filter: _Optional[str] = ..., explain: bool = ...) -> None: ...

class AudienceMember(_message.Message):
    __slots__ = ("user_id", "rank", "score", "reasons")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    rank: int
    score: float
    reasons: _containers.RepeatedCompositeFieldContainer[_common_pb2.Reason]
    def __init__(self, user_id: _Optional[str] = ..., rank: _Optional[int] = ..., score: _Optional[float] = ..., reasons: _Optional[_Iterable[_Union[_common_pb2.Reason, _Mapping]]] = ...) -> None: ...

class FindAudienceResponse(_message.Message):
    __slots__ = ("members", "candidate_count", "served_by")
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    members: _containers.RepeatedCompositeFieldContainer[AudienceMember]
    candidate_count: int
    served_by: _common_pb2.ServedBy
    def __init__(self, members: _Optional[_Iterable[_Union[AudienceMember, _Mapping]]] = ..., candidate_count: _Optional[int] = ..., served_by: _Optional[_Union[_common_pb2.ServedBy, _Mapping]] = ...) -> None: ...

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
