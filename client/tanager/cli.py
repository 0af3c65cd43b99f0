"""The `tanager` command."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from typing import TYPE_CHECKING, TypeAlias

from tanager import _render
from tanager._channel import DEFAULT_TARGET, DEFAULT_TIMEOUT_S
from tanager._client import Client
from tanager._errors import InvalidArgumentError, TanagerError
from tanager._results import Recommendations, SimilarItems, Status
from tanager._values import Attribute, Diversity, Tls
from tanager._version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXIT_OK, _EXIT_FAILED, _EXIT_USAGE, _EXIT_INTERRUPTED = 0, 1, 2, 130
_EPILOG = """\
environment:
  TANAGER_TARGET  the server to ask where --target is not given

exit status:
  0    the server answered
  1    it could not be reached, or the call failed
  2    wrong usage, or an argument that the server refused
  130  interrupted
"""
_JSON_HELP = "table for people, or json: one object with the attributes of tanager.{} (default: table)"
# The API's name of what was refused -> what it is called here.
_OPTIONS = {
    "text": "TEXT",
    "recent_events": "--history",
    "history": "--history",
    "page_size": "-n",
    "exclude_item_ids": "--exclude",
    "profile": "--profile",
    "context": "--context",
    "explain": "--explain",
    "max_reasons": "--max-reasons",
    "diversity.mmr_lambda": "--mmr",
    "diversity.max_per_category": "--max-per-category",
    "diversity.interests": "--interests",
    "item_id": "ITEM_ID",
    "timeout_s": "--timeout",
    "target": "--target",
}

Answer: TypeAlias = Recommendations | SimilarItems | Status


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: Its arguments; those of the process if not given.

    Returns:
        The exit status: see `tanager --help`.
    """
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["load"]:
        from tanager import load  # only here: nothing else needs it

        return load.main(argv[1:])
    arguments = _parser().parse_args(argv)
    try:
        started = time.perf_counter()
        answer = _ask(arguments)
        elapsed_s = time.perf_counter() - started
    except InvalidArgumentError as error:
        return _fail("; ".join(_violations(error)), _EXIT_USAGE)
    except TanagerError as error:
        return _fail(str(error), _EXIT_FAILED)
    except OSError as error:  # a certificate file
        return _fail(f"{error.filename}: {error.strerror}", _EXIT_FAILED)
    except ValueError as error:
        return _fail(_in_own_words(str(error)), _EXIT_USAGE)
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    return _show(_render.json_text(answer) if arguments.format == "json" else _render.table(answer, elapsed_s))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tanager",
        description="Asks a Tanager server.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    recommend = commands.add_parser("recommend", help="recommend items for a wish, a history, a profile or none")
    recommend.add_argument("text", nargs="?", default="", metavar="TEXT", help="what is wished for, in words")
    recommend.add_argument(
        "--history",
        action="append",
        default=[],
        metavar="ID[,ID…]",
        help="items the user dealt with lately, oldest first; can be repeated",
    )
    recommend.add_argument(
        "--profile",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="who the user is, for example gender=female or age=25; can be repeated, also with the same name",
    )
    recommend.add_argument(
        "--context",
        action="append",
        default=[],
        metavar="NAME=TEXT",
        help="where the user is, in words; can be repeated",
    )
    recommend.add_argument("--explain", action="store_true", help="say why each item is in the list")
    recommend.add_argument("--max-reasons", type=int, metavar="N", help="reasons for each at most (default: 3)")
    recommend.add_argument(
        "--mmr",
        type=float,
        metavar="LAMBDA",
        help="pass over items of categories that are there already: from 1, which takes the best, to 0",
    )
    recommend.add_argument(
        "--max-per-category", type=int, default=0, metavar="N", help="items of one category (default: any number)"
    )
    recommend.add_argument(
        "--interests", type=int, default=0, metavar="N", help="serve up to N interests of the history by their shares"
    )
    recommend.add_argument("--include-seen", action="store_true", help="allow items of the history in the answer")
    _add_list_options(recommend)
    _add_common_options(recommend, "Recommendations")

    similar = commands.add_parser("similar", help="find items like a given item")
    similar.add_argument("item_id", metavar="ITEM_ID", help="the item to find like items for")
    _add_list_options(similar)
    _add_common_options(similar, "SimilarItems")

    status = commands.add_parser("status", help="show what the server is and what it serves")
    _add_common_options(status, "Status")
    commands.add_parser("load", help="measure latency and throughput under load", add_help=False)  # see main
    return parser


