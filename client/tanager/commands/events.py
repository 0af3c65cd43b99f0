"""`tanager events`."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

from tanager._records import UserEvent, new_event_id
from tanager.commands import bulk, options
from tanager.commands.fields import FieldError, time_of

if TYPE_CHECKING:
    import argparse

    from tanager._client import Client
    from tanager._writes import ImportedEvents, WrittenEvents
    from tanager.commands.fields import Fields

_DESCRIPTION = """\
Writes the events of a file, or one event given by options. A line of a file that has a time and no event_id gets one
from what it says, so that to write the file again writes nothing twice; every other event without an id gets a new one.
"""
_FILE_HELP = """\
JSON lines, or CSV with a header where the name ends with .csv; - for standard input: user_id, item_id, type (or \
event), and optionally weight, time (or timestamp; ISO 8601 with a time zone, or seconds since 1970), context, \
attribution_token, event_id; further columns of CSV are context, so that interactions.csv of a dataset can be written"""
# What one event is made of: option -> attribute of the arguments.
_OF_ONE = {
    "--user": "user",
    "--item": "item",
    "--weight": "weight",
    "--time": "time",
    "--context": "context",
    "--attribution": "attribution",
    "--event-id": "event_id",
}
_NAMES = {
    "item_id": "--item",
    "type": "--type",
    "weight": "--weight",
    "event_time": "--time",
    "attribution_token": "--attribution",
    "event_id": "--event-id",
}
_NAMESPACE = uuid.UUID("6f6a5f0e-6f35-4c1b-9d25-3c1e0a0f7b0d")


def add(commands: options.Subparsers) -> None:
    """Adds the command to the parser."""
    events = commands.add_parser("events", help="tell the server what users did")
    verbs = events.add_subparsers(dest="verb", required=True, metavar="VERB")

    write = verbs.add_parser("write", help="write the events of a file, or one", description=_DESCRIPTION)
    write.add_argument("file", nargs="?", metavar="FILE", help=_FILE_HELP)
    write.add_argument("--csv", action="store_true", help="FILE is CSV, whatever its name")
    write.add_argument(
        "--type", default="", help='what the user did, for example "click"; in a file, of lines that do not say'
    )
    write.add_argument("--user", metavar="ID", help="who, of one event")
    write.add_argument("--item", metavar="ID", help="with which item")
    write.add_argument("--weight", type=float, help="how much that says (default: the server's settings for the type)")
    write.add_argument("--time", help="when, ISO 8601 with a time zone or seconds since 1970 (default: now)")
    write.add_argument(
        "--context",
        action="append",
        default=[],
        metavar="NAME=TEXT",
        help="where the user was, in words; can be repeated",
    )
    write.add_argument("--attribution", metavar="TOKEN", help="attribution token of the answer that showed the item")
    write.add_argument("--event-id", metavar="ID", help="unique (default: a new one)")
    bulk.add_options(write, batch_size=1000)
    options.add_common(write, "ImportedEvents, or of tanager.WrittenEvents for one event", timeout_s=bulk.TIMEOUT_S)
    write.set_defaults(run=_write, names=_NAMES)


def _write(client: Client, arguments: argparse.Namespace) -> ImportedEvents | WrittenEvents:
    given = [option for option, name in _OF_ONE.items() if getattr(arguments, name) not in (None, [])]
    if arguments.file is None:
        return client.write_events([_one(arguments)])
    if given:
        raise ValueError(f"{given[0]}: belongs to one event, and {arguments.file} has its own")

    def from_fields(fields: Fields) -> UserEvent:
        return event(fields, arguments.type)

    csv = arguments.csv or arguments.file.lower().endswith(".csv")
    return bulk.put(client.import_events, "events", arguments, from_fields, csv=csv)


def _one(arguments: argparse.Namespace) -> UserEvent:
    for option, value in (("--user", arguments.user), ("--item", arguments.item), ("--type", arguments.type)):
        if not value:
            raise ValueError(f"{option}: is required where no FILE is given")
    try:
        time = None if arguments.time is None else time_of("--time", arguments.time)
    except FieldError as error:
        raise ValueError(str(error)) from None
    return UserEvent(
        user_id=arguments.user,
        item_id=arguments.item,
        type=arguments.type,
        weight=arguments.weight,
        time=time,
        context=options.context(arguments.context),
        attribution_token=arguments.attribution or "",
        event_id=arguments.event_id or new_event_id(),
    )


def event(fields: Fields, default_type: str) -> UserEvent:
    """An event from one object of a file."""
    user_id, item_id = fields.required_text("user_id"), fields.required_text("item_id")
    what = fields.text("type", "event") or default_type or fields.required_text("type")
    weight, time = fields.number("weight"), fields.time("time", "timestamp", "event_time")
    attribution_token, event_id = fields.text("attribution_token"), fields.text("event_id")
    context = fields.context("context")
    if not event_id and time is not None:
        said = [user_id, item_id, what, weight, time.timestamp(), sorted(context.items()), attribution_token]
        event_id = uuid.uuid5(_NAMESPACE, json.dumps(said)).hex
    return UserEvent(
        user_id=user_id,
        item_id=item_id,
        type=what,
        weight=weight,
        time=time,
        context=context,
        attribution_token=attribution_token,
        event_id=event_id or new_event_id(),
    )
