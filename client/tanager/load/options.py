"""The options of `tanager load`: from the command line, and from a scenario file beneath it."""

from __future__ import annotations

import argparse
import math
import os
import secrets
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tanager._channel import DEFAULT_TARGET, DEFAULT_TIMEOUT_S
from tanager._values import Tls
from tanager.load.search import Objective
from tanager.load.workload import MAX_HISTORY, MIX, WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Sequence

ARRIVALS = ("poisson", "constant")
STANDARD_OUTPUT = Path("-")
_DEFAULT_CONCURRENCY = 16
_DEFAULT_DURATION_S = 10.0
_DEFAULT_FIRST_RATE = 50.0
_DEFAULT_ARRIVALS = "poisson"
_DEFAULT_POOL_SIZE = 10_000
_DEFAULT_OBJECTIVE = "p99<=50ms"
_DEFAULT_MAX_ERRORS = 0.001
_DEFAULT_PRECISION = 0.05
_MAX_CONNECTIONS = 10_000
# Of each pair only one can hold. What the command line says of one replaces what the file says of the other.
_EITHER_OR = (
    ("concurrency", "rate"),
    ("concurrency", "arrivals"),
    ("duration", "count"),
    ("count", "find-rate"),
    ("no-tls", "ca-file"),
    ("requests-file", "pool-size"),
    *(("concurrency", option) for option in ("find-rate", "objective", "max-errors", "precision")),
    *(("count", option) for option in ("objective", "max-errors", "precision")),
    *(("no-find-rate", option) for option in ("objective", "max-errors", "precision")),
)
_NEED_FIND_RATE = ("objective", "max-errors", "precision")

