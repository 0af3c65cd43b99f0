"""What a frozen text encoder is worth by itself, and by a linear map to behaviour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg

from tanager_export.collaborative import binary_matrix, ease_weights
from tanager_export.errors import ExportError
from tanager_export.evaluation.baselines.behaviour import FromHistory, item_popularity, profile_matrix
from tanager_export.evaluation.baselines.itemknn import ItemToItem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tanager_export.dataset import AttributeValue, Dataset, Interactions
    from tanager_export.evaluation.cases import Histories, Parameter

_SUBSPACE_ITERATIONS = 6


class FrozenEncoder:
    """The cosine of an item's vector with the mean of the history's, weighted by recency.

    Whitening takes from the vectors what all texts share, which is known to help frozen encoders (Zhang et al., 2024).
    """

    name = "frozen-encoder"
    space: Mapping[str, Sequence[Parameter]] = {
        "whitening": ("none", "centre", "full"),
        "decay": (1.0, 0.95, 0.9, 0.8, 0.65, 0.5, 0.3),
    }

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        """A baseline for the catalogue that `vectors`, `(items, dim)`, are of."""
        self._vectors = vectors

    def fit(
        self, dataset: Dataset, train: Interactions, parameters: Mapping[str, Parameter], *, seed: int
    ) -> NearestToHistory:
        """Prepares the vectors; behaviour tells only what to show to whom nothing is known of.

        Args:
            dataset: The catalogue.
            train: Who took up what.
            parameters: `whitening`: "none", "centre" (less the mean) or "full" (and decorrelated); `decay` of the
                weight of a history's event for each event after it.
            seed: Nothing is random.

        Raises:
            ExportError: The vectors are of another catalogue.
        """
        del seed
        require_vectors(self._vectors, len(dataset.items))
        vectors = whitened(self._vectors, str(parameters["whitening"]))
        return NearestToHistory(vectors, item_popularity(train, len(dataset.items)), decay=float(parameters["decay"]))


class NearestToHistory(FromHistory):
    """Scores by the cosine with the mean of the history's vectors, each of length 1."""

    def __init__(self, vectors: NDArray[np.float32], popularity: NDArray[np.float32], *, decay: float) -> None:
        super().__init__(popularity)
        self._vectors = vectors
        self._decay = decay

    def score_known(
        self, histories: Histories, profiles: Sequence[Mapping[str, AttributeValue]]
    ) -> NDArray[np.float32]:
        """`(rows, items)`."""
        del profiles
        means = profile_matrix(histories, len(self._vectors), self._decay) @ self._vectors
        return np.asarray(_unit(means) @ self._vectors.T, np.float32)


class RidgeToEase:
    """EASE for items with behaviour; for the others, the weights that ridge regression reads from their text.

    The regression maps a vector to the item's column of EASE's B, or to its coordinates in the space of the leading
    singular vectors of B: then a column is a sum of few patterns, and there is less to get wrong.
    """

    name = "ridge-text-to-ease"
    space: Mapping[str, Sequence[Parameter]] = {
        "l2": (20.0, 50.0, 200.0, 500.0),
        "alpha": (0.3, 1.0, 3.0, 10.0),
        "rank": (0, 256),
        "decay": (1.0, 0.9, 0.75, 0.5),
        "cold_gain": (1.0, 2.0, 4.0, 8.0),
    }

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        """A baseline for the catalogue that `vectors`, `(items, dim)`, are of."""
        self._vectors = vectors

    def fit(
        self, dataset: Dataset, train: Interactions, parameters: Mapping[str, Parameter], *, seed: int
    ) -> ItemToItem:
        """Solves for EASE, and for the map from vectors to it.

        Args:
            dataset: The catalogue.
            train: Who took up what.
            parameters: `l2` of EASE; `alpha` of the ridge; `rank` of B that is learned, 0 for all of it; `decay` of the
                weight of a history's event for each event after it; `cold_gain`, by which the weights of items without
                behaviour are multiplied, for a ridge shrinks.
            seed: Nothing is random.

        Raises:
            ExportError: The vectors are of another catalogue, or there are too many items for a closed form.
        """
        del seed
        items = len(dataset.items)
        require_vectors(self._vectors, items)
        taken = binary_matrix(train, items)
        popularity = item_popularity(train, items)
        weights = ease_weights(taken, l2=float(parameters["l2"]))
        warm, cold = np.flatnonzero(popularity > 0), np.flatnonzero(popularity == 0)
        if len(warm) and len(cold):
            predicted = _predicted_columns(
                weights[np.ix_(warm, warm)],
                self._vectors[warm],
                self._vectors[cold],
                alpha=float(parameters["alpha"]),
                rank=int(parameters["rank"]),
            )
            weights[np.ix_(warm, cold)] = float(parameters["cold_gain"]) * predicted
        return ItemToItem(weights, popularity, decay=float(parameters["decay"]))


def whitened(vectors: NDArray[np.float32], how: str) -> NDArray[np.float32]:
    """`(items, dim)`, each of length 1: as they are, less their mean ("centre"), or decorrelated too ("full")."""
    if how == "none":
        return _unit(vectors)
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    if how == "full":
        variances, axes = linalg.eigh(centred.T @ centred / len(centred))
        # Directions in which almost nothing varies would be noise blown up.
        centred = centred @ axes / np.sqrt(np.maximum(variances, 1e-3 * variances.max()))
    return _unit(centred)


def require_vectors(vectors: NDArray[np.float32], items: int) -> None:
    """Refuses vectors of another catalogue."""
    if vectors.ndim != 2 or len(vectors) != items:
        raise ExportError(f"vectors of shape {vectors.shape} for {items:,} items: give one row for each item")


def _predicted_columns(
    weights: NDArray[np.float32],
    known: NDArray[np.float32],
    asked: NDArray[np.float32],
    *,
    alpha: float,
    rank: int,
) -> NDArray[np.float32]:
    """`(known, asked)`: the columns of B that the vectors of the asked items speak for."""
    # A constant column: a text that tells nothing deserves the mean of all columns.
    read, asked_read = (np.column_stack((part, np.ones(len(part)))).astype(np.float64) for part in (known, asked))
    smoother = linalg.solve(read.T @ read + alpha * np.eye(read.shape[1]), read.T, assume_a="pos")
    if 0 < rank < len(weights):
        patterns = _leading(weights, rank)
        return np.asarray(patterns @ (asked_read @ (smoother @ (weights.T @ patterns))).T, np.float32)
    return np.asarray((asked_read @ (smoother @ weights.T)).T, np.float32)


def _leading(weights: NDArray[np.float32], rank: int) -> NDArray[np.float32]:
    """`(items, rank)`: an orthonormal basis of about the leading left singular vectors, by subspace iteration."""
    basis = np.random.default_rng(0).standard_normal((len(weights), rank)).astype(np.float32)
    for _ in range(_SUBSPACE_ITERATIONS):
        basis = np.linalg.qr(weights @ (weights.T @ basis))[0]
    return basis


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows of length 1; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)
