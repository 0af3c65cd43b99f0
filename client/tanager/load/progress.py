"""Tells on standard error how a run goes."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from tanager.load.measurement import percentile

if TYPE_CHECKING:
    from tanager.load.runner import Run

_TERMINAL_PERIOD_S = 0.5
_PERIOD_S = 5.0
_CLEAR_LINE = "\r\x1b[K"


class Progress:
    """One line that is written over on a terminal; elsewhere a line every few seconds."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown = False

    def say(self, text: str) -> None:
        """Writes a line that stays."""
        self._write(f"{text}\n")
        self._shown = False

    async def watch(self, run: Run, prefix: str, duration_s: float | None, count: int | None) -> None:
        """Tells of a run until it is cancelled."""
        seen, waited_s, ending = 0, 0.0, False
        try:
            while True:
                await asyncio.sleep(_TERMINAL_PERIOD_S)
                waited_s += _TERMINAL_PERIOD_S
                if not self._terminal and waited_s < _PERIOD_S and run.interrupted == ending:
                    continue
                recorder, until = run.recorder, len(run.recorder)
                latencies = sorted(recorder.latency_s[seen:until])
                errors = sum(map(bool, recorder.status[seen:until]))
                line = f"{prefix}{_position(run, duration_s, count)}  {len(latencies) / waited_s:,.0f} answers/s"
                seen, waited_s, ending = until, 0.0, run.interrupted
                if latencies:
                    p50_ms, p99_ms = percentile(latencies, 50) * 1e3, percentile(latencies, 99) * 1e3
                    line += f"  p50 {p50_ms:.1f} ms  p99 {p99_ms:.1f} ms"
                line += f"  in flight {run.in_flight:,}"
                if errors:
                    line += f"  errors {errors / len(latencies):.1%}"
                self._write(line if self._terminal else f"{line}\n")
                self._shown = self._terminal
        finally:
            if self._shown:
                self._write("")
                self._shown = False

    def _write(self, text: str) -> None:
        print(f"{_CLEAR_LINE}{text}" if self._terminal else text, end="", file=sys.stderr, flush=True)


def _position(run: Run, duration_s: float | None, count: int | None) -> str:
    if run.interrupted:
        return "ending, Ctrl-C again to drop what is in flight"
    if run.elapsed_s < 0:
        return f"warm-up, {-run.elapsed_s:.0f} s left"
    if duration_s is not None:
        return f"{int(min(run.elapsed_s, duration_s))} of {duration_s:g} s"
    assert count is not None
    return f"{int(run.elapsed_s)} s of {count:,} calls"