_DESCRIPTION = """\
Sends requests to a Tanager server and measures what comes back.

A closed loop (--concurrency) keeps so many calls in flight: it measures throughput. An open loop (--rate) sends calls
when they are due, whether or not earlier ones were answered, and counts latency from when a call was due: it measures
what users feel. --find-rate looks for the highest rate at which an objective still holds.
"""
_EPILOG = f"""\
workloads, made of the server's catalogue:
  text     wishes: titles, alone and in a few phrases
  history  1 to {MAX_HISTORY} items
  similar  an item, with SimilarItems
  mixed    {", ".join(f"{share} % {kind}" for kind, share in MIX.items())}

environment:
  TANAGER_TARGET  the server to ask where TARGET is not given

exit status:
  0    calls were answered, and with --find-rate a rate meets the objective
  1    the server cannot be reached, no call was answered OK, or no rate meets the objective
  2    wrong usage
  130  interrupted; what was measured until then is reported
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to run, checked.

    Attributes:
        target: The server.
        tls: How to encrypt; None for not at all.
        connections: How many connections to make.
        timeout_s: Deadline of a call.
        workload: What to ask.
        requests_file: Where the requests are; None if they are made of the server's catalogue.
        pool_size: How many requests to make of the catalogue at most.
        page_size: Results to ask for.
        zipf: Exponent by which requests repeat; None if all are drawn equally often.
        seed: Of everything random.
        concurrency: Callers of the closed loop; None for an open one.
        rate: Calls per second of the open loop, or the first to try; None for a closed one.
        arrivals: How the calls of an open loop are spaced.
        duration_s: How long calls count; None if `count` says it.
        count: How many calls count; None if `duration_s` says it.
        warm_up_s: How long calls are sent before any counts.
        objective: What the highest rate is looked for; None if it is not looked for.
        max_errors: Share of calls that may fail under the objective.
        precision: How near to look for the rate, as a share of it.
        json: Where to write the figures as JSON; None for nowhere.
        report: Where to write the HTML report; None for nowhere.
    """

    target: str
    tls: Tls | None
    connections: int
    timeout_s: float
    workload: str
    requests_file: Path | None
    pool_size: int
    page_size: int
    zipf: float | None
    seed: int
    concurrency: int | None
    rate: float | None
    arrivals: str
    duration_s: float | None
    count: int | None
    warm_up_s: float
    objective: Objective | None
    max_errors: float
    precision: float
    json: Path | None
    report: Path | None

    @property
    def open_loop(self) -> bool:
        """Whether calls are sent when they are due."""
        return self.concurrency is None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Ends with one line; the usage, with its many options, would bury it."""
        self.exit(2, f"tanager: error: load: {' '.join(message.split())}\n")


def parse(argv: Sequence[str]) -> Options:
    """Reads the command line, and the scenario file that it names.

    Raises:
        SystemExit: With status 2 for wrong usage, after one line that says what is wrong; with 0 for --help.
    """
    parser = _parser()
    given = parser.parse_args(argv)
    if given.target and given.target_option:
        parser.error("TARGET and --target exclude each other; leave one out")
    path = given.scenario
    if path is not None:
        argv = [*_scenario_arguments(parser, path, argv), *argv]
    return _options(parser, parser.parse_args(argv))


def _parser() -> _Parser:
    parser = _Parser(
        prog="tanager load",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    # As an option too, for the scenario files.
    parser.add_argument("target", nargs="?", metavar="TARGET", help=f"the server (default: {DEFAULT_TARGET})")
    parser.add_argument("--target", dest="target_option", help=argparse.SUPPRESS)
    add = parser.add_argument
    add("--scenario", type=Path, metavar="FILE", help="TOML file of these options; the command line overrides it")

    add = parser.add_argument_group("what to send").add_argument
    add("--workload", choices=WORKLOADS, default="text", help="(default: %(default)s)")
    add(
        "--requests-file",
        type=Path,
        metavar="FILE",
        help="requests instead of the catalogue's: each line a JSON object, a RecommendRequest in protobuf's JSON "
        "form, or for similar (and in mixed, where it has an item id) a SimilarItemsRequest",
    )
    add("--page-size", type=_whole(1, 1_000), default=10, metavar="N", help="results to ask for (default: %(default)s)")
    add("--zipf", type=_number(0), metavar="S", help="repeat requests: the k-th in proportion to k to the power of -S")
    add("--pool-size", type=_whole(1), metavar="N", help=f"requests to make (default: {_DEFAULT_POOL_SIZE})")
    add("--seed", type=_whole(0), metavar="N", help="of all that is random (default: another one each time)")

    add = parser.add_argument_group("how to send it").add_argument
    add(
        "--concurrency",
        type=_whole(1),
        metavar="N",
        help=f"closed loop: calls in flight (default: {_DEFAULT_CONCURRENCY})",
    )
    add("--rate", type=_number(0, above=True), metavar="R", help="open loop: calls per second")
    add("--arrivals", choices=ARRIVALS, help=f"spacing in an open loop (default: {_DEFAULT_ARRIVALS})")
    add("--duration", type=_number(0, above=True), metavar="S", help="seconds to measure (default: 10)")
    add("--count", type=_whole(1), metavar="N", help="calls to measure, instead of --duration")
    add("--warm-up", type=_number(0), default=2.0, metavar="S", help="seconds that do not count (default: %(default)g)")
    add(
        "--timeout",
        type=_number(0, above=True),
        default=DEFAULT_TIMEOUT_S,
        metavar="S",
        help="deadline of a call, in seconds (default: %(default)g)",
    )
    add(
        "--connections",
        type=_whole(1, _MAX_CONNECTIONS),
        default=1,
        metavar="N",
        help="connections to spread the calls over (default: %(default)s)",
    )
    add("--tls", action=argparse.BooleanOptionalAction, help="encrypt, trusting public authorities")
    add("--ca-file", metavar="FILE", help="encrypt, trusting the certificates in this PEM file")

    add = parser.add_argument_group("find the highest rate").add_argument
    add(
        "--find-rate",
        action=argparse.BooleanOptionalAction,
        help="try rate after rate, each for --duration, beginning with --rate (default: 50)",
    )
    add("--objective", type=_objective, metavar="BOUND", help=f"what must hold (default: {_DEFAULT_OBJECTIVE})")
    add(
        "--max-errors",
        type=_number(0, 1),
        metavar="SHARE",
        help=f"calls that may fail (default: {_DEFAULT_MAX_ERRORS:g})",
    )
    add(
        "--precision",
        type=_number(0.001, 1),
        metavar="SHARE",
        help=f"how near to look (default: {_DEFAULT_PRECISION:g})",
    )

    add = parser.add_argument_group("what to write").add_argument
    add("--json", type=Path, metavar="FILE", help="the figures as JSON; - for standard output, instead of the table")
    add("--report", type=Path, metavar="FILE", help="one HTML page with charts")
    return parser


def _scenario_arguments(parser: _Parser, path: Path, argv: Sequence[str]) -> list[str]:
    """What the file says, as if it stood on the command line."""
    actions = {
        option[2:]: action
        for action in parser._actions  # noqa: SLF001 - argparse has no other way to list them
        for option in action.option_strings
        if option.startswith("--") and not option.startswith("--no-") and option not in ("--help", "--scenario")
    }
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        parser.error(f"--scenario {path}: {error.strerror}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        parser.error(f"--scenario {path}: {error}")
    given = {argument[2:].partition("=")[0] for argument in argv if argument.startswith("--")}
    arguments = []
    for key, value in values.items():
        if key not in actions:
            parser.error(f"--scenario {path}: unknown key {key!r}; the keys are {', '.join(sorted(actions))}")
        if any(key in pair and not given.isdisjoint(pair) for pair in _EITHER_OR):
            continue
        switch = isinstance(actions[key], argparse.BooleanOptionalAction)
        if switch != isinstance(value, bool) or not isinstance(value, bool | int | float | str):
            parser.error(f"--scenario {path}: {key} must be {'true or false' if switch else 'a number or a string'}")
        arguments.append((f"--{key}" if value else f"--no-{key}") if switch else f"--{key}={value}")
    return arguments


# Calls per second; a core sends some thousands.
_MAX_RATE = 100_000.0


def _options(parser: _Parser, arguments: argparse.Namespace) -> Options:
    for one, other in _EITHER_OR:
        if _is_given(arguments, one) and _is_given(arguments, other):
            parser.error(f"--{one} and --{other} exclude each other; leave one out")
    find_rate, concurrency, rate = bool(arguments.find_rate), arguments.concurrency, arguments.rate
    for option in _NEED_FIND_RATE:
        if _is_given(arguments, option) and not find_rate:
            parser.error(f"--{option} needs --find-rate")
    if arguments.arrivals is not None and rate is None and not find_rate:
        parser.error("--arrivals needs --rate or --find-rate: a closed loop sends when it is answered")
    if rate is not None and rate > _MAX_RATE:
        parser.error(f"--rate {rate:g} is more than any generator of this kind can send: at most {_MAX_RATE:g}")
    if arguments.report == STANDARD_OUTPUT:
        parser.error("--report - is no file; give one, for example --report report.html")
    files = [path.resolve() for path in (arguments.json, arguments.report) if path is not None]
    if len(files) == 2 and files[0] == files[1]:
        parser.error("--json and --report name the same file; give each its own")
    if find_rate and rate is None:
        rate = _DEFAULT_FIRST_RATE
    elif rate is None and concurrency is None:
        concurrency = _DEFAULT_CONCURRENCY
    if concurrency is not None and arguments.connections > concurrency:
        parser.error(f"--connections {arguments.connections} needs --concurrency {arguments.connections} or more")
    duration_s = arguments.duration
    if duration_s is None and arguments.count is None:
        duration_s = _DEFAULT_DURATION_S
    target = arguments.target or arguments.target_option or os.environ.get("TANAGER_TARGET") or DEFAULT_TARGET
    return Options(
        target=target,
        tls=Tls(ca_file=arguments.ca_file) if arguments.tls or arguments.ca_file else None,
        connections=arguments.connections,
        timeout_s=arguments.timeout,
        workload=arguments.workload,
        requests_file=arguments.requests_file,
        pool_size=arguments.pool_size or _DEFAULT_POOL_SIZE,
        page_size=arguments.page_size,
        zipf=arguments.zipf,
        seed=secrets.randbits(32) if arguments.seed is None else arguments.seed,
        concurrency=concurrency,
        rate=rate,
        arrivals=arguments.arrivals or _DEFAULT_ARRIVALS,
        duration_s=duration_s,
        count=arguments.count,
        warm_up_s=arguments.warm_up,
        objective=(arguments.objective or Objective.parse(_DEFAULT_OBJECTIVE)) if find_rate else None,
        max_errors=_DEFAULT_MAX_ERRORS if arguments.max_errors is None else arguments.max_errors,
        precision=arguments.precision or _DEFAULT_PRECISION,
        json=arguments.json,
        report=arguments.report,
    )


def _is_given(arguments: argparse.Namespace, option: str) -> bool:
    """Whether an option was given, or "no-" and a switch that was switched off."""
    if option.startswith("no-"):
        return getattr(arguments, option[3:].replace("-", "_")) is False
    value = getattr(arguments, option.replace("-", "_"))
    return value is not None and value is not False


def _objective(text: str) -> Objective:
    try:
        return Objective.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


class _number:  # noqa: N801 - used like a type
    """Reads a finite number within bounds."""

    def __init__(self, least: float, most: float = math.inf, *, above: bool = False) -> None:
        self._least, self._most, self._above = least, most, above

    def __call__(self, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a number, not {text!r}") from None
        low = value <= self._least if self._above else value < self._least
        if low or value > self._most or not math.isfinite(value):
            more = "" if self._most == math.inf else f" and at most {self._most:g}"
            bound = "above" if self._above else "at least"
            raise argparse.ArgumentTypeError(f"must be {bound} {self._least:g}{more}, not {text}")
        return value


class _whole:  # noqa: N801 - used like a type
    """Reads a whole number within bounds."""

    def __init__(self, least: int, most: int | None = None) -> None:
        self._least, self._most = least, most

    def __call__(self, text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}") from None
        if value < self._least or (self._most is not None and value > self._most):
            more = "" if self._most is None else f" and at most {self._most:,}"
            raise argparse.ArgumentTypeError(f"must be at least {self._least}{more}, not {text}")
        return value
