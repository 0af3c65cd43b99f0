"""`tanager users`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager._records import User
from tanager.commands import bulk, options

if TYPE_CHECKING:
    import argparse

    from tanager._client import Client
    from tanager._writes import ImportedUsers, PurgedUser
    from tanager.commands.fields import Fields

_NAMES = {"user_id": "USER_ID"}


def add(commands: options.Subparsers) -> None:
    """Adds the command to the parser."""
    users = commands.add_parser("users", help="read, change and remove what is known of users")
    verbs = users.add_subparsers(dest="verb", required=True, metavar="VERB")

    get = verbs.add_parser("get", help="show what is known of a user")
    get.add_argument("user_id", metavar="USER_ID", help="the user")
    options.add_common(get, "User")
    get.set_defaults(run=_get, names=_NAMES)

    put = verbs.add_parser("put", help="create users, or replace their profiles as a whole")
    put.add_argument(
        "file",
        metavar="FILE",
        help="JSON lines, - for standard input: user_id (or id), and optionally profile (or attributes)",
    )
    bulk.add_options(put, batch_size=1000)
    options.add_common(put, "ImportedUsers", timeout_s=bulk.TIMEOUT_S)
    put.set_defaults(run=_put)

    purge = verbs.add_parser("purge", help="remove everything that is known of a user, for good")
    purge.add_argument("user_id", metavar="USER_ID", help="the user")
    options.add_common(purge, "PurgedUser")
    purge.set_defaults(run=_purge, names=_NAMES)


def _get(client: Client, arguments: argparse.Namespace) -> User:
    return client.get_user(arguments.user_id)


def _put(client: Client, arguments: argparse.Namespace) -> ImportedUsers:
    return bulk.put(client.import_users, "users", arguments, user)


def _purge(client: Client, arguments: argparse.Namespace) -> PurgedUser:
    return client.purge_user(arguments.user_id)


def user(fields: Fields) -> User:
    """A user from one object of a file."""
    found = User(user_id=fields.required_text("user_id", "id"), profile=fields.attributes("profile", "attributes"))
    fields.ignore("event_count", "latest_events")
    return found
