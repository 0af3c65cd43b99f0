from tanager.v1 import user_pb2 as _user_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WriteEventsRequest(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_user_pb2.UserEvent]
    def __init__(self, events: _Optional[_Iterable[_Union[_user_pb2.UserEvent, _Mapping]]] = ...) -> None: ...

class WriteEventsResponse(_message.Message):
    __slots__ = ("written_count", "unknown_item_count", "unattributed_count", "consistency_token")
    WRITTEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNATTRIBUTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_TOKEN_FIELD_NUMBER: _ClassVar[int]
    written_count: int
    unknown_item_count: int
    unattributed_count: int
    consistency_token: str
    def __init__(self, written_count: _Optional[int] = ..., unknown_item_count: _Optional[int] = ..., unattributed_count: _Optional[int] = ..., consistency_token: _Optional[str] = ...) -> None: ...
