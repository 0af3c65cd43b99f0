"""Copies a state over and over, until it is killed: a part of `tests.bench.chaos`.

python -m tests.bench.backing_up STATE BACKUPS
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import NoReturn

from tanager_server.state.backup import back_up
from tanager_server.state.schema import FILE

_PAUSE_S = 0.01


def main(directory: Path, backups: Path) -> NoReturn:
    """What `Store.backup` does, from beside the server."""
    number = 0
    while True:
        time.sleep(_PAUSE_S)
        if (directory / FILE).exists():
            number += 1
            back_up(directory / FILE, backups / f"backup-{number}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
