"""What a run's bundle needs to give an item that comes later the figures that training would have given it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tanager_export.training.parts import LEAST_SHARE
from tanager_export.training.sparse import least_kept
from tanager_server.bundle import ExpectedColumns, ExpectedPriors, NewItems

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tanager_export.training.parts import Behaviour
    from tanager_export.training.structure import Structure
    from tanager_server.bundle import Neighbours


def new_items(
    behaviour: Behaviour,
    structure: Structure,
    *,
    neighbours: Neighbours | None,
    transitions: Neighbours | None,
    little: NDArray[np.bool_],
    prior_weights: NDArray[np.float32],
) -> NewItems:
    """What is expected of items by their traits; of the sequence head, nothing yet.

    Args:
        behaviour: that all was fitted to.
        structure: how.
        neighbours: B as it is served; None where the blend has no use for it.
        transitions: T as it is served; None where the blend has no use for it.
        little: (items,) which items have little behaviour of their own, as a new one has.
        prior_weights: (2, len(PRIORS)): what the figures count for, for anybody and for a user who is known.
    """
    expected, traits = behaviour.expected_of_new(structure), behaviour.traits
    warm, dim = behaviour.warm.astype(np.int32), behaviour.vectors.shape[1]

    def columns(served: Neighbours | None, coefficients: NDArray[np.float32]) -> ExpectedColumns:
        if served is None:
            return ExpectedColumns.none(dim=dim, traits=len(traits.layout))
        return ExpectedColumns.fit(warm, *traits.as_read(coefficients), least_kept(served, little)[warm], dim=dim)

    return NewItems(
        dim,
        traits.layout,
        columns(neighbours, expected.collaborative),
        columns(transitions, expected.transitions),
        ExpectedPriors(*traits.as_read(expected.popularity), LEAST_SHARE, prior_weights.astype(np.float32)),
    )
