"""Requests that write, as plain values."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from tanager_server.bundle import Item
from tanager_server.rpc.checks import (
    MAX_NAME_CHARS,
    NANOS,
    Violations,
    attribute_values,
    check_count,
    check_distinct,
    check_id,
    check_text,
    check_time,
    check_weight,
    context_texts,
)
from tanager_server.state import StoredEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tanager.v1 import catalog_pb2, event_pb2, user_pb2
    from tanager_server.bundle import ProfileValue

MAX_ITEMS = 1_000
MAX_DELETED = 10_000
MAX_USERS = 1_000
MAX_EVENTS = 10_000
MAX_CATEGORIES = 100
MAX_TITLE_CHARS = 1_000
MAX_TOKEN_CHARS = 10_000
_DAY_NS = 86_400 * NANOS


def upserted_items(request: catalog_pb2.UpsertItemsRequest) -> list[Item]:
    """Checks and converts an UpsertItemsRequest.

    Raises:
        InvalidRequestError: fields are out of their bounds.
    """
    violations = Violations()
    items: list[Item] = []
    if check_count("items", request.items, violations, most=MAX_ITEMS, what="items"):
        check_distinct("items", (item.item_id for item in request.items), violations)
        items = [_item(f"items[{index}]", item, violations) for index, item in enumerate(request.items)]
    violations.check()
    return items


def _item(field: str, message: catalog_pb2.Item, violations: Violations) -> Item:
    check_id(f"{field}.item_id", message.item_id, violations)
    check_text(f"{field}.text", message.text, violations)
    if len(message.title) > MAX_TITLE_CHARS:
        violations.add(f"{field}.title", f"must be at most {MAX_TITLE_CHARS} characters, has {len(message.title)}")
    if len(message.domain) > MAX_NAME_CHARS:
        violations.add(f"{field}.domain", f"must be at most {MAX_NAME_CHARS} characters, has {len(message.domain)}")
    if len(message.categories) > MAX_CATEGORIES:
        violations.add(f"{field}.categories", f"must hold at most {MAX_CATEGORIES}, holds {len(message.categories)}")
    else:
        check_distinct(f"{field}.categories", message.categories, violations)
        for index, category in enumerate(message.categories):
            check_text(f"{field}.categories[{index}]", category, violations, most=MAX_NAME_CHARS)
    attributes = attribute_values(f"{field}.attributes", message.attributes, violations)
    # Bounds are looked at here; what is out of them is not made an item of.
    return Item.model_construct(
        id=message.item_id,
        title=message.title,
        text=message.text,
        domain=message.domain,
        categories=tuple(message.categories),
        attributes={name: list(value) if isinstance(value, tuple) else value for name, value in attributes.items()},
        popularity=0.0,
    )


def deleted_ids(request: catalog_pb2.DeleteItemsRequest) -> list[str]:
    """Checks and converts a DeleteItemsRequest.

    Raises:
        InvalidRequestError: fields are out of their bounds.
    """
    violations = Violations()
    if check_count("item_ids", request.item_ids, violations, most=MAX_DELETED, what="ids"):
        for index, item_id in enumerate(request.item_ids):
            check_id(f"item_ids[{index}]", item_id, violations)
    violations.check()
    return list(request.item_ids)


def upserted_users(request: user_pb2.UpsertUsersRequest) -> Mapping[str, Mapping[str, ProfileValue]]:
    """Checks and converts an UpsertUsersRequest.

    Raises:
        InvalidRequestError: fields are out of their bounds.
    """
    violations = Violations()
    profiles: dict[str, Mapping[str, ProfileValue]] = {}
    if check_count("users", request.users, violations, most=MAX_USERS, what="users"):
        check_distinct("users", (user.user_id for user in request.users), violations)
        for index, user in enumerate(request.users):
            check_id(f"users[{index}].user_id", user.user_id, violations)
            profiles[user.user_id] = attribute_values(f"users[{index}].profile", user.profile, violations)
    violations.check()
    return profiles


def required_id(field: str, value: str) -> str:
    """Checks the id that a request is about.

    Raises:
        InvalidRequestError: it is not there, or too long.
    """
    violations = Violations()
    check_id(field, value, violations)
    violations.check()
    return value


def written_events(request: event_pb2.WriteEventsRequest, weights: Mapping[str, float]) -> list[StoredEvent]:
    """Checks and converts a WriteEventsRequest.

    Args:
        request: as it came.
        weights: of the types of events that need not tell their own.

    Raises:
        InvalidRequestError: fields are out of their bounds.
    """
    violations = Violations()
    events: list[StoredEvent] = []
    if check_count("events", request.events, violations, most=MAX_EVENTS, what="events"):
        now_ns = time.time_ns()
        events = [
            _event(f"events[{index}]", event, weights, now_ns, violations) for index, event in enumerate(request.events)
        ]
    violations.check()
    return events


def _event(
    field: str, message: user_pb2.UserEvent, weights: Mapping[str, float], now_ns: int, violations: Violations
) -> StoredEvent:
    for name in ("event_id", "user_id", "item_id"):
        check_id(f"{field}.{name}", getattr(message, name), violations)
    check_text(f"{field}.type", message.type, violations, most=MAX_NAME_CHARS)
    if message.HasField("weight"):
        weight = message.weight
        check_weight(f"{field}.weight", weight, violations)
    elif message.type in weights:
        weight = weights[message.type]
    else:
        weight = 0.0
        known = ", ".join(sorted(weights))
        violations.add(f"{field}.weight", f"is required for this type; the server has weights for {known}")
    time_ns = now_ns
    if message.HasField("event_time"):
        check_time(f"{field}.event_time", message.event_time, violations)
        time_ns = message.event_time.seconds * NANOS + message.event_time.nanos
        if time_ns > now_ns + _DAY_NS:
            violations.add(f"{field}.event_time", "lies more than a day ahead; it counts as the latest until then")
        elif time_ns <= -1 << 63:
            violations.add(f"{field}.event_time", "must be in the year 1678 or later")
    context = b""
    if message.context:
        found = context_texts(f"{field}.context", message.context, violations)
        context = json.dumps(found, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    if len(message.attribution_token) > MAX_TOKEN_CHARS:
        violations.add(f"{field}.attribution_token", f"must be at most {MAX_TOKEN_CHARS} characters")
    return StoredEvent(
        message.event_id,
        message.user_id,
        message.item_id,
        message.type,
        weight,
        time_ns,
        message.attribution_token,
        context,
    )
