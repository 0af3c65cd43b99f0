"""Reads the structured details that a server attaches to an error (google.rpc.Status, AIP-193).

The messages are those of googleapis-common-protos, which would be a dependency for three of them. They are declared
here in a descriptor pool of their own: in the default pool they would collide with that package where it is installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterable

_METADATA_KEY = "grpc-status-details-bin"
_PACKAGE = "tanager.details"

# Message -> its fields, numbered from 1 in this order, as a .proto file would have them.
_MESSAGES = {
    "Any": {"type_url": "string", "value": "bytes"},
    "Status": {"code": "int32", "message": "string", "details": "repeated Any"},
    "FieldViolation": {"field": "string", "description": "string"},
    "BadRequest": {"field_violations": "repeated FieldViolation"},
    "Duration": {"seconds": "int64", "nanos": "int32"},
    "RetryInfo": {"retry_delay": "Duration"},
}


def _message_classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="tanager/details.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field_name, declared) in enumerate(fields.items(), start=1):
            repeated, _, kind = declared.rpartition(" ")
            field = message.field.add(name=field_name, number=number)
            field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            if kind in _MESSAGES:
                field.type, field.type_name = field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = field.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


_CLASSES = _message_classes()


class FieldViolation(NamedTuple):
    """What is wrong with one field of a request.

    Attributes:
        field: Path of the field in the request, for example "recent_events[3].weight".
        description: What is wrong with it.
    """

    field: str
    description: str


class Details(NamedTuple):
    """What was found among an error's details."""

    field_violations: tuple[FieldViolation, ...] = ()
    retry_after_s: float | None = None


def decode(metadata: Iterable[tuple[str, str | bytes]] | None) -> Details:
    """Reads the details in a call's trailing metadata.

    Details that are missing, unknown or malformed count as none: they must never hide the error they belong to.
    """
    data = dict(metadata or ()).get(_METADATA_KEY)
    status = _parse("Status", data)
    violations: list[FieldViolation] = []
    retry_after_s: float | None = None
    for detail in status.details if status is not None else ():
        kind = detail.type_url.rpartition("/")[2]
        if kind == "google.rpc.BadRequest" and (found := _parse("BadRequest", detail.value)) is not None:
            violations += [FieldViolation(v.field, v.description) for v in found.field_violations]
        elif kind == "google.rpc.RetryInfo" and (found := _parse("RetryInfo", detail.value)) is not None:
            retry_after_s = found.retry_delay.seconds + found.retry_delay.nanos / 1e9
    return Details(tuple(violations), retry_after_s)


def _parse(name: str, data: str | bytes | None) -> Any:  # noqa: ANN401 - these classes exist at run time only
    """The message, or None if `data` does not hold one."""
    if not isinstance(data, bytes):
        return None
    try:
        return _CLASSES[name].FromString(data)
    except DecodeError:
        return None
