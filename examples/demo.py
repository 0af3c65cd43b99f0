"""From a language model to recommendations over gRPC: makes the sample dataset, trains, exports, serves, and asks.

Run by `make demo`. Every step is a command or a call that you can repeat by hand; each is shown before it runs.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tanager import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tanager import Recommendations, SimilarItems

BIN = Path(sys.executable).parent


def main(directory: Path) -> None:
    """Runs the demo in a directory of its own."""
    began = time.monotonic()
    dataset, trained, bundle = directory / "dataset", directory / "run", directory / "bundle"
    run("tanager-export", "dataset", "sample", str(dataset), "--overwrite")
    # A run that is done is not done again; more epochs pay on more data. Simulated behaviour has no order to learn.
    run("tanager-export", "train", str(dataset), str(trained), "--epochs", "3", "--sequence-epochs", "0", "--overwrite")
    run("tanager-export", "bundle", str(trained), str(dataset), str(bundle), "--precision", "int8", "--overwrite")
    with server(bundle) as port, Client(f"127.0.0.1:{port}") as client:
        wish = "a thoughtful science-fiction novel about first contact"
        ask(f"client.recommend(text={wish!r}, page_size=5)")
        show(client.recommend(text=wish, page_size=5))

        history = ["film:spirited-away", "game:stardew-valley", "book:the-hobbit"]
        ask(f"client.recommend(history={history}, page_size=5, explain=True)")
        show(client.recommend(history=history, page_size=5, explain=True))

        ask("client.similar_items('film:blade-runner', page_size=5)")
        show(client.similar_items("film:blade-runner", page_size=5))

        ask("client.recommend(page_size=5)  # a user of whom nothing is known")
        show(client.recommend(page_size=5))

        status = client.status()
        note = (
            "The works are real; the behaviour behind these answers is simulated."
            if status.bundle.simulated_behaviour
            else ""
        )
    print(f"\nDone in {time.monotonic() - began:.0f} s. {note}")
    print("\nKeep the server running with `make serve`, then, from Python:\n")
    print("    from tanager import Client")
    print("    with Client('127.0.0.1:50051') as client:")
    print("        for item in client.recommend(text='a game about building a city'):")
    print("            print(item.rank, item.title)")
    print("\nor from a shell:  .venv/bin/tanager recommend 'a game about building a city'")


def run(*command: str) -> None:
    """Shows a command and runs it."""
    print(f"\n$ {' '.join(command)}", flush=True)
    if subprocess.run([BIN / command[0], *command[1:]], check=False).returncode:
        sys.exit(f"the demo stopped: {command[0]} failed; what it said is above")


@contextlib.contextmanager
def server(bundle: Path) -> Iterator[int]:
    """Runs a server until the end of the block, on a free port: the server logs which when it listens."""
    command = ["tanager-server", "--bundle", str(bundle), "--port", "0", "--metrics.enabled", "false"]
    print(f"\n$ {' '.join(command)}", flush=True)
    process = subprocess.Popen([BIN / command[0], *command[1:]], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            record = json.loads(line) if line.startswith("{") else {"message": line.rstrip()}
            if record["message"] == "listening":
                print(f"listening on port {record['port']} after {record['startup_s']:.1f} s")
                yield int(record["port"])
                return
            print(record["message"])
        sys.exit("the demo stopped: the server did not start; what it said is above")
    finally:
        process.terminate()
        process.communicate()


def ask(call: str) -> None:
    """Shows a call."""
    print(f"\n>>> {call}")


def show(answer: Recommendations | SimilarItems) -> None:
    """Prints a ranked list and how it came about."""
    for item in answer:
        found = ", ".join(source.value for source in item.sources)
        print(f"  {item.rank:>2}  {item.title:<45.45} {item.domain:<6} {item.score:>6.3f}  found by {found}")
        for reason in item.reasons:
            print(f"      {reason.contribution:>+7.3f}  {reason.kind.value} {reason.title or reason.attribute}")
    print(f"      strategy {answer.strategy.value}; encoded in {answer.timing.encode_us / 1000:.1f} ms")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
