"""EASE and what is known to make it better: the linear autoencoder in closed form that is hard to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg, sparse

from tanager_export.errors import ExportError
from tanager_export.evaluation.baselines.behaviour import binary_matrix, item_popularity
from tanager_export.evaluation.baselines.itemknn import ItemToItem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tanager_export.dataset import Dataset, Interactions
    from tanager_export.evaluation.cases import Parameter

MAX_ITEMS = 20_000
"""With a like: a matrix of items x items is inverted, in 3 GB."""

_CHUNK = 512


class Ease:
    """EASE (Steck, 2019), with the options that later work found to pay.

    `dropout` is the denoising of Steck (2020), which regularises an item by its popularity; `user_exponent` counts a
    user of n items n^-exponent times; `decay` weighs the history by recency. All off (0, 0, 1) is EASE as published.
    """

    name = "ease"
    space: Mapping[str, Sequence[Parameter]] = {
        "l2": (5.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0),
        "dropout": (0.0, 0.25, 0.5),
        "user_exponent": (0.0, 0.5),
        "decay": (1.0, 0.9, 0.75, 0.5),
    }

    def fit(
        self, dataset: Dataset, train: Interactions, parameters: Mapping[str, Parameter], *, seed: int
    ) -> ItemToItem:
        """Solves for the item-item weights.

        Args:
            dataset: The catalogue.
            train: Who took up what.
            parameters: `l2`; `dropout`, the share of a history hidden in learning; `user_exponent`; `decay` of the
                weight of a history's event for each event after it.
            seed: Nothing is random.

        Raises:
            ExportError: There are too many items for a closed form.
        """
        del seed
        items = len(dataset.items)
        weights = ease_weights(
            binary_matrix(train, items),
            l2=float(parameters["l2"]),
            dropout=float(parameters["dropout"]),
            user_exponent=float(parameters["user_exponent"]),
        )
        return ItemToItem(weights, item_popularity(train, items), decay=float(parameters["decay"]))


def ease_weights(
    taken: sparse.csr_array, *, l2: float, dropout: float = 0.0, user_exponent: float = 0.0
) -> NDArray[np.float32]:
    """`(items, items)`: B = I - P / diag(P), P = (G + L)^-1, with a zero diagonal; 0 for items that nobody took up.

    Args:
        taken: `(users, items)`, 1 where a user took up an item.
        l2: In L = l2 I + dropout / (1 - dropout) diag(G).
        dropout: At least 0, below 1.
        user_exponent: In G = X' diag(n^-exponent) X, n the number of a user's items, scaled back to the mean.

    Raises:
        ExportError: More than `MAX_ITEMS` items were taken up.
    """
    warm = np.flatnonzero(np.asarray(taken.sum(axis=0)).ravel() > 0)
    weights = np.zeros((taken.shape[1], taken.shape[1]), np.float32)
    if len(warm) == 0:
        return weights
    if len(warm) > MAX_ITEMS:
        raise ExportError(f"{len(warm):,} items were taken up; EASE inverts a matrix for {MAX_ITEMS:,} at most")
    lengths = np.maximum(np.asarray(taken.sum(axis=1)).ravel(), 1)
    of_user = lengths ** (-user_exponent / 2)
    of_user *= np.sqrt(lengths.sum() / (lengths * of_user**2).sum())  # as many likes in all, so that l2 means the same
    scaled = (sparse.diags_array(of_user) @ taken[:, warm]).astype(np.float64)
    gram = (scaled.T @ scaled).toarray()
    gram[np.diag_indices_from(gram)] *= 1 + dropout / (1 - dropout)
    gram[np.diag_indices_from(gram)] += l2
    # LAPACK works on columns, and a symmetric matrix is its own transpose.
    factor, _ = linalg.lapack.dpotrf(gram.T, lower=1, overwrite_a=1)
    inverse = linalg.lapack.dpotri(factor, lower=1, overwrite_c=1)[0]
    diagonal = np.diag(inverse).copy()
    for start in range(0, len(warm), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(warm)))
        # Only the lower triangle is filled.
        symmetric = np.where(np.arange(len(warm)) <= rows[:, None], inverse[rows], inverse.T[rows])
        block = -symmetric / diagonal
        block[np.arange(len(rows)), rows] = 0
        weights[np.ix_(warm[rows], warm)] = block
    return weights
