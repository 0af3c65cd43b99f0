"""`tanager status` and `tanager bundles`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager._channel import ACTIVATION_TIMEOUT_S
from tanager._enums import TrialMode
from tanager.commands import options

if TYPE_CHECKING:
    import argparse

    from tanager._client import Client
    from tanager._status import Activation, BundleList, EndedTrial, StartedTrial, Status


def add(commands: options.Subparsers) -> None:
    """Adds the commands to the parser."""
    bundles = commands.add_parser("bundles", help="list the bundles that can be served, and serve another one")
    verbs = bundles.add_subparsers(dest="verb", required=True, metavar="VERB")

    found = verbs.add_parser("list", help="show the bundles of the server's directory, latest first; * is served")
    options.add_common(found, "BundleList")
    found.set_defaults(run=_list)

    activate = verbs.add_parser("activate", help="serve a bundle, when it is loaded, tried and warm")
    activate.add_argument("name", metavar="NAME", help="name of its directory, as in the list")
    options.add_common(activate, "Activation", timeout_s=ACTIVATION_TIMEOUT_S)
    activate.set_defaults(run=_activate)

    rollback = verbs.add_parser("rollback", help="serve the bundle again that was served before")
    options.add_common(rollback, "Activation", timeout_s=ACTIVATION_TIMEOUT_S)
    rollback.set_defaults(run=_rollback)

    trial = verbs.add_parser("try", help="try a bundle beside the one that is served, for a share of the users")
    trial.add_argument("name", metavar="NAME", help="name of its directory, as in the list")
    trial.add_argument("--share", type=float, required=True, help="share of the users, more than 0, up to 1")
    shadow = "answer nobody from it: compare what it would have answered"
    trial.add_argument("--shadow", action="store_true", help=shadow)
    trial.add_argument("--variant", default="", help="what its answers are told to be of (default: NAME)")
    options.add_common(trial, "StartedTrial", timeout_s=ACTIVATION_TIMEOUT_S)
    trial.set_defaults(run=_try)

    end = verbs.add_parser("end-trial", help="end the trial, and show what came of it")
    options.add_common(end, "EndedTrial", timeout_s=ACTIVATION_TIMEOUT_S)
    end.set_defaults(run=_end_trial)

    status = commands.add_parser("status", help="show what the server is, what it serves and what it keeps")
    options.add_common(status, "Status")
    status.set_defaults(run=_status)


def _status(client: Client, _: argparse.Namespace) -> Status:
    return client.status()


def _list(client: Client, _: argparse.Namespace) -> BundleList:
    return client.list_bundles()


def _activate(client: Client, arguments: argparse.Namespace) -> Activation:
    return client.activate_bundle(arguments.name, timeout_s=arguments.timeout)


def _rollback(client: Client, arguments: argparse.Namespace) -> Activation:
    return client.rollback_bundle(timeout_s=arguments.timeout)


def _try(client: Client, arguments: argparse.Namespace) -> StartedTrial:
    mode = TrialMode.SHADOW if arguments.shadow else TrialMode.SPLIT
    return client.start_trial(
        arguments.name, share=arguments.share, mode=mode, variant=arguments.variant, timeout_s=arguments.timeout
    )


def _end_trial(client: Client, arguments: argparse.Namespace) -> EndedTrial:
    return client.end_trial(timeout_s=arguments.timeout)
