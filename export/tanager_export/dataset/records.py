"""JSON files of a dataset, each field checked: `items.jsonl`, `users.jsonl`, `dataset.json`."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NoReturn, TypeVar, cast, get_args

from tanager_export.dataset.format import AttributeValue, Item, Times, User
from tanager_export.dataset.problem import Problem, Tally
from tanager_export.dataset.textfile import CONTROL, CONTROL_IN_TEXT, text_lines

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tanager_export.dataset.problem import Reporter

ITEMS, USERS, METADATA = "items.jsonl", "users.jsonl", "dataset.json"

_Record = TypeVar("_Record", Item, User)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What `dataset.json` says; the fields are those of `Dataset`."""

    name: str
    description: str = ""
    source: str = ""
    licence: str = ""
    simulated_behaviour: bool = False
    times: Times = "seconds"
    texts_until: int | None = None


def read_items(directory: Path, report: Reporter) -> tuple[list[Item], list[int]]:
    """The items of a dataset directory and the line of each; reports a catalogue that is missing or empty."""
    path = directory / ITEMS
    mend = "a dataset needs this file: an object with id and text a line"
    if not path.exists():
        report(Problem(ITEMS, None, "no-items", "missing", mend))
        return [], []
    tally = Tally(report)
    items, lines = _read_records(path, item_from_record, tally)
    if not items and not tally.count:
        report(Problem(ITEMS, None, "no-items", "no items", mend))
    return items, lines


def read_users(directory: Path, report: Reporter) -> list[User]:
    """The users of whom something is known; none where the file is missing."""
    path = directory / USERS
    return _read_records(path, user_from_record, report)[0] if path.exists() else []


def read_metadata(directory: Path, report: Reporter) -> Metadata:
    """What the dataset says of itself; the directory's name and nothing more where the file is missing."""
    path = directory / METADATA
    name = directory.resolve().name
    if not path.exists():
        return Metadata(name)
    tally = Tally(report)
    text = "".join(text_lines(path, tally))
    if tally.count:
        return Metadata(name)
    try:
        record = parse_object(text)
        _refuse_unknown(record, [field.name for field in fields(Metadata)])
        simulated = record.get("simulated_behaviour", False)
        if not isinstance(simulated, bool):
            _invalid("type", f"simulated_behaviour must be true or false, not {_kind(simulated)}")
        times = record.get("times", "seconds")
        if times not in get_args(Times):
            _invalid("type", f"times must be one of {', '.join(get_args(Times))}, not {json.dumps(times)[:40]}")
        until = record.get("texts_until")
        if until is not None and (not isinstance(until, int) or isinstance(until, bool)):
            _invalid("type", f"texts_until must be Unix seconds or null, not {_kind(until)}")
        return Metadata(
            name=_string(record, "name", forbidden=CONTROL).strip() or name,
            description=_string(record, "description"),
            source=_string(record, "source"),
            licence=_string(record, "licence"),
            simulated_behaviour=simulated,
            times=cast("Times", times),
            texts_until=until,
        )
    except RecordError as error:
        report(Problem(METADATA, None, *error.parts))
    return Metadata(name)


def item_from_record(record: dict[str, object]) -> Item:
    """An item from one object of `items.jsonl`, every field checked."""
    _refuse_unknown(record, ("id", "title", "text", "domain", "categories", "attributes"))
    if "text" not in record:
        _invalid("missing-field", "no text", 'give each item the "text" that the encoder reads')
    item = Item(
        id=_identifier(record),
        title=_string(record, "title", forbidden=CONTROL),
        text=_string(record, "text"),
        domain=_string(record, "domain", forbidden=CONTROL),
        categories=_strings("categories", record.get("categories", [])),
        attributes=_attributes(record),
    )
    if not item.encoder_text.strip():
        _invalid("no-text-no-title", f"item {item.id!r} has neither text nor title", "the encoder needs one of them")
    return item


