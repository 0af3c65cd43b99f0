"""`tanager-export dataset sample|movielens|amazon|lastfm|csv|from-state|check`."""

from __future__ import annotations

import argparse
import json
import math
import textwrap
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from tanager_export.dataset.amazon import import_amazon
from tanager_export.dataset.check import check_dataset
from tanager_export.dataset.checks.finding import Severity
from tanager_export.dataset.format import Times
from tanager_export.dataset.from_state import export_state
from tanager_export.dataset.lastfm import import_lastfm
from tanager_export.dataset.movielens import import_movielens
from tanager_export.dataset.plain_csv import CsvOptions, import_csv
from tanager_export.dataset.times import unix_seconds
from tanager_export.sample import write_sample

if TYPE_CHECKING:
    from tanager_export.dataset.check import Report
    from tanager_export.dataset.writer import Written

_WIDTH = 110


def add_dataset_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `dataset`; a parsed `run(arguments)` carries it out and returns the exit code."""
    parser = subparsers.add_parser("dataset", help="make, import and check datasets")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    sample = commands.add_parser("sample", help="write the sample dataset: real works, simulated behaviour")
    sample.add_argument("target", metavar="OUT", type=Path, help="the dataset directory to create")
    sample.add_argument("--seed", type=_seed, default=0, help="of the simulation (default: %(default)s)")
    sample.set_defaults(run=_sample)

    movielens = commands.add_parser(
        "movielens",
        help="import ml-latest-small, ml-25m, ml-10m, ml-1m or ml-100k",
        description="Imports films, ratings (the stars become weights), tags, which go into the films' texts, and what "
        "ml-1m and ml-100k know of users.",
    )
    movielens.add_argument("source", metavar="DIR", type=Path, help="the directory that the archive unpacks to")
    movielens.add_argument("target", metavar="OUT", type=Path, help="the dataset directory to create")
    tags = movielens.add_mutually_exclusive_group()
    tags.add_argument(
        "--tags-before",
        metavar="TIME",
        type=_time,
        default=math.inf,
        help="leave out tags given from this time on (Unix seconds, or a date such as 2016-05-01): texts must not hold "
        "what was said after the time at which an evaluation splits",
    )
    tags.add_argument("--no-tags", dest="tags_before", action="store_const", const=0, help="leave out all tags")
    movielens.set_defaults(run=_movielens)

    amazon = commands.add_parser(
        "amazon",
        help="import Amazon review sequences as UniSRec or RecBole lay them out",
        description="Imports NAME.train.inter, NAME.valid.inter, NAME.test.inter and NAME.text (UniSRec; with "
        "NAME.item2index and NAME.user2index where ids are numbers), or NAME.inter and NAME.item (RecBole; with "
        "NAME.user where there is one). UniSRec's sequences carry no times: the dataset says so, and cannot be split "
        "by time.",
    )
    amazon.add_argument("source", metavar="DIR", type=Path, help="the directory with these files")
    amazon.add_argument("target", metavar="OUT", type=Path, help="the dataset directory to create")
    amazon.set_defaults(run=_amazon)

    lastfm = commands.add_parser(
        "lastfm",
        help="import Last.fm of HetRec 2011",
        description="Imports artists.dat and user_artists.dat, whose listening counts become weights, and, where they "
        "are there, tags.dat with user_taggedartists.dat. Listening carries no time: the dataset says so, and cannot "
        "be split by time.",
    )
    lastfm.add_argument("source", metavar="DIR", type=Path, help="the directory that the archive unpacks to")
    lastfm.add_argument("target", metavar="OUT", type=Path, help="the dataset directory to create")
    lastfm.set_defaults(run=_lastfm)

    plain = commands.add_parser(
        "csv",
        help="import CSV files of items, interactions and users",
        description="Imports a catalogue, what users did with it, and what is known of users: CSV files with a header "
        "each, separated by commas, semicolons, tabs or bars. Files and columns that are not named are looked for "
        "under common names, such as products.csv and product_id, and what was chosen is printed. What is left of the "
        "columns becomes attributes of items and users, and context of interactions.",
    )
    plain.add_argument("source", metavar="DIR", type=Path, help="the directory with the files")
    plain.add_argument("target", metavar="OUT", type=Path, help="the dataset directory to create")
    _add_csv_options(plain)
    plain.set_defaults(run=_csv)

    state = commands.add_parser(
        "from-state",
        help="export what was written to a server, for the next training",
        description="Exports the items of a bundle with what was written since over them, the profiles of users, and "
        "what users did: type, weight, time and context, and for events of a list that was logged the probability with "
        "which it had the item.",
    )
    state.add_argument(
        "source", metavar="STATE", type=Path, help="a backup of a server's state, or the state of one that is stopped"
    )
    state.add_argument("target", metavar="OUT", type=Path, help="the dataset directory to create")
    state.add_argument("--bundle", metavar="DIR", type=Path, required=True, help="the bundle that the server serves")
    state.set_defaults(run=_from_state)

    for writing in (sample, movielens, amazon, lastfm, plain, state):
        writing.add_argument("--overwrite", action="store_true", help="replace a dataset that is there already")

    check = commands.add_parser(
        "check",
        help="report what is wrong or odd; exit code 1 if there are errors",
        description="Reports what a load would refuse and what harms a model: duplicates, orphans, texts that are "
        "empty, the same or nearly so, sparsity, imbalance of items, users and domains, impossible times, silences and "
        "events without an order, and leaks between the parts of a split that a column `split` (train, valid, test) "
        "brings along. Says what to do about each.",
    )
    check.add_argument("directory", metavar="DIR", type=Path, help="the dataset directory")
    check.add_argument("--format", choices=("table", "json"), default="table", help="(default: %(default)s)")
    check.set_defaults(run=_check)


def _add_csv_options(parser: argparse.ArgumentParser) -> None:
    files = parser.add_argument_group("files, below DIR")
    files.add_argument("--items", metavar="FILE", help="the catalogue")
    files.add_argument("--interactions", metavar="FILE", help="what users did; there may be none")
    files.add_argument("--users", metavar="FILE", help="what is known of users; there may be none")
    columns = parser.add_argument_group("columns")
    columns.add_argument("--user-column", metavar="NAME", help="the user's id")
    columns.add_argument("--item-column", metavar="NAME", help="the item's id; may be `id` in the catalogue")
    columns.add_argument(
        "--time-column", metavar="NAME", help="when it was: Unix seconds or milliseconds, or ISO 8601 (UTC if not said)"
    )
    columns.add_argument("--weight-column", metavar="NAME", help="how much the interaction speaks for the item")
    columns.add_argument("--event-column", metavar="NAME", help="the kind of interaction")
    columns.add_argument("--title-column", metavar="NAME", help="the item's title")
    columns.add_argument(
        "--category-column", metavar="NAME", help='its categories, separated by "|", ";" or ">", or a list in brackets'
    )
    columns.add_argument(
        "--text-columns",
        metavar="A,B,C",
        type=_names,
        default=(),
        help="what its text is made of, in this order (default: title, categories and what looks like a description)",
    )
    parser.add_argument(
        "--times",
        choices=get_args(Times),
        default="seconds",
        help="what the column of time says: seconds (default), or order where it only numbers what each user did; none "
        "leaves it out",
    )
    parser.add_argument(
        "--drop-orphans", action="store_true", help="leave out interactions with items that the catalogue lacks"
    )


def _sample(arguments: argparse.Namespace) -> int:
    written = write_sample(arguments.target, seed=arguments.seed, overwrite=arguments.overwrite)
    print(_summary(written) + "\nThe works are real, the behaviour is simulated.")
    return 0


def _movielens(arguments: argparse.Namespace) -> int:
    written = import_movielens(
        arguments.source,
        arguments.target,
        tags_before_s=arguments.tags_before,
        overwrite=arguments.overwrite,
        progress=True,
    )
    print(_summary(written))
    return 0


def _amazon(arguments: argparse.Namespace) -> int:
    written = import_amazon(arguments.source, arguments.target, overwrite=arguments.overwrite, progress=True)
    print(_summary(written))
    return 0


def _lastfm(arguments: argparse.Namespace) -> int:
    written = import_lastfm(arguments.source, arguments.target, overwrite=arguments.overwrite, progress=True)
    print(_summary(written))
    return 0


def _csv(arguments: argparse.Namespace) -> int:
    options = CsvOptions(**{field.name: getattr(arguments, field.name) for field in fields(CsvOptions)})
    written = import_csv(arguments.source, arguments.target, options, overwrite=arguments.overwrite, progress=True)
    print(_summary(written))
    return 0


def _from_state(arguments: argparse.Namespace) -> int:
    written = export_state(
        arguments.source, arguments.bundle, arguments.target, overwrite=arguments.overwrite, progress=True
    )
    print(_summary(written))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    report = check_dataset(arguments.directory, progress=True)
    if arguments.format == "json":
        print(json.dumps(report.as_dict(), ensure_ascii=False, indent=2))
    else:
        print(_table(report))
    return 0 if report.ok else 1


def _summary(written: Written) -> str:
    return "\n".join((*written.notes, _counts(written), f"written to {written.directory}"))


def _counts(of: Report | Written) -> str:
    counts = (_counted(of.items, "item"), _counted(of.users, "user"), _counted(of.interactions, "interaction"))
    return f"{of.name}: {', '.join(counts)}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _table(report: Report) -> str:
    lines = [_counts(report), ""]
    margin = max((len(finding.code) for finding in report.findings), default=0) + 11
    for finding in report.findings:
        said = finding.message
        if finding.mend:
            said += f". Mend: {finding.mend}"
        if finding.count > 1 and finding.places:
            said += f" (first: {'; '.join(finding.places)})"
        head = f"{finding.severity:<9}{finding.code}".ljust(margin)
        lines.append(textwrap.fill(said, _WIDTH, initial_indent=head, subsequent_indent=" " * margin))
    errors, warnings = (report.count(severity) for severity in (Severity.ERROR, Severity.WARNING))
    lines += ["", f"{_counted(errors, 'error')}, {_counted(warnings, 'warning')}"]
    return "\n".join(lines)


def _time(text: str) -> int:
    if (seconds := unix_seconds(text)) is None:
        raise argparse.ArgumentTypeError("Unix seconds, or ISO 8601 such as 2016-05-01")
    return seconds


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in map(str.strip, text.split(",")) if name)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError("an integer from 0")
    return int(text)
