"""ItemKNN: items like those of the history, by who took them up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from tanager_export.collaborative import binary_matrix
from tanager_export.evaluation.baselines.behaviour import FromHistory, item_popularity, profile_matrix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tanager_export.dataset import AttributeValue, Dataset, Interactions
    from tanager_export.evaluation.cases import Histories, Parameter

_CHUNK = 512
_BM25_K1 = 1.2


class ItemKNN:
    """Sums the similarities of an item with those of the history, over each item's nearest neighbours.

    The similarity of two items is the cosine of their users, shrunk towards 0 where few users speak for it. With
    "bm25" users who took up much count for less, and items by how rare they are, as in text retrieval.
    """

    name = "item-knn"
    space: Mapping[str, Sequence[Parameter]] = {
        "similarity": ("cosine", "bm25"),
        "neighbours": (20, 50, 100, 200, 500),
        "shrinkage": (0.0, 3.0, 10.0, 30.0, 100.0),
        "decay": (1.0, 0.9, 0.75, 0.5),
    }

    def fit(
        self, dataset: Dataset, train: Interactions, parameters: Mapping[str, Parameter], *, seed: int
    ) -> ItemToItem:
        """Computes the similarities of all pairs, by blocks.

        Args:
            dataset: The catalogue.
            train: Who took up what.
            parameters: `similarity`: "cosine" or "bm25"; `neighbours` kept for an item; `shrinkage` in users;
                `decay` of the weight of a history's event for each event after it.
            seed: Nothing is random.
        """
        del seed
        items = len(dataset.items)
        taken = binary_matrix(train, items)
        weighted = _bm25(taken) if parameters["similarity"] == "bm25" else taken
        similarity = nearest(
            weighted, taken, neighbours=int(parameters["neighbours"]), shrinkage=float(parameters["shrinkage"])
        )
        return ItemToItem(similarity, item_popularity(train, items), decay=float(parameters["decay"]))


class ItemToItem(FromHistory):
    """Scores by a matrix of item-item weights: `(items, items)`, from a row's item in the history to a column's."""

    def __init__(
        self, weights: sparse.csr_array | NDArray[np.float32], popularity: NDArray[np.float32], *, decay: float
    ) -> None:
        super().__init__(popularity)
        self._weights = weights
        self._decay = decay

    def score_known(
        self, histories: Histories, profiles: Sequence[Mapping[str, AttributeValue]]
    ) -> NDArray[np.float32]:
        """`(rows, items)`."""
        del profiles
        scores = profile_matrix(histories, len(self._popularity), self._decay) @ self._weights
        return np.asarray(scores.toarray() if sparse.issparse(scores) else scores, np.float32)


def nearest(
    weighted: sparse.csr_array, taken: sparse.csr_array, *, neighbours: int, shrinkage: float
) -> sparse.csr_array:
    """`(items, items)`: the shrunk cosines of the columns of `weighted`, each column's largest, without the diagonal.

    Args:
        weighted: `(users, items)`, not negative.
        taken: The same, 1 where it is not 0: it counts the users who speak for a pair.
        neighbours: Kept for each item.
        shrinkage: A cosine that `n` users speak for counts `n / (n + shrinkage)`.
    """
    items = weighted.shape[1]
    norms = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=0)).ravel())
    unit = sparse.csr_array(weighted @ sparse.diags_array(1 / np.where(norms > 0, norms, 1)))
    of_item, taken_of_item = unit.T.tocsr(), taken.T.tocsr()
    kept = []
    for start in range(0, items, _CHUNK):
        block = (of_item[start : start + _CHUNK] @ unit).toarray()
        if shrinkage > 0:
            together = (taken_of_item[start : start + _CHUNK] @ taken).toarray()
            block *= together / (together + shrinkage)
        rows = np.arange(len(block))
        block[rows, start + rows] = 0
        if neighbours < items:
            columns = np.argpartition(-block, neighbours - 1, axis=1)[:, :neighbours]
        else:
            columns = np.tile(np.arange(items), (len(block), 1))
        values = np.take_along_axis(block, columns, axis=1)
        row = np.repeat(rows, columns.shape[1])
        part = sparse.csr_array((values.ravel(), (row, columns.ravel())), shape=block.shape, dtype=np.float32)
        part.eliminate_zeros()
        kept.append(part)
    # Row i of a block holds the neighbours of i: they vote for i.
    return sparse.csr_array(sparse.vstack(kept).T.tocsr())


def _bm25(taken: sparse.csr_array, b: float = 0.75) -> sparse.csr_array:
    """Okapi BM25 with items as terms and users as documents: common items and users of many items count for less."""
    users = np.asarray(taken.sum(axis=0)).ravel()
    lengths = np.asarray(taken.sum(axis=1)).ravel()
    rarity = np.log1p((len(lengths) - users + 0.5) / (users + 0.5))
    saturation = (_BM25_K1 + 1) / (1 + _BM25_K1 * (1 - b + b * lengths / max(float(lengths.mean()), 1e-9)))
    return sparse.csr_array(sparse.diags_array(saturation) @ taken @ sparse.diags_array(rarity)).astype(np.float32)