def user_from_record(record: dict[str, object]) -> User:
    """A user from one object of `users.jsonl`, every field checked."""
    _refuse_unknown(record, ("id", "attributes"))
    return User(id=_identifier(record), attributes=_attributes(record))


def parse_object(text: str) -> dict[str, object]:
    """A JSON object, without the NaN and the infinities that Python would let pass."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        _invalid("invalid-json", "invalid JSON (nested too deeply)")
    except json.JSONDecodeError as error:
        _invalid("invalid-json", f"invalid JSON ({error.msg} at column {error.colno})")
    except ValueError as error:
        _invalid("invalid-json", f"invalid JSON ({error})")
    if not isinstance(value, dict):
        _invalid("type", f"expected an object, found {_kind(value)}")
    return cast("dict[str, object]", value)


class RecordError(Exception):
    """A record that cannot be used; whoever knows the line makes a `Problem` of it."""

    def __init__(self, code: str, message: str, mend: str = "") -> None:
        super().__init__(message)
        self.parts = (code, message, mend)


def _invalid(code: str, message: str, mend: str = "") -> NoReturn:
    raise RecordError(code, message, mend)


def _read_records(
    path: Path, convert: Callable[[dict[str, object]], _Record], report: Reporter
) -> tuple[list[_Record], list[int]]:
    records: list[_Record] = []
    line_of: dict[str, int] = {}
    for number, line in enumerate(text_lines(path, report), start=1):
        if not line.strip():
            continue
        try:
            record = convert(parse_object(line))
            if record.id in line_of:
                message = f"id {record.id!r} is already on line {line_of[record.id]}"
                _invalid("duplicate-id", message, "keep one of them, or rename")
        except RecordError as error:
            report(Problem(path.name, number, *error.parts))
            continue
        line_of[record.id] = number
        records.append(record)
    return records, list(line_of.values())


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _refuse_unknown(record: dict[str, object], known: Iterable[str]) -> None:
    if unknown := sorted(set(record).difference(known)):
        _invalid("unknown-key", f"unknown key {unknown[0]!r}", f"the keys are {', '.join(known)}")


def _identifier(record: dict[str, object]) -> str:
    if "id" not in record:
        _invalid("missing-field", "no id", 'give each object an "id"')
    identifier = _string(record, "id", forbidden=CONTROL)
    if not identifier.strip():
        _invalid("blank-id", "blank id", "an id needs at least one visible character")
    return identifier


def _string(record: dict[str, object], key: str, *, forbidden: re.Pattern[str] = CONTROL_IN_TEXT) -> str:
    return _checked(key, record.get(key, ""), forbidden)


def _strings(key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        _invalid("type", f"{key} must be a list of strings, not {_kind(value)}")
    return tuple(_checked(f"each of {key}", part, CONTROL) for part in value)


def _checked(key: str, value: object, forbidden: re.Pattern[str]) -> str:
    if not isinstance(value, str):
        _invalid("type", f"{key} must be a string, not {_kind(value)}")
    if found := forbidden.search(value):
        _invalid("control-character", f"{key} contains the control character U+{ord(found[0]):04X}", "remove it")
    return value


def _attributes(record: dict[str, object]) -> dict[str, AttributeValue]:
    value = record.get("attributes", {})
    if not isinstance(value, dict):
        _invalid("type", f"attributes must be an object, not {_kind(value)}")
    return {_checked("each attribute's name", key, CONTROL): _attribute(key, part) for key, part in value.items()}


def _attribute(key: str, value: object) -> AttributeValue:
    if isinstance(value, list):
        return _strings(f"attribute {key!r}", value)
    if isinstance(value, float) and not math.isfinite(value):
        _invalid("type", f"attribute {key!r} is too large a number")
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return _checked(f"attribute {key!r}", value, CONTROL_IN_TEXT)
    _invalid(
        "type", f"attribute {key!r} must be a string, a number, a boolean or a list of strings, not {_kind(value)}"
    )


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
