"""`tanager batch`: recommendations for the users of a file, as JSON lines."""

from __future__ import annotations

import itertools
import re
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tanager import _render
from tanager._errors import InvalidArgumentError, TanagerError
from tanager.commands import options
from tanager.commands.bulk import StoppedError
from tanager.commands.files import IdFile
from tanager.commands.progress import Progress

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from tanager._client import Client
    from tanager._results import BatchRecommendations

_TIMEOUT_S = 60.0
_DESCRIPTION = """\
Recommends items for the users of a file and prints an object for each, one to a line and in their order: user_id,
results, strategy, shortfall and variant. Whom the server does not know gets what is popular. A user who comes twice
gets one list. Where the standard error is a terminal, and the standard output is none, it tells how far it is.
"""
_IN_REQUEST = re.compile(r"user_ids\[(\d+)\]:? *")


def add(commands: options.Subparsers) -> None:
    """Adds the command to the parser."""
    batch = commands.add_parser("batch", help="recommend items for many users, as JSON lines", description=_DESCRIPTION)
    batch.add_argument(
        "file",
        metavar="FILE",
        help="a user's id on each line, or JSON lines with user_id (or id); - for standard input",
    )
    options.add_size(batch)
    options.add_filter(batch)
    options.add_target_domains(batch)
    options.add_source_domains(batch)
    options.add_exclude(batch)
    batch.add_argument("--include-seen", action="store_true", help="allow items of a user's history in the answer")
    batch.add_argument(
        "--batch-size", type=int, default=1000, metavar="N", help="users in a call (default: %(default)s)"
    )
    batch.add_argument(
        "--in-flight", type=int, default=2, metavar="N", help="calls at a time at most (default: %(default)s)"
    )
    options.add_connection(batch, timeout_s=_TIMEOUT_S)
    batch.set_defaults(run=_batch)


def _batch(client: Client, arguments: argparse.Namespace) -> None:
    for name in ("batch_size", "in_flight"):
        if (value := getattr(arguments, name)) < 1:
            raise ValueError(f"--{name.replace('_', '-')}: must be at least 1, not {value}")
    Mailing(client, arguments).run()


class Mailing:
    """One run over a file.

    Args:
        client: Asks.
        arguments: Of the command line.
    """

    def __init__(self, client: Client, arguments: argparse.Namespace) -> None:
        self._client, self._arguments = client, arguments
        self._file = IdFile(arguments.file)
        self._lines: list[int] = []
        """Of the users, in their order."""
        self._printed = 0

    def run(self) -> None:
        """Asks for all users and prints what they get.

        Raises:
            StoppedError: Not all of them were answered.
            OSError: The file cannot be read.
        """
        in_flight: deque[tuple[int, Future[BatchRecommendations]]] = deque()
        with (
            Progress("users", self._file, shown=not sys.stdout.isatty()) as progress,
            ThreadPoolExecutor(self._arguments.in_flight, thread_name_prefix="batch") as pool,
        ):
            try:
                for start, part in self._parts():
                    if len(in_flight) == self._arguments.in_flight:
                        self._print(*in_flight.popleft(), progress)
                    in_flight.append((start, pool.submit(self._ask, part)))
                while in_flight:
                    self._print(*in_flight.popleft(), progress)
            except ValueError as error:  # of the file
                while in_flight:
                    self._print(*in_flight.popleft(), progress)
                raise self._stopped(str(error), refused=True) from error
            except KeyboardInterrupt:
                print(f"tanager: interrupted: {self._printed:,} users are answered", file=sys.stderr)
                raise
            finally:
                for _, future in in_flight:
                    future.cancel()
            progress.end()

    def _parts(self) -> Iterator[tuple[int, list[str]]]:
        """Users of one call, and how many come before them."""
        users = self._distinct()
        while part := list(itertools.islice(users, self._arguments.batch_size)):
            yield len(self._lines) - len(part), part

    def _distinct(self) -> Iterator[str]:
        known: set[str] = set()
        for user_id in self._file:
            if user_id not in known:
                known.add(user_id)
                self._lines.append(self._file.lines[-1])
                yield user_id

    def _ask(self, user_ids: Sequence[str]) -> BatchRecommendations:
        arguments = self._arguments
        return self._client.batch_recommend(
            user_ids,
            page_size=arguments.page_size,
            filter=arguments.filter,
            target_domains=arguments.target_domain,
            source_domains=arguments.source_domain,
            exclude_item_ids=arguments.exclude,
            include_seen=arguments.include_seen,
        )

    def _print(self, start: int, future: Future[BatchRecommendations], progress: Progress) -> None:
        try:
            answer = future.result()
        except InvalidArgumentError as error:
            why = [f"{field}: {description}" for field, description in error.field_violations] or [str(error)]
            raise self._stopped("; ".join(self._in_file(each, start) for each in why), refused=True) from error
        except TanagerError as error:
            raise self._stopped(str(error), refused=False) from error
        except ValueError as error:  # what cannot be sent
            raise self._stopped(self._in_file(str(error), start), refused=True) from error
        for one in answer:
            print(_render.json_line(one))
        self._printed += len(answer)
        progress.advance(self._printed)

    def _in_file(self, message: str, start: int) -> str:
        """The message in the words of the command line, with the line in place of the position that it begins with."""
        match = _IN_REQUEST.match(message)
        if match is None:
            return options.in_own_words(message, {"user_ids": "--batch-size"})
        return f"{self._file.name}: line {self._lines[start + int(match[1])]}: {message[match.end() :]}"

    def _stopped(self, why: str, *, refused: bool) -> StoppedError:
        if self._printed >= len(self._lines):
            return StoppedError(f"{why}; {self._printed:,} users are answered", refused=refused)
        line = self._lines[self._printed]
        return StoppedError(f"{why}; {self._printed:,} users are answered, from line {line} on none", refused=refused)
