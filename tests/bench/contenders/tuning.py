"""What a serving framework is told: how to batch, and on how many processes and threads."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_PREFIX = "BENCH_"


@dataclass(frozen=True, slots=True)
class Tuning:
    """What a framework is told, through the environment, for its worker processes import its module anew.

    Attributes:
        max_batch_size: requests in a batch.
        workers: processes that encode.
        threads: of the encoder in each.
        max_wait_ms: how long a batch waits to fill, where that can be said.
        run_size: texts encoded at a time: a batch is sorted by length and cut into runs, which saves padding; 0 encodes
            it whole, as it comes.
    """

    max_batch_size: int
    workers: int
    threads: int
    max_wait_ms: int = 0
    run_size: int = 0

    def environment(self, bundle: Path) -> dict[str, str]:
        """As variables."""
        values = {"bundle": bundle.resolve(), **{name: getattr(self, name) for name in self.__dataclass_fields__}}
        return {f"{_PREFIX}{name.upper()}": str(value) for name, value in values.items()}

    @classmethod
    def from_environment(cls) -> Self:
        """What `environment` made."""
        return cls(**{name: int(os.environ[f"{_PREFIX}{name.upper()}"]) for name in cls.__dataclass_fields__})

    def __str__(self) -> str:
        cut = f", sorted into runs of {self.run_size}" if self.run_size else ""
        wait = f", wait {self.max_wait_ms} ms" if self.max_wait_ms else ""
        return f"batch {self.max_batch_size}{wait}{cut}, {self.workers} x {self.threads} threads"


def bundle_from_environment() -> Path:
    """The bundle that `Tuning.environment` named."""
    return Path(os.environ[f"{_PREFIX}BUNDLE"])
