"""EASE and what is known to make it better: the linear autoencoder in closed form that is hard to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager_export.collaborative import binary_matrix, ease_weights
from tanager_export.evaluation.baselines.behaviour import item_popularity
from tanager_export.evaluation.baselines.itemknn import ItemToItem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tanager_export.dataset import Dataset, Interactions
    from tanager_export.evaluation.cases import Parameter


class Ease:
    """EASE (Steck, 2019), with the options that later work found to pay.

    `dropout` is the denoising of Steck (2020), which regularises an item by its popularity; `user_exponent` counts a
    user of n items n^-exponent times; `decay` weighs the history by recency. All off (0, 0, 1) is EASE as published.
    """

    name = "ease"
    space: Mapping[str, Sequence[Parameter]] = {
        "l2": (5.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0),
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
