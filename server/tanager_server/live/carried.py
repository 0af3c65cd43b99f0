"""Writes that are carried through when whoever asked for them has gone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tanager_server.state import Outcome


def carried(writing: Coroutine[None, None, Outcome], done: Callable[[], None]) -> asyncio.Task[Outcome]:
    """A task of a write, to be waited for behind a shield.

    Args:
        writing: writes.
        done: called once it has been applied, or has failed.
    """
    task = asyncio.create_task(writing, name="write")

    def end(task: asyncio.Task[Outcome]) -> None:
        done()
        if not task.cancelled():
            task.exception()  # of a caller who has gone: looked at, and let be

    task.add_done_callback(end)
    return task
