"""Answers as text: tables for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import sys
from typing import TYPE_CHECKING, TypeAlias

from tanager._records import Item, User
from tanager._render import lists, records, server
from tanager._results import Audience, Ranking, Recommendations, SimilarItems, TrendingItems
from tanager._status import Activation, Backup, BundleList, EndedTrial, StartedTrial, Status
from tanager._writes import (
    DeletedItems,
    ImportedEvents,
    ImportedItems,
    ImportedUsers,
    ItemPage,
    PurgedUser,
    UpsertedItems,
    UpsertedUsers,
    WrittenEvents,
)

if TYPE_CHECKING:
    from tanager._results import UserRecommendations

Answer: TypeAlias = (
    Recommendations
    | SimilarItems
    | Ranking
    | TrendingItems
    | Audience
    | Item
    | ItemPage
    | User
    | records.Written
    | Status
    | BundleList
    | Activation
    | StartedTrial
    | EndedTrial
    | Backup
)


def json_text(answer: Answer, *, indent: int | None = 2) -> str:
    """The answer as one JSON object, its keys the attributes of the answer's class, times in ISO 8601."""
    return json.dumps(
        dataclasses.asdict(answer), default=_iso_format, ensure_ascii=_escapes_are_needed(), indent=indent
    )


def json_line(answer: UserRecommendations) -> str:
    """The same in one line. Copies nothing before, as there are many."""
    return json.dumps(_fields(answer), default=_fields, ensure_ascii=_escapes_are_needed())


def table(answer: Answer, elapsed_s: float) -> str:
    """The answer for a person.

    Args:
        answer: What the server answered.
        elapsed_s: How long that took in all, in seconds.
    """
    text = "\n".join(_lines(answer, elapsed_s))
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, errors="replace").decode(encoding)


def _lines(answer: Answer, elapsed_s: float) -> list[str]:
    match answer:
        case Recommendations() | SimilarItems() | Ranking() | TrendingItems():
            return lists.result_list(answer, elapsed_s)
        case Audience():
            return lists.audience(answer, elapsed_s)
        case Item():
            return records.item(answer)
        case ItemPage():
            return records.item_page(answer)
        case User():
            return records.user(answer)
        case Status():
            return server.status(answer)
        case BundleList():
            return server.bundle_list(answer)
        case Activation():
            return server.activation(answer, elapsed_s)
        case StartedTrial() | EndedTrial():
            return server.trial(answer.trial, elapsed_s)
        case Backup():
            return server.backup(answer, elapsed_s)
        case (
            UpsertedItems()
            | DeletedItems()
            | UpsertedUsers()
            | PurgedUser()
            | WrittenEvents()
            | ImportedItems()
            | ImportedUsers()
            | ImportedEvents()
        ):
            return records.written(answer, elapsed_s)


def _iso_format(value: object) -> str:
    if isinstance(value, dt.datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _escapes_are_needed() -> bool:
    """Whether the output cannot carry every character; elsewhere titles stay readable."""
    return (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"


def _fields(value: object) -> dict[str, object]:
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no JSON form")
