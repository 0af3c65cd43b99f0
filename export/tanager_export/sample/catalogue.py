"""Works as the simulation sees them: numbers for category, creator, year, domain and fame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tanager_export.sample.works import DOMAINS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tanager_export.sample.works import Work

_FAME_EXPONENT = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """Features of `n` works over `c` categories and `k` creators.

    Attributes:
        categories: The categories, in the order of the alphabet.
        shared: `(c,) bool`, whether a category occurs in more than one domain: a theme rather than a form.
        categories_of_domain: `(domains, c) bool`, which categories a domain has.
        features: `(n, c) float64`, rows of unit length: categories weighted by how rare they are.
        affinity: `(c, c) float64`, cosine of categories by the works they are on.
        creators: `(n, k) float64`, 1 where the creator made the work.
        similarity: `(n, n) float64`, cosine of features, plus 1/2 for a common creator.
        domain: `(n,) int64`, index into `DOMAINS`.
        year: `(n,) float64`.
        fame: `(n,) float64`, logarithm of a Zipf law over the order within each domain.
        chinese: `(n,) bool`, whether the work has a Chinese title.
    """

    categories: tuple[str, ...]
    shared: NDArray[np.bool_]
    categories_of_domain: NDArray[np.bool_]
    features: NDArray[np.float64]
    affinity: NDArray[np.float64]
    creators: NDArray[np.float64]
    similarity: NDArray[np.float64]
    domain: NDArray[np.int64]
    year: NDArray[np.float64]
    fame: NDArray[np.float64]
    chinese: NDArray[np.bool_]

    @classmethod
    def of(cls, works: Sequence[Work]) -> Catalogue:
        """The features of these works, in their order."""
        categories, has = _incidence([work.categories for work in works])
        _, creators = _incidence([work.creators for work in works])
        domain = np.array([list(DOMAINS).index(work.domain) for work in works])
        in_domain = np.stack([has[domain == which].any(axis=0) for which in range(len(DOMAINS))])
        features = _unit_rows(has * np.log(len(works) / has.sum(axis=0) + 1))
        on_works = _unit_rows(has.T)
        rank = np.zeros(len(works))
        for which in range(len(DOMAINS)):
            rank[domain == which] = np.arange(1, (domain == which).sum() + 1)
        return cls(
            categories=categories,
            shared=in_domain.sum(axis=0) > 1,
            categories_of_domain=in_domain,
            features=features,
            affinity=on_works @ on_works.T,
            creators=creators,
            similarity=features @ features.T + 0.5 * (creators @ creators.T > 0),
            domain=domain,
            year=np.array([work.year for work in works], np.float64),
            fame=-_FAME_EXPONENT * np.log(rank),
            chinese=np.array([work.title_zh is not None for work in works]),
        )


def _incidence(labels: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    names = tuple(sorted({label for some in labels for label in some}))
    index = {name: position for position, name in enumerate(names)}
    has = np.zeros((len(labels), len(names)))
    for row, some in enumerate(labels):
        has[row, [index[label] for label in some]] = 1
    return names, has


def _unit_rows(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    return unit
