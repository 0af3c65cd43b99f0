"""`tanager backups`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager._channel import ACTIVATION_TIMEOUT_S
from tanager._status import Backup
from tanager.commands import options

if TYPE_CHECKING:
    import argparse

    from tanager._client import Client


def add(commands: options.Subparsers) -> None:
    """Adds the command to the parser."""
    backups = commands.add_parser("backups", help="copy what the server keeps, while it serves")
    verbs = backups.add_subparsers(dest="verb", required=True, metavar="VERB")

    create = verbs.add_parser("create", help="copy the state, as it is at one moment, to the server's backups")
    create.add_argument("name", metavar="NAME", help="name of the new directory in the server's directory of backups")
    options.add_connection(create, timeout_s=ACTIVATION_TIMEOUT_S)
    create.add_argument(
        "--format",
        choices=("table", "json"),
        default="table",
        help="table for people, or json: one object with name and size_bytes (default: table)",
    )
    create.set_defaults(run=_create)


def _create(client: Client, arguments: argparse.Namespace) -> Backup:
    return Backup(arguments.name, client.back_up_state(arguments.name, timeout_s=arguments.timeout))
