"""Items, users and what came of writing them, for people."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, TypeAlias

from tanager._render.columns import columns, cut, plain
from tanager._writes import (
    DeletedItems,
    ImportedEvents,
    ImportedItems,
    ImportedUsers,
    PurgedUser,
    UpsertedItems,
    UpsertedUsers,
    WrittenEvents,
)

if TYPE_CHECKING:
    from tanager._records import Item, User, UserEvent
    from tanager._values import Attribute
    from tanager._writes import ItemPage

Written: TypeAlias = (
    UpsertedItems
    | DeletedItems
    | UpsertedUsers
    | PurgedUser
    | WrittenEvents
    | ImportedItems
    | ImportedUsers
    | ImportedEvents
)


def item(answer: Item) -> list[str]:
    """One item, all of it."""
    rows = [
        ("id", answer.item_id),
        ("title", answer.title or "-"),
        ("domain", answer.domain or "-"),
        ("categories", ", ".join(answer.categories) or "-"),
        *((name, _value(value)) for name, value in answer.attributes.items()),
        ("written", _time(answer.update_time) if answer.update_time is not None else "as in the bundle"),
        ("text", answer.text),
    ]
    return columns([(plain(name), plain(value)) for name, value in rows])


def item_page(answer: ItemPage) -> list[str]:
    """A page of the catalogue."""
    head = ("id", "title", "domain", "categories", "written")
    rows = [
        (
            plain(found.item_id),
            cut(plain(found.title)) or "-",
            plain(found.domain) or "-",
            cut(plain(", ".join(found.categories))) or "-",
            _time(found.update_time),
        )
        for found in answer
    ]
    footer = [("items", f"{len(answer):,} of {answer.total_size:,}")]
    if answer.next_page_token:
        footer.append(("next page", f"--page-token {plain(answer.next_page_token)}"))
    return [*(columns([head, *rows]) if rows else ["no items"]), "", *columns(footer)]


def user(answer: User) -> list[str]:
    """One user: the profile and the latest events."""
    rows = [
        ("id", answer.user_id),
        *((name, _value(value)) for name, value in answer.profile.items()),
        ("events", f"{answer.event_count:,}"),
    ]
    lines = columns([(plain(name), plain(value)) for name, value in rows])
    if not answer.latest_events:
        return lines
    head = ("time", "type", "weight", "item", "context")
    return [*lines, "", *columns([head, *map(_event_row, answer.latest_events)], right=(2,))]


def written(answer: Written, elapsed_s: float) -> list[str]:
    """What came of a write, of many records or of few."""
    rows: list[tuple[str, str]] = []
    if isinstance(answer, ImportedItems | ImportedUsers | ImportedEvents):
        rate = f", {answer.record_count / elapsed_s:,.0f} a second" if answer.record_count and elapsed_s > 0 else ""
        rows.append(("acknowledged", f"{answer.record_count:,} in {elapsed_s:.1f} s{rate}"))
    match answer:
        case UpsertedItems() | ImportedItems():
            rows += [("new", f"{answer.created_count:,} items"), ("encoded", f"{answer.encoded_count:,} texts")]
        case DeletedItems():
            rows.append(("deleted", f"{answer.deleted_count:,} items"))
        case UpsertedUsers() | ImportedUsers():
            rows.append(("new", f"{answer.created_count:,} users"))
        case PurgedUser():
            rows += [
                ("profile", "removed" if answer.profile_removed else "none was kept"),
                ("events", f"{answer.event_count:,} removed"),
                ("shown lists", f"{answer.impression_count:,} removed"),
            ]
        case WrittenEvents() | ImportedEvents():
            rows.append(("new", f"{answer.written_count:,} events"))
            if answer.unknown_item_count:
                rows.append(("unknown", f"{answer.unknown_item_count:,} of them with items not in the catalogue"))
            if answer.unattributed_count:
                rows.append(("attribution", f"{answer.unattributed_count:,} of them not what their list showed"))
    if answer.consistency_token:
        rows.append(("token", plain(answer.consistency_token)))
    return columns(rows)


def _event_row(event: UserEvent) -> tuple[str, ...]:
    return (
        _time(event.time),
        plain(event.type),
        "-" if event.weight is None else f"{event.weight:g}",
        plain(event.item_id),
        cut(plain(", ".join(f"{name}={text}" for name, text in sorted(event.context.items())))),
    )


def _value(value: Attribute) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:.15g}"
    return ", ".join(value)


def _time(time: dt.datetime | None) -> str:
    return "-" if time is None else f"{time.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
