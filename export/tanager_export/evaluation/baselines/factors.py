"""iALS and BPR, learned by the library `implicit`; users are folded in from their histories."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from tanager_export.collaborative import binary_matrix
from tanager_export.errors import ExportError
from tanager_export.evaluation.baselines.behaviour import FromHistory, item_popularity, profile_matrix, require_likes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tanager_export.dataset import AttributeValue, Dataset, Interactions
    from tanager_export.evaluation.cases import Histories, Parameter

_ALS_ITERATIONS = 15
_FOLD_IN_STEPS = 20
_FOLD_IN_ROWS = 256
_NEGATIVES = 128


class IALS:
    """Implicit alternating least squares (Hu et al., 2008), over the space that Rendle et al. (2021) ask for."""

    name = "ials"
    space: Mapping[str, Sequence[Parameter]] = {
        "factors": (32, 64, 128, 256),
        "regularization": (0.1, 1.0, 3.0, 10.0, 30.0, 100.0),
        "alpha": (1.5, 3.0, 6.0, 12.0, 25.0, 50.0),
        "decay": (1.0, 0.9, 0.75),
    }

    def fit(
        self, dataset: Dataset, train: Interactions, parameters: Mapping[str, Parameter], *, seed: int
    ) -> FoldedALS:
        """Factorises the likes.

        Args:
            dataset: The catalogue.
            train: Who took up what.
            parameters: `factors`; `regularization`; `alpha`, the confidence in a like where that in its absence is 1;
                `decay` of the confidence in a history's event for each event after it.
            seed: Of the first factors.

        Raises:
            ExportError: `implicit` is not installed, or there is nothing to learn from.
        """
        items = len(dataset.items)
        taken = binary_matrix(train, items)
        require_likes(taken, self.name)
        library = _library("als")
        with _blas_alone():
            model = library.AlternatingLeastSquares(
                factors=int(parameters["factors"]),
                regularization=float(parameters["regularization"]),
                alpha=float(parameters["alpha"]),
                iterations=_ALS_ITERATIONS,
                random_state=seed,
                use_gpu=False,
            )
            model.fit(sparse.csr_matrix(taken), show_progress=False)
        return FoldedALS(model, item_popularity(train, items), decay=float(parameters["decay"]))


class FoldedALS(FromHistory):
    """A user's factors are the least squares of the history given the items' factors."""

    def __init__(self, model: Any, popularity: NDArray[np.float32], *, decay: float) -> None:  # noqa: ANN401
        super().__init__(popularity)
        self._model = model
        self._decay = decay

    def score_known(
        self, histories: Histories, profiles: Sequence[Mapping[str, AttributeValue]]
    ) -> NDArray[np.float32]:
        """`(rows, items)`."""
        del profiles
        taken = sparse.csr_matrix(profile_matrix(histories, len(self._popularity), self._decay))
        with _blas_alone():
            users = self._model.recalculate_user(np.arange(len(histories)), taken)
        return np.asarray(users @ self._model.item_factors.T, np.float32)


class BPR:
    """Bayesian personalised ranking (Rendle et al., 2009): what was taken up before what was not, pair by pair."""

    name = "bpr"
    space: Mapping[str, Sequence[Parameter]] = {
        "factors": (32, 64, 128),
        "learning_rate": (0.01, 0.03, 0.1),
        "regularization": (0.01, 0.03),
        "iterations": (100, 300),
        "fold_in_regularization": (0.01, 0.03, 0.1, 0.3),
        "decay": (1.0, 0.9, 0.75),
    }

    def fit(
        self, dataset: Dataset, train: Interactions, parameters: Mapping[str, Parameter], *, seed: int
    ) -> FoldedBPR:
        """Learns from pairs drawn at random, on one thread: several would race each other, and not repeat.

        Args:
            dataset: The catalogue.
            train: Who took up what.
            parameters: `factors`; `learning_rate`; `regularization`; `iterations` over all likes;
                `fold_in_regularization` of a user's factors, best far greater where histories are long; `decay` of the
                weight of a history's event for each event after it.
            seed: Of the first factors and the pairs.

        Raises:
            ExportError: `implicit` is not installed, or there is nothing to learn from.
        """
        items = len(dataset.items)
        taken = binary_matrix(train, items)
        require_likes(taken, self.name)
        library = _library("bpr")
        with _blas_alone():
            model = library.BayesianPersonalizedRanking(
                factors=int(parameters["factors"]),
                learning_rate=float(parameters["learning_rate"]),
                regularization=float(parameters["regularization"]),
                iterations=int(parameters["iterations"]),
                num_threads=1,
                random_state=seed,
                use_gpu=False,
            )
            model.fit(sparse.csr_matrix(taken), show_progress=False)
        popularity = item_popularity(train, items)
        # What is not taken up is drawn by popularity, as the library does.
        negatives = np.random.default_rng(seed).choice(taken.indices, _NEGATIVES)
        return FoldedBPR(
            np.asarray(model.item_factors, np.float32),
            negatives,
            popularity,
            regularization=float(parameters["fold_in_regularization"]),
            decay=float(parameters["decay"]),
        )


class FoldedBPR(FromHistory):
    """A user's factors maximise BPR's likelihood of the history given the items' factors, against fixed negatives."""

    def __init__(
        self,
        item_factors: NDArray[np.float32],
        negatives: NDArray[np.int64],
        popularity: NDArray[np.float32],
        *,
        regularization: float,
        decay: float,
    ) -> None:
        super().__init__(popularity)
        self._factors, self._bias = item_factors[:, :-1], item_factors[:, -1]  # the library's last column is the bias
        self._negatives = negatives
        self._regularization = regularization
        self._decay = decay

    def score_known(
        self, histories: Histories, profiles: Sequence[Mapping[str, AttributeValue]]
    ) -> NDArray[np.float32]:
        """`(rows, items)`."""
        del profiles
        chunks = range(0, len(histories), _FOLD_IN_ROWS)
        users = np.concatenate([self._fold_in(histories.take(slice(at, at + _FOLD_IN_ROWS))) for at in chunks])
        return np.asarray(users @ self._factors.T + self._bias, np.float32)

    def _fold_in(self, histories: Histories) -> NDArray[np.float32]:
        """`(rows, factors)`, by Nesterov's accelerated gradient: the problem is convex."""
        taken = profile_matrix(histories, len(self._popularity), self._decay)
        share = taken.multiply(1 / taken.sum(axis=1)[:, None]).tocsr()
        row, item = np.repeat(np.arange(len(histories)), np.diff(share.indptr)), share.indices
        of_row = sparse.csr_array((share.data, np.arange(len(item)), share.indptr), shape=(len(histories), len(item)))
        liked, others = self._factors[item], self._factors[self._negatives]
        margin = self._bias[item][:, None] - self._bias[self._negatives]
        # The curvature of a user's loss is at most a quarter of the mean squared difference of the pairs.
        squares = (others**2).sum(axis=1).mean() + (liked**2).sum(axis=1) - 2 * liked @ others.mean(axis=0)
        step = 1 / ((of_row @ squares) / 4 + self._regularization)[:, None]
        user = np.zeros((len(histories), liked.shape[1]), np.float32)
        ahead = user
        for count in range(_FOLD_IN_STEPS):
            ahead_of = (ahead[row] * liked).sum(axis=1)[:, None] - (ahead @ others.T)[row] + margin
            miss = 1 / (1 + np.exp(np.clip(ahead_of, -30, 30)))
            gradient = of_row @ (miss.mean(axis=1)[:, None] * liked) - (of_row @ miss) @ others / len(others)
            moved = ahead + step * (gradient - self._regularization * ahead)
            ahead = moved + count / (count + 3) * (moved - user)
            user = moved
        return np.asarray(user, np.float32)


def _library(module: str) -> Any:  # noqa: ANN401
    """A module of `implicit`, which need not be there."""
    try:
        return importlib.import_module(f"implicit.{module}")
    except ImportError as error:
        raise ExportError(
            f"the baselines ials and bpr need the library implicit ({error}): pip install 'tanager[evaluate]'"
        ) from error


def _blas_alone() -> Any:  # noqa: ANN401
    """One thread for what BLAS is loaded: `implicit`, to be imported before, has threads of its own."""
    try:
        return importlib.import_module("threadpoolctl").threadpool_limits(1, "blas")
    except ImportError as error:
        raise ExportError(
            f"the baselines ials and bpr need the library threadpoolctl ({error}): pip install 'tanager[evaluate]'"
        ) from error
