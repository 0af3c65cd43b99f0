"""The `tanager` command."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

from tanager import _render
from tanager._client import Client
from tanager._errors import InvalidArgumentError, TanagerError
from tanager._values import Tls
from tanager._version import __version__
from tanager.commands import backups, batch, events, items, lists, options, server, users
from tanager.commands.bulk import StoppedError

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXIT_OK, _EXIT_FAILED, _EXIT_USAGE, _EXIT_INTERRUPTED = 0, 1, 2, 130
_EPILOG = """\
environment:
  TANAGER_TARGET  the server to ask where --target is not given

exit status:
  0    the server answered
  1    it could not be reached, or the call failed
  2    wrong usage, or an argument or a file that cannot be used
  130  interrupted
"""


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
        return _run(arguments)
    except BrokenPipeError:
        # The reader, `head` for example, has seen enough. Python flushes once more at exit, which must not fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _EXIT_FAILED
    except InvalidArgumentError as error:
        return _fail("; ".join(_violations(error, arguments)), _EXIT_USAGE)
    except TanagerError as error:
        return _fail(str(error), _EXIT_FAILED)
    except StoppedError as error:
        return _fail(str(error), _EXIT_USAGE if error.refused else _EXIT_FAILED)
    except OSError as error:  # a certificate file, or one of records
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), _EXIT_FAILED)
    except ValueError as error:
        return _fail(options.in_own_words(str(error), arguments.names), _EXIT_USAGE)
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tanager",
        description="Asks a Tanager server.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.set_defaults(names={})
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (lists, batch, items, users, events, server, backups):
        module.add(commands)
    commands.add_parser("load", help="measure latency and throughput under load", add_help=False)  # see main
    return parser


def _run(arguments: argparse.Namespace) -> int:
    tls = Tls(ca_file=arguments.ca_file) if arguments.tls or arguments.ca_file else None
    with Client(arguments.target, timeout_s=arguments.timeout, tls=tls) as client:
        started = time.perf_counter()
        answer = arguments.run(client, arguments)
        elapsed_s = time.perf_counter() - started
    if answer is not None:  # else the command has shown it by itself
        print(_render.json_text(answer) if arguments.format == "json" else _render.table(answer, elapsed_s))
    sys.stdout.flush()
    return _EXIT_OK


def _violations(error: InvalidArgumentError, arguments: argparse.Namespace) -> list[str]:
    if not error.field_violations:
        return [str(error)]
    return [
        options.in_own_words(f"{field}: {description}", arguments.names)
        for field, description in error.field_violations
    ]


def _fail(message: str, status: int) -> int:
    print(f"tanager: error: {' '.join(message.split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
