"""The bundle's sequence head on ONNX Runtime: what a history read out says comes next. Synchronous and thread-safe."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np

from tanager_server.bundle import manifest as schema
from tanager_server.errors import BundleError
from tanager_server.runtime.session import open_cpu_session

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tanager_server.bundle import Bundle

_INPUTS = {"item_vectors", "events"}


class SequenceHead:
    """A small causal transformer over item vectors.

    It runs where it is called: for one history it takes less time than handing it to a thread.

    Args:
        model_path: ONNX file mapping `item_vectors (batch, events, dim) float32`, histories that end together, and
            `events (batch,) int64`, how many of each row there are, to `(batch, dim) float32`.
        vectors: (items, dim) float32, unit length; the product with what the head gives is the item's score.
        max_events: events that it reads of a history, the latest.

    Raises:
        BundleError: the file is no such model.
    """

    def __init__(self, model_path: Path, vectors: NDArray[np.float32], *, max_events: int) -> None:
        self._vectors, self.max_events = vectors, max_events
        self._session = open_cpu_session(model_path, threads=1)
        names = {node.name for node in self._session.get_inputs()}
        if names != _INPUTS or len(self._session.get_outputs()) != 1:
            raise BundleError(f"{model_path}: expected inputs {sorted(_INPUTS)} and one output, found {sorted(names)}")
        some = np.resize(np.arange(len(vectors)), max_events).tolist()  # as long as a history may be
        try:
            found = self.expect([some, some[:1], []])
        except Exception as error:  # ONNX Runtime's exceptions share no root but this
            fits = f"{max_events} vectors of dim {vectors.shape[1]}"
            raise BundleError(f"{model_path}: cannot read {fits}: {error}") from error
        if found.shape != (3, vectors.shape[1]) or not np.isfinite(found).all() or found[2].any():
            raise BundleError(
                f"{model_path}: gives no vectors of dim {vectors.shape[1]}, or numbers that are none, or something for "
                "an empty history; export the bundle again"
            )

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> SequenceHead | None:
        """Opens the head of a verified bundle; None where it has none."""
        info = bundle.manifest.sequence
        if info is None:
            return None
        return cls(bundle.file(schema.SEQUENCE), bundle.read_sequence_vectors(), max_events=info.max_events)

    def over(self, vectors: NDArray[np.float32]) -> SequenceHead:
        """The same head, reading histories of the items of other (rows, dim) vectors."""
        other = copy.copy(self)
        other._vectors = vectors  # noqa: SLF001
        return other

    def expect(self, histories: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """(histories, dim) float32: the vector of what comes next after each history; 0 after an empty one.

        Args:
            histories: positions in the catalogue of what was taken up, oldest first; the latest `max_events` count.
        """
        latest = [history[-self.max_events :] for history in histories]
        events = np.array([len(history) for history in latest], dtype=np.int64)
        longest = max(int(events.max(initial=0)), 1)
        read = np.zeros((len(latest), longest, self._vectors.shape[1]), dtype=np.float32)
        for row, history in enumerate(latest):
            if history:
                read[row, longest - len(history) :] = self._vectors[list(history)]
        (found,) = self._session.run(None, {"item_vectors": read, "events": events})
        return np.asarray(found, dtype=np.float32)
