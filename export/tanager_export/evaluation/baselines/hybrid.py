"""A hybrid factorisation of LightFM's class: items and users are sums of what is known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse
from torch import nn

from tanager_export.collaborative import binary_matrix
from tanager_export.evaluation.baselines.behaviour import (
    FromHistory,
    item_popularity,
    profile_matrix,
    require_likes,
    sequences,
)
from tanager_export.evaluation.baselines.features import ProfileFeatures, item_features
from tanager_export.evaluation.baselines.training import device, hold_out, ndcg, seeded, train_until_best

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tanager_export.dataset import AttributeValue, Dataset, Interactions
    from tanager_export.evaluation.baselines.features import Bags
    from tanager_export.evaluation.cases import Histories, Parameter

_EPOCHS = 100
_USERS_A_BATCH = 256
_PROFILE_ALONE = 0.2
"""Of the users in learning who have a profile, as many are shown by it alone."""


class Hybrid:
    """Items as sums of the embeddings of their features, users as those of their profile and their history.

    As in LightFM (Kula, 2015) an item's features are itself, its categories and the words of its text. A user is not
    a feature of their own, since those asked for may be new, and the loss is a softmax over the catalogue, stronger
    than WARP's sampled pairs: the held-back part of a history is to be told from the rest of it.
    """

    name = "hybrid-mf"
    space: Mapping[str, Sequence[Parameter]] = {
        "dim": (64, 128, 256),
        "learning_rate": (0.001, 0.003, 0.01),
        "held_back": (0.3, 0.5, 0.7),
        "weight_decay": (0.0, 0.01, 0.1),
        "decay": (1.0, 0.9, 0.75),
    }

    def fit(
        self, dataset: Dataset, train: Interactions, parameters: Mapping[str, Parameter], *, seed: int
    ) -> HybridScores:
        """Learns by AdamW, and stops on the last like of some users.

        Args:
            dataset: The catalogue, and the profiles of the users in `train`.
            train: Who took up what.
            parameters: `dim` of the embeddings; `learning_rate`; `held_back`, the share of a history that is to be
                told from the rest; `weight_decay`; `decay` of the weight of a history's event for each event after it.
            seed: Of the first weights, the order of the data, what is held back, and who is held out.

        Raises:
            ExportError: There is nothing to learn from.
        """
        items = len(dataset.items)
        require_likes(binary_matrix(train, items), self.name)
        held_out = hold_out(sequences(train), seed=seed)
        taken = profile_matrix(held_out.learn, items)
        present = np.flatnonzero(np.diff(taken.indptr))
        attributes = {user.id: user.attributes for user in dataset.users}
        of_user = [attributes.get(user, {}) for user in train.user_ids]
        profiles = ProfileFeatures([of_user[row] for row in present.tolist()])
        told = _matrix(profiles.bags(of_user))
        popularity = item_popularity(train, items)
        random = np.random.default_rng(seed)
        with seeded(seed):
            model = _Model(item_features(dataset.items), popularity, len(profiles), dim=int(parameters["dim"]))
            model.to(device())
            optimizer = torch.optim.AdamW(
                model.parameters(),
                lr=float(parameters["learning_rate"]),
                weight_decay=float(parameters["weight_decay"]),
            )
            recommender = HybridScores(model, profiles, popularity, decay=float(parameters["decay"]))

            def epoch() -> None:
                rows = random.permutation(present)
                for start in range(0, len(rows), _USERS_A_BATCH):
                    batch = rows[start : start + _USERS_A_BATCH]
                    shown, wanted = _held_back(taken[batch], told[batch], float(parameters["held_back"]), random)
                    optimizer.zero_grad(set_to_none=True)
                    torch.autograd.backward(model.loss(shown, told[batch], wanted))
                    optimizer.step()

            def quality() -> float:
                scores = recommender.score_known(held_out.known, [of_user[row] for row in held_out.row.tolist()])
                return ndcg(scores, held_out.known, held_out.target)

            train_until_best(model, epoch, quality if len(held_out.target) else None, epochs=_EPOCHS)
        return recommender


class HybridScores(FromHistory):
    """Scores from a history, a profile, or both."""

    def __init__(
        self, model: _Model, profiles: ProfileFeatures, popularity: NDArray[np.float32], *, decay: float
    ) -> None:
        super().__init__(popularity)
        self._model = model
        self._profiles = profiles
        self._decay = decay

    def knows(self, histories: Histories, profiles: Sequence[Mapping[str, AttributeValue]]) -> NDArray[np.bool_]:
        """`(rows,)`: who has a history, or a profile with anything that was met in learning."""
        told = self._profiles.bags(profiles)
        return (histories.lengths > 0) | (np.diff(told.indptr) > 0)

    @torch.inference_mode()
    def score_known(
        self, histories: Histories, profiles: Sequence[Mapping[str, AttributeValue]]
    ) -> NDArray[np.float32]:
        """`(rows, items)`."""
        self._model.eval()
        shown = profile_matrix(histories, len(self._popularity), self._decay)
        logits: torch.Tensor = self._model(shown, _matrix(self._profiles.bags(profiles)))
        return np.asarray(logits.cpu().numpy(), np.float32)


class _Model(nn.Module):
    """Logits of items for users; items that nobody took up are known by their features alone."""

    def __init__(self, features: Bags, popularity: NDArray[np.float32], profile_features: int, *, dim: int) -> None:
        super().__init__()
        cold = popularity == 0
        items = len(popularity)
        weight = features.weight.copy()
        weight[(features.feature < items) & cold[np.minimum(features.feature, items - 1)]] = 0
        self.register_buffer("indptr", torch.from_numpy(features.indptr))
        self.register_buffer("feature", torch.from_numpy(features.feature))
        self.register_buffer("weight", torch.from_numpy(weight))
        self.register_buffer("cold", torch.from_numpy(cold))
        self.read = nn.EmbeddingBag(features.count, dim, mode="sum", include_last_offset=True)
        self.offered = nn.EmbeddingBag(features.count, dim, mode="sum", include_last_offset=True)
        self.bias = nn.EmbeddingBag(features.count, 1, mode="sum", include_last_offset=True)
        self.profile = nn.Embedding(max(profile_features, 1), dim)
        for table in (self.read, self.offered, self.profile):
            nn.init.normal_(table.weight, std=0.5 * dim**-0.5)
        nn.init.zeros_(self.bias.weight)
        with torch.no_grad():
            share = torch.from_numpy(np.log((popularity + 1) / (popularity + 1).mean()))
            self.bias.weight[:items, 0] = torch.where(torch.from_numpy(cold), 0.0, share)

    def forward(self, shown: sparse.csr_array, told: sparse.csr_array) -> torch.Tensor:
        """`(rows, items)`.

        Args:
            shown: `(rows, items)`, the weights of the history.
            told: `(rows, profile features)`.
        """
        read = self._items(self.read)
        # Neither the mean, which makes all histories as long, nor the sum: the weights of a history are of length 1.
        length = np.sqrt(np.asarray(shown.multiply(shown).sum(axis=1)).ravel())
        user = torch.sparse.mm(_tensor(sparse.diags_array(1 / np.where(length > 0, length, 1)) @ shown, read), read)
        if told.shape[1]:
            user = user + torch.sparse.mm(_tensor(told, read), self.profile.weight)
        logits: torch.Tensor = user @ self._items(self.offered).T + self._items(self.bias)[:, 0]
        return logits

    def loss(self, shown: sparse.csr_array, told: sparse.csr_array, wanted: sparse.csr_array) -> torch.Tensor:
        """Mean cross-entropy of what is held back, each user counting once, among what anybody took up."""
        logits = self(shown, told).masked_fill(self.cold, -torch.inf)
        likelihood = torch.log_softmax(logits, dim=1)
        rows = np.repeat(np.arange(wanted.shape[0]), np.diff(wanted.indptr))
        share = torch.from_numpy((1 / np.diff(wanted.indptr)[rows] / wanted.shape[0]).astype(np.float32))
        at = (
            torch.from_numpy(rows).to(logits.device),
            torch.from_numpy(wanted.indices.astype(np.int64)).to(logits.device),
        )
        return -(likelihood[at] * share.to(logits.device)).sum()

    def _items(self, table: nn.EmbeddingBag) -> torch.Tensor:
        embedded: torch.Tensor = table(self.feature, self.indptr, per_sample_weights=self.weight)
        return embedded


def _held_back(
    taken: sparse.csr_array, told: sparse.csr_array, share: float, random: np.random.Generator
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """What is shown of some rows, and what is to be told from it: an item of each at least."""
    rows = np.repeat(np.arange(taken.shape[0]), np.diff(taken.indptr))
    draw = random.random(len(rows))
    alone = (np.diff(told.indptr) > 0) & (random.random(taken.shape[0]) < _PROFILE_ALONE)
    lowest = np.full(taken.shape[0], np.inf)
    np.minimum.at(lowest, rows, draw)
    highest = np.zeros(taken.shape[0])
    np.maximum.at(highest, rows, draw)
    wanted = ((draw < share) & (draw < highest[rows])) | (draw == lowest[rows]) | alone[rows]
    parts = []
    for keep in (~wanted, wanted):
        indptr = np.concatenate(([0], np.cumsum(keep)))[taken.indptr]
        parts.append(sparse.csr_array((taken.data[keep], taken.indices[keep], indptr), shape=taken.shape))
    return parts[0], parts[1]


def _matrix(bags: Bags) -> sparse.csr_array:
    """`(rows, features)`, each row of length 1."""
    matrix = sparse.csr_array((bags.weight, bags.feature, bags.indptr), shape=(len(bags.indptr) - 1, bags.count))
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return sparse.csr_array(sparse.diags_array(1 / np.where(length > 0, length, 1)) @ matrix)


def _tensor(matrix: sparse.sparray, like: torch.Tensor) -> torch.Tensor:
    """As Torch multiplies it, beside another tensor."""
    entries = matrix.tocoo()
    where = torch.from_numpy(np.stack(entries.coords).astype(np.int64))
    values = torch.from_numpy(entries.data.astype(np.float32))
    return torch.sparse_coo_tensor(where, values, entries.shape, check_invariants=False).to(like.device)
