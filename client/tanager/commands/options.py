"""Options that commands share, and their values."""

from __future__ import annotations

import math
import os
import re
from typing import TYPE_CHECKING, TypeAlias

from tanager._channel import DEFAULT_TARGET, DEFAULT_TIMEOUT_S

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from tanager._values import Attribute

    Subparsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no other name

_JSON_HELP = "table for people, or json: one object with the attributes of tanager.{} (default: table)"
# The API's name of what was refused -> what it is called here, in most commands.
_NAMES = {
    "text": "TEXT",
    "recent_events": "--history",
    "history": "--history",
    "page_size": "-n",
    "page_token": "--page-token",
    "exclude_item_ids": "--exclude",
    "user_id": "--user",
    "filter": "--filter",
    "target_domains": "--target-domain",
    "source_domains": "--source-domain",
    "examples": "--example",
    "min_consistency_token": "--min-consistency-token",
    "half_life_h": "--half-life",
    "profile": "--profile",
    "context": "--context",
    "explain": "--explain",
    "max_reasons": "--max-reasons",
    "diversity.mmr_lambda": "--mmr",
    "diversity.max_per_category": "--max-per-category",
    "diversity.interests": "--interests",
    "item_id": "ITEM_ID",
    "item_ids": "ITEM_ID",
    "name": "NAME",
    "batch_size": "--batch-size",
    "max_in_flight": "--in-flight",
    "timeout_s": "--timeout",
    "target": "--target",
}


def add_connection(parser: argparse.ArgumentParser, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
    """Where the server is, and how it is asked."""
    parser.add_argument(
        "--target",
        default=os.environ.get("TANAGER_TARGET") or DEFAULT_TARGET,
        metavar="HOST:PORT",
        help="the server (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=timeout_s,
        metavar="SECONDS",
        help="how long to wait for an answer (default: %(default)g)",
    )
    parser.add_argument("--tls", action="store_true", help="encrypt, trusting public certificate authorities")
    parser.add_argument("--ca-file", metavar="FILE", help="encrypt, trusting the certificates in this PEM file")


def add_common(parser: argparse.ArgumentParser, answer: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
    """What every command takes.

    Args:
        parser: The command's.
        answer: Name of the class that it answers with.
        timeout_s: How long it waits if not told otherwise, in seconds.
    """
    add_connection(parser, timeout_s=timeout_s)
    parser.add_argument("--format", choices=("table", "json"), default="table", help=_JSON_HELP.format(answer))


def add_size(parser: argparse.ArgumentParser, *, noun: str = "items", default: int = 10) -> None:
    """How many to return."""
    parser.add_argument("-n", type=int, dest="page_size", metavar="N", help=f"how many {noun} (default: {default})")


def add_exclude(parser: argparse.ArgumentParser) -> None:
    """What not to return."""
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="ID", help="an item not to return; can be repeated"
    )


def add_filter(parser: argparse.ArgumentParser, example: str = 'year >= 1990 AND NOT categories:"horror"') -> None:
    """Which to return."""
    parser.add_argument("--filter", default="", metavar="EXPRESSION", help=f"only these, for example {example}")


def add_target_domains(parser: argparse.ArgumentParser) -> None:
    """Of which domains."""
    parser.add_argument(
        "--target-domain",
        action="append",
        default=[],
        metavar="DOMAIN",
        help="only items of this domain; can be repeated",
    )


def add_source_domains(parser: argparse.ArgumentParser) -> None:
    """From which domains."""
    parser.add_argument(
        "--source-domain",
        action="append",
        default=[],
        metavar="DOMAIN",
        help="of the history count items of this domain only; can be repeated",
    )


def add_subject(parser: argparse.ArgumentParser) -> None:
    """Whom it is for, and why it is as it is."""
    parser.add_argument("--user", default="", metavar="ID", help="who the user is, if the server knows")
    parser.add_argument(
        "--history",
        action="append",
        default=[],
        metavar="ID[,ID…]",
        help="items the user dealt with lately, oldest first; can be repeated",
    )
    parser.add_argument(
        "--profile",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="who the user is, for example gender=female or age=25; can be repeated, also with the same name",
    )
    parser.add_argument(
        "--context",
        action="append",
        default=[],
        metavar="NAME=TEXT",
        help="where the user is, in words; can be repeated",
    )
    parser.add_argument("--explain", action="store_true", help="say why each item is in the list")
    parser.add_argument("--max-reasons", type=int, metavar="N", help="reasons for each at most (default: 3)")


def history(entries: Sequence[str]) -> list[str]:
    """The ids of `--history`."""
    return [item_id for ids in entries for item_id in ids.split(",")]


def profile(entries: Sequence[str]) -> dict[str, Attribute]:
    """Names and values: numbers, true and false as such, all else as text; of several for one name a list."""
    values: dict[str, list[str]] = {}
    for name, value in (named("--profile", entry) for entry in entries):
        values.setdefault(name, []).append(value)
    return {name: found if len(found) > 1 else _value(found[0]) for name, found in values.items()}


def context(entries: Sequence[str]) -> dict[str, str]:
    """Names and texts."""
    return dict(named("--context", entry) for entry in entries)


def named(option: str, entry: str) -> tuple[str, str]:
    """Name and value of NAME=VALUE.

    Raises:
        ValueError: It is none; the option is named.
    """
    name, equals, value = entry.partition("=")
    if not equals or not name:
        raise ValueError(f"{option}: {entry!r} is no NAME=VALUE")
    return name, value


def in_own_words(message: str, names: Mapping[str, str]) -> str:
    """The message, with the option put beside the name of the API that it begins with.

    Args:
        message: "page_size: must be 1 to 1,000" or "page_size must be an int", for example.
        names: What the command calls otherwise than others do.
    """
    names = _NAMES | dict(names)
    name = re.split(r"[: \[]", message.removeprefix("events[0]."), maxsplit=1)[0]
    if name not in names:
        name = name.partition(".")[0]
    return f"{names[name]}: {message}" if name in names else message


def _value(text: str) -> Attribute:
    if text in ("true", "false"):
        return text == "true"
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
