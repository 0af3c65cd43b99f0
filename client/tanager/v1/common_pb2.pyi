from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Strategy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STRATEGY_UNSPECIFIED: _ClassVar[Strategy]
    STRATEGY_PERSONAL: _ClassVar[Strategy]
    STRATEGY_WISH: _ClassVar[Strategy]
    STRATEGY_COLD_START: _ClassVar[Strategy]
    STRATEGY_SIMILAR: _ClassVar[Strategy]
    STRATEGY_PROFILE: _ClassVar[Strategy]
    STRATEGY_TRENDING: _ClassVar[Strategy]
    STRATEGY_RANK: _ClassVar[Strategy]

class Shortfall(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SHORTFALL_UNSPECIFIED: _ClassVar[Shortfall]
    SHORTFALL_NONE: _ClassVar[Shortfall]
    SHORTFALL_FILTER: _ClassVar[Shortfall]
    SHORTFALL_CATALOGUE: _ClassVar[Shortfall]

class Source(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SOURCE_UNSPECIFIED: _ClassVar[Source]
    SOURCE_WISH: _ClassVar[Source]
    SOURCE_TEXT: _ClassVar[Source]
    SOURCE_COLLABORATIVE: _ClassVar[Source]
    SOURCE_POPULAR: _ClassVar[Source]
    SOURCE_TRANSITION: _ClassVar[Source]
    SOURCE_PROFILE: _ClassVar[Source]
    SOURCE_SEQUENCE: _ClassVar[Source]
    SOURCE_TRENDING: _ClassVar[Source]
    SOURCE_GIVEN: _ClassVar[Source]
    SOURCE_EXPLORATION: _ClassVar[Source]

class ReasonKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REASON_KIND_UNSPECIFIED: _ClassVar[ReasonKind]
    REASON_KIND_COLLABORATIVE: _ClassVar[ReasonKind]
    REASON_KIND_TRANSITION: _ClassVar[ReasonKind]
    REASON_KIND_TEXT: _ClassVar[ReasonKind]
    REASON_KIND_WISH: _ClassVar[ReasonKind]
    REASON_KIND_PROFILE: _ClassVar[ReasonKind]
    REASON_KIND_PROFILE_TEXT: _ClassVar[ReasonKind]
    REASON_KIND_CONTEXT: _ClassVar[ReasonKind]
    REASON_KIND_POPULARITY: _ClassVar[ReasonKind]
    REASON_KIND_SEQUENCE: _ClassVar[ReasonKind]
STRATEGY_UNSPECIFIED: Strategy
STRATEGY_PERSONAL: Strategy
STRATEGY_WISH: Strategy
STRATEGY_COLD_START: Strategy
STRATEGY_SIMILAR: Strategy
STRATEGY_PROFILE: Strategy
STRATEGY_TRENDING: Strategy
STRATEGY_RANK: Strategy
SHORTFALL_UNSPECIFIED: Shortfall
SHORTFALL_NONE: Shortfall
SHORTFALL_FILTER: Shortfall
SHORTFALL_CATALOGUE: Shortfall
SOURCE_UNSPECIFIED: Source
SOURCE_WISH: Source
SOURCE_TEXT: Source
SOURCE_COLLABORATIVE: Source
SOURCE_POPULAR: Source
SOURCE_TRANSITION: Source
SOURCE_PROFILE: Source
SOURCE_SEQUENCE: Source
SOURCE_TRENDING: Source
SOURCE_GIVEN: Source
SOURCE_EXPLORATION: Source
REASON_KIND_UNSPECIFIED: ReasonKind
REASON_KIND_COLLABORATIVE: ReasonKind
REASON_KIND_TRANSITION: ReasonKind
REASON_KIND_TEXT: ReasonKind
REASON_KIND_WISH: ReasonKind
REASON_KIND_PROFILE: ReasonKind
REASON_KIND_PROFILE_TEXT: ReasonKind
REASON_KIND_CONTEXT: ReasonKind
REASON_KIND_POPULARITY: ReasonKind
REASON_KIND_SEQUENCE: ReasonKind

class AttributeValue(_message.Message):
    __slots__ = ("string_value", "number_value", "bool_value", "string_list")
    STRING_VALUE_FIELD_NUMBER: _ClassVar[int]
    NUMBER_VALUE_FIELD_NUMBER: _ClassVar[int]
    BOOL_VALUE_FIELD_NUMBER: _ClassVar[int]
    STRING_LIST_FIELD_NUMBER: _ClassVar[int]
    string_value: str
    number_value: float
    bool_value: bool
    string_list: StringList
    def __init__(self, string_value: _Optional[str] = ..., number_value: _Optional[float] = ..., bool_value: bool = ..., string_list: _Optional[_Union[StringList, _Mapping]] = ...) -> None: ...

class StringList(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class Reason(_message.Message):
    __slots__ = ("kind", "item_id", "title", "attribute", "contribution")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    kind: ReasonKind
    item_id: str
    title: str
    attribute: str
    contribution: float
    def __init__(self, kind: _Optional[_Union[ReasonKind, str]] = ..., item_id: _Optional[str] = ..., title: _Optional[str] = ..., attribute: _Optional[str] = ..., contribution: _Optional[float] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("item_id", "title", "domain", "rank", "score", "sources", "reasons", "other_contribution", "propensity")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    OTHER_CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    PROPENSITY_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    title: str
    domain: str
    rank: int
    score: float
    sources: _containers.RepeatedScalarFieldContainer[Source]
    reasons: _containers.RepeatedCompositeFieldContainer[Reason]
    other_contribution: float
    propensity: float
    def __init__(self, item_id: _Optional[str] = ..., title: _Optional[str] = ..., domain: _Optional[str] = ..., rank: _Optional[int] = ..., score: _Optional[float] = ..., sources: _Optional[_Iterable[_Union[Source, str]]] = ..., reasons: _Optional[_Iterable[_Union[Reason, _Mapping]]] = ..., other_contribution: _Optional[float] = ..., propensity: _Optional[float] = ...) -> None: ...

class ServedBy(_message.Message):
    __slots__ = ("bundle_id", "strategy", "generation", "degraded", "variant")
    BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    bundle_id: str
    strategy: Strategy
    generation: int
    degraded: bool
    variant: str
    def __init__(self, bundle_id: _Optional[str] = ..., strategy: _Optional[_Union[Strategy, str]] = ..., generation: _Optional[int] = ..., degraded: bool = ..., variant: _Optional[str] = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("queue_us", "tokenize_us", "encode_us", "search_us", "rank_us", "batch_size")
    QUEUE_US_FIELD_NUMBER: _ClassVar[int]
    TOKENIZE_US_FIELD_NUMBER: _ClassVar[int]
    ENCODE_US_FIELD_NUMBER: _ClassVar[int]
    SEARCH_US_FIELD_NUMBER: _ClassVar[int]
    RANK_US_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    queue_us: int
    tokenize_us: int
    encode_us: int
    search_us: int
    rank_us: int
    batch_size: int
    def __init__(self, queue_us: _Optional[int] = ..., tokenize_us: _Optional[int] = ..., encode_us: _Optional[int] = ..., search_us: _Optional[int] = ..., rank_us: _Optional[int] = ..., batch_size: _Optional[int] = ...) -> None: ...
