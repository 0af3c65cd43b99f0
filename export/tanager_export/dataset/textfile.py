"""Text files that others wrote: UTF-8 or refused, a line at a time, numbered as an editor numbers them."""

from __future__ import annotations

import io
import itertools
import re
from typing import TYPE_CHECKING

from tqdm import tqdm

from tanager_export.dataset.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tanager_export.dataset.problem import Reporter

_BLOCK_BYTES = 1 << 20
_CONTROL_BYTES = bytes(byte for byte in range(32) if byte not in b"\t\n\r") + b"\x7f"

CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""What no identifier may contain: control characters and halves of surrogate pairs (JSON can spell both)."""

CONTROL_IN_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""What no text may contain: the same, less tabs and line breaks."""


def text_lines(path: Path, report: Reporter, *, encoding: str = "utf-8", progress: bool = False) -> Iterator[str]:
    r"""Yield the lines of a file with their ends, `\n`, `\r\n` or `\r`, as they are.

    Ends after reporting the first byte that is not text in this encoding, or a control character other than a
    tab: nothing beyond it can be trusted.

    Args:
        path: The file.
        report: Told what is wrong.
        encoding: Of the file; a UTF-8 byte order mark is dropped.
        progress: Whether to show a bar on stderr, if that is a terminal.
    """
    # Whole blocks rather than lines: decoding and looking for control characters then cost next to nothing.
    blocks = _text_blocks(path, report, encoding, progress)
    return itertools.chain.from_iterable(io.StringIO(block, newline="") for block in blocks)


def _text_blocks(path: Path, report: Reporter, encoding: str, progress: bool) -> Iterator[str]:
    line = 1
    try:
        with (
            path.open("rb") as file,
            tqdm(
                total=path.stat().st_size,
                desc=path.name,
                unit="B",
                unit_scale=True,
                leave=False,
                disable=None if progress else True,
            ) as bar,
        ):
            # A block ends with a line, so no character is cut in two.
            while block := file.read(_BLOCK_BYTES) + file.readline():
                if bar.n == 0:
                    block = block.removeprefix(b"\xef\xbb\xbf")
                if len(block.translate(None, _CONTROL_BYTES)) != len(block):
                    at = next(i for i, byte in enumerate(block) if byte in _CONTROL_BYTES)
                    place = line + block.count(b"\n", 0, at)
                    message = f"control character 0x{block[at]:02x}"
                    report(Problem(path.name, place, "control-character", message, "remove it, or save as UTF-8 text"))
                    return
                try:
                    text = block.decode(encoding)
                except UnicodeDecodeError as error:
                    column = error.start - (block.rfind(b"\n", 0, error.start) + 1) + 1
                    place = line + block.count(b"\n", 0, error.start)
                    message = f"byte {column} of the line (0x{block[error.start]:02x}) is not {encoding.upper()}"
                    report(Problem(path.name, place, "encoding", message, "save the file as UTF-8"))
                    return
                yield text
                line += block.count(b"\n")
                bar.update(len(block))
    except OSError as error:
        report(Problem(path.name, None, "unreadable", f"cannot be read ({error.strerror})"))
