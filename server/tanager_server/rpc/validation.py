"""Requests to plain values. Every field out of its bounds is named, all of them at once."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tanager_server.engine import NO_EVENTS, Diversity, Events, RecommendQuery, SimilarQuery
from tanager_server.errors import FieldViolation, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tanager.v1 import common_pb2, embedding_pb2, recommendation_pb2
    from tanager_server.bundle import ProfileValue

MAX_TEXT_CHARS = 8_192
MAX_EVENTS = 10_000
MAX_EXCLUDED = 10_000
MAX_PAGE_SIZE = 1_000
MAX_TEXTS = 1_024
MAX_ABS_WEIGHT = 100.0
MAX_ATTRIBUTES = 100
MAX_CONTEXT = 50
MAX_CONTEXT_CHARS = 1_000
MAX_NAME_CHARS = 100
MAX_LIST = 100
NO_VALUES: Mapping[str, Any] = MappingProxyType({})
DEFAULT_PAGE_SIZE = 10
MAX_WORKED_PAGE_SIZE = 100
"""Results that can be explained, or chosen for diversity: that takes time, in which no other call is answered."""
MAX_PER_CATEGORY = 100
MAX_INTERESTS = 8
MAX_REASONS = 20
DEFAULT_REASONS = 3

# Naming every one of ten thousand bad events helps nobody and would not fit the response's headers, where the message
# is percent-encoded and comes twice more in the details.
_MAX_VIOLATIONS = 20
_MAX_ENCODED_CHARS = 2_000
_SHOWN_NAME_CHARS = 30
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))

_NANOS = 1_000_000_000
# The seconds of a google.protobuf.Timestamp.
_YEAR_1_S, _YEAR_10000_S = -62_135_596_800, 253_402_300_800


class _Violations:
    def __init__(self) -> None:
        self._found: list[FieldViolation] = []
        self._room = _MAX_ENCODED_CHARS

    def add(self, field: str, description: str) -> None:
        self._room -= len(quote(field + description, safe=_PRINTABLE))
        if len(self._found) < _MAX_VIOLATIONS and (self._room >= 0 or not self._found):
            self._found.append(FieldViolation(field, description))

    def check(self) -> None:
        if self._found:
            raise InvalidRequestError(*self._found)


def recommend_query(request: recommendation_pb2.RecommendRequest) -> RecommendQuery:
    """Checks and converts a RecommendRequest.

    Raises:
        InvalidRequestError: fields are out of their bounds.
    """
    violations = _Violations()
    if request.text:
        _check_text("text", request.text, violations)
    page_size = _page_size(request, violations)
    query = RecommendQuery(
        page_size=page_size,
        text=request.text,
        events=_events(request.recent_events, violations),
        exclude=_excluded(request.exclude_item_ids, violations),
        include_seen=request.include_seen,
        profile=_profile(request.profile, violations) if request.profile else NO_VALUES,
        context=_context(request.context, violations) if request.context else NO_VALUES,
        reasons=_reasons(request, page_size, violations) if request.explain else 0,
        diversity=_diversity(request.diversity, page_size, violations) if request.HasField("diversity") else None,
    )
    violations.check()
    return query


def similar_query(request: recommendation_pb2.SimilarItemsRequest) -> SimilarQuery:
    """Checks and converts a SimilarItemsRequest.

    Raises:
        InvalidRequestError: fields are out of their bounds.
    """
    violations = _Violations()
    if not request.item_id:
        violations.add("item_id", "is required")
    query = SimilarQuery(
        item_id=request.item_id,
        page_size=_page_size(request, violations),
        exclude=_excluded(request.exclude_item_ids, violations),
    )
    violations.check()
    return query


def embed_texts(request: embedding_pb2.EmbedRequest) -> tuple[str, ...]:
    """Checks and converts an EmbedRequest.

    Raises:
        InvalidRequestError: fields are out of their bounds.
    """
    violations = _Violations()
    texts = tuple(request.texts)
    if not 1 <= len(texts) <= MAX_TEXTS:
        violations.add("texts", f"must hold 1 to {MAX_TEXTS} texts, holds {len(texts)}")
    else:
        for index, text in enumerate(texts):
            _check_text(f"texts[{index}]", text, violations)
    violations.check()
    return texts


def _check_text(field: str, text: str, violations: _Violations) -> None:
    if len(text) > MAX_TEXT_CHARS:
        violations.add(field, f"must be at most {MAX_TEXT_CHARS} characters, has {len(text)}; shorten it")
    elif not text.strip():
        violations.add(field, "must not be blank")


def _page_size(
    request: recommendation_pb2.RecommendRequest | recommendation_pb2.SimilarItemsRequest, violations: _Violations
) -> int:
    if not request.HasField("page_size"):
        return DEFAULT_PAGE_SIZE
    if not 1 <= request.page_size <= MAX_PAGE_SIZE:
        violations.add("page_size", f"must be 1 to {MAX_PAGE_SIZE}, is {request.page_size}")
    return request.page_size


def _reasons(request: recommendation_pb2.RecommendRequest, page_size: int, violations: _Violations) -> int:
    if page_size > MAX_WORKED_PAGE_SIZE:
        violations.add("explain", f"page_size must be at most {MAX_WORKED_PAGE_SIZE} with it, is {page_size}")
    if not request.HasField("max_reasons"):
        return DEFAULT_REASONS
    if not 1 <= request.max_reasons <= MAX_REASONS:
        violations.add("max_reasons", f"must be 1 to {MAX_REASONS}, is {request.max_reasons}")
    return request.max_reasons


def _diversity(message: recommendation_pb2.Diversity, page_size: int, violations: _Violations) -> Diversity | None:
    mmr_lambda = message.mmr_lambda if message.HasField("mmr_lambda") else None
    if mmr_lambda is not None and not 0.0 <= mmr_lambda <= 1.0:  # nor does NaN lie between them
        violations.add("diversity.mmr_lambda", "must be 0 to 1")
    for name, most in (("max_per_category", MAX_PER_CATEGORY), ("interests", MAX_INTERESTS)):
        if not 0 <= (value := getattr(message, name)) <= most:
            violations.add(f"diversity.{name}", f"must be 0 to {most}, is {value}")
    found = Diversity(mmr_lambda, message.max_per_category, message.interests)
    if found == (None, 0, 0):
        return None
    if page_size > MAX_WORKED_PAGE_SIZE:
        violations.add("diversity", f"page_size must be at most {MAX_WORKED_PAGE_SIZE} with it, is {page_size}")
    return found


def _excluded(item_ids: Sequence[str], violations: _Violations) -> Sequence[str]:
    if len(item_ids) > MAX_EXCLUDED:
        violations.add("exclude_item_ids", f"must hold at most {MAX_EXCLUDED} ids, holds {len(item_ids)}")
        return ()
    return tuple(item_ids)


def _events(messages: Sequence[recommendation_pb2.Event], violations: _Violations) -> Events:
    if not messages:
        return NO_EVENTS
    if len(messages) > MAX_EVENTS:
        violations.add(
            "recent_events", f"must hold at most {MAX_EVENTS} events, holds {len(messages)}; send the most recent ones"
        )
        return NO_EVENTS
    item_ids, weights, times_ns = [], [], []
    sound = True
    for message in messages:
        item_id = message.item_id
        item_ids.append(item_id)
        if not item_id:
            sound = False
        if message.HasField("weight"):
            weight = message.weight
            weights.append(weight)
            if not -MAX_ABS_WEIGHT <= weight <= MAX_ABS_WEIGHT:  # nor does NaN lie between them
                sound = False
        else:
            weights.append(1.0)
        if message.HasField("event_time"):
            time = message.event_time
            seconds, nanos = time.seconds, time.nanos
            times_ns.append(seconds * _NANOS + nanos)
            if not (_YEAR_1_S <= seconds < _YEAR_10000_S and 0 <= nanos < _NANOS):
                sound = False
    if not sound:
        for index, message in enumerate(messages):
            _add_violations(f"recent_events[{index}]", message, violations)
    return Events(item_ids, weights, times_ns if len(times_ns) == len(item_ids) else None)


def _profile(messages: Mapping[str, common_pb2.AttributeValue], violations: _Violations) -> dict[str, ProfileValue]:
    if len(messages) > MAX_ATTRIBUTES:
        violations.add("profile", f"must hold at most {MAX_ATTRIBUTES} attributes, holds {len(messages)}")
        return {}
    profile: dict[str, ProfileValue] = {}
    chars = 0
    for name in sorted(messages):  # a map has no order, and texts made of it should be found in the cache
        message = messages[name]
        field = _name("profile", name, violations)
        match message.WhichOneof("value"):
            case "string_value":
                profile[name] = message.string_value
                _check_text(field, message.string_value, violations)
                chars += len(message.string_value)
            case "number_value":
                profile[name] = message.number_value
                if not math.isfinite(message.number_value):
                    violations.add(field, "must be finite")
            case "bool_value":
                profile[name] = message.bool_value
            case "string_list":
                values = tuple(message.string_list.values)
                profile[name] = values
                if len(values) > MAX_LIST:
                    violations.add(field, f"must hold at most {MAX_LIST} texts, holds {len(values)}")
                else:
                    for index, text in enumerate(values):
                        _check_text(f"{field}[{index}]", text, violations)
                chars += sum(map(len, values))
            case _:
                violations.add(field, "must have a value: a text, a number, true or false, or a list of texts")
    if chars > MAX_TEXT_CHARS:
        violations.add("profile", f"must have at most {MAX_TEXT_CHARS} characters of text in all, has {chars}")
    return profile


def _context(messages: Mapping[str, str], violations: _Violations) -> dict[str, str]:
    if len(messages) > MAX_CONTEXT:
        violations.add("context", f"must hold at most {MAX_CONTEXT} texts, holds {len(messages)}")
        return {}
    for name, text in messages.items():
        field = _name("context", name, violations)
        if len(text) > MAX_CONTEXT_CHARS:
            violations.add(field, f"must be at most {MAX_CONTEXT_CHARS} characters, has {len(text)}; shorten it")
        elif not text.strip():
            violations.add(field, "must not be blank")
    return dict(messages)


def _name(field: str, name: str, violations: _Violations) -> str:
    """Checks the name of an entry of a map; gives its path."""
    if not name.strip():
        violations.add(field, "a name must not be blank")
    elif len(name) > MAX_NAME_CHARS:
        violations.add(field, f"a name must be at most {MAX_NAME_CHARS} characters, one has {len(name)}")
    return f"{field}[{name[:_SHOWN_NAME_CHARS]!r}]"


def _add_violations(field: str, message: recommendation_pb2.Event, violations: _Violations) -> None:
    if not message.item_id:
        violations.add(f"{field}.item_id", "is required")
    if not -MAX_ABS_WEIGHT <= message.weight <= MAX_ABS_WEIGHT:
        violations.add(f"{field}.weight", f"must be finite and from -{MAX_ABS_WEIGHT:g} to {MAX_ABS_WEIGHT:g}")
    time = message.event_time
    if not (_YEAR_1_S <= time.seconds < _YEAR_10000_S and 0 <= time.nanos < _NANOS):
        violations.add(f"{field}.event_time", "must be a valid google.protobuf.Timestamp, years 1 to 9999")
