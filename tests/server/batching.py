"""What the tests of the batcher share beside their fixtures."""

from __future__ import annotations


def text(name: int, length: int = 4) -> list[int]:
    """Tokens of a text that `name` tells from others."""
    return [name] * length


async def busy(submit, gate):
    """Gives the encoder something to do, so that what comes next has to wait."""
    await submit(text(0))
    assert gate.busy