def _add_list_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", type=int, dest="page_size", metavar="N", help="how many items (default: 10)")
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="ID", help="an item not to return; can be repeated"
    )


def _add_common_options(parser: argparse.ArgumentParser, answer: str) -> None:
    parser.add_argument(
        "--target",
        default=os.environ.get("TANAGER_TARGET") or DEFAULT_TARGET,
        metavar="HOST:PORT",
        help="the server (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=DEFAULT_TIMEOUT_S,
        metavar="SECONDS",
        help="how long to wait for the answer (default: %(default)g)",
    )
    parser.add_argument("--tls", action="store_true", help="encrypt, trusting public certificate authorities")
    parser.add_argument("--ca-file", metavar="FILE", help="encrypt, trusting the certificates in this PEM file")
    parser.add_argument("--format", choices=("table", "json"), default="table", help=_JSON_HELP.format(answer))


def _ask(arguments: argparse.Namespace) -> Answer:
    tls = Tls(ca_file=arguments.ca_file) if arguments.tls or arguments.ca_file else None
    with Client(arguments.target, timeout_s=arguments.timeout, tls=tls) as client:
        match arguments.command:
            case "recommend":
                return client.recommend(
                    text=arguments.text,
                    history=[item_id for ids in arguments.history for item_id in ids.split(",")],
                    page_size=arguments.page_size,
                    exclude_item_ids=arguments.exclude,
                    include_seen=arguments.include_seen,
                    profile=_profile(arguments.profile),
                    context=dict(_named("--context", entry) for entry in arguments.context),
                    explain=arguments.explain or arguments.max_reasons is not None,
                    max_reasons=arguments.max_reasons,
                    diversity=_diversity(arguments),
                )
            case "similar":
                return client.similar_items(
                    arguments.item_id, page_size=arguments.page_size, exclude_item_ids=arguments.exclude
                )
            case _:
                return client.status()


def _diversity(arguments: argparse.Namespace) -> Diversity | None:
    diversity = Diversity(
        mmr_lambda=arguments.mmr, max_per_category=arguments.max_per_category, interests=arguments.interests
    )
    return None if diversity == Diversity() else diversity


def _profile(entries: Sequence[str]) -> dict[str, Attribute]:
    """Names and values: numbers, true and false as such, all else as text; of several for one name a list."""
    values: dict[str, list[str]] = {}
    for name, value in (_named("--profile", entry) for entry in entries):
        values.setdefault(name, []).append(value)
    return {name: found if len(found) > 1 else _value(found[0]) for name, found in values.items()}


def _value(text: str) -> Attribute:
    if text in ("true", "false"):
        return text == "true"
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _named(option: str, entry: str) -> tuple[str, str]:
    name, equals, value = entry.partition("=")
    if not equals or not name:
        raise ValueError(f"{option}: {entry!r} is no NAME=VALUE")
    return name, value


def _show(text: str) -> int:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # The reader, `head` for example, has seen enough. Python flushes once more at exit, which must not fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _EXIT_FAILED
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    return _EXIT_OK


def _violations(error: InvalidArgumentError) -> list[str]:
    if not error.field_violations:
        return [str(error)]
    return [_in_own_words(f"{field}: {description}") for field, description in error.field_violations]


def _in_own_words(message: str) -> str:
    """The message, with the option put beside the name of the API that it begins with."""
    name = message
    for end in (":", " ", "["):
        name = name.partition(end)[0]
    if name not in _OPTIONS:
        name = name.partition(".")[0]
    return f"{_OPTIONS[name]}: {message}" if name in _OPTIONS else message


def _fail(message: str, status: int) -> int:
    print(f"tanager: error: {' '.join(message.split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
