"""What diversity costs: lists chosen from the exact scores, by the very code that the server chooses with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tanager_export.evaluation.diversity import category_matrix
from tanager_export.evaluation.experiment.answers import Answers, with_lists
from tanager_export.evaluation.experiment.result import METRIC, METRICS, DiversityPoint
from tanager_export.evaluation.ranking import TOP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tanager_export.dataset import Dataset
    from tanager_export.evaluation.cases import Recommender, Split
    from tanager_export.evaluation.diversity import Yardstick
    from tanager_export.evaluation.evaluate import Outcome

LAMBDAS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.3)
CAPS = (8, 5, 4, 3, 2, 1)
_MEASURES = ("category_diversity", "ease_diversity")
_CHUNK = 256


def diversity_curve(
    dataset: Dataset,
    recommenders: Sequence[Recommender],
    splits: Sequence[Split],
    outcomes: Sequence[Outcome],
    vectors: NDArray[np.float32],
    yardsticks: Sequence[Yardstick],
) -> tuple[DiversityPoint, ...]:
    """Lists of ten by maximal marginal relevance at several lambdas, and under caps of a category.

    Args:
        dataset: the catalogue.
        recommenders: of each seed.
        splits: of each seed.
        outcomes: of these recommenders on these splits.
        vectors: `(items, dim)`, by which the server takes two items for alike.
        yardsticks: of each split.
    """
    from tanager_server.engine._diversity import Chooser
    from tanager_server.engine.diversity import candidates

    categories = category_matrix(dataset.items)
    rows = categories.indptr.astype(np.int64), categories.indices.astype(np.int32), categories.data
    chooser = Chooser(np.ascontiguousarray(vectors, np.float32), rows, categories.shape[1])
    pools = [
        _pools(recommender, split, candidates(TOP)) for recommender, split in zip(recommenders, splits, strict=True)
    ]

    def answers(mmr_lambda: float, cap: int) -> Answers:
        found = []
        for pool, split, outcome, yardstick in zip(pools, splits, outcomes, yardsticks, strict=True):
            top = np.full((len(pool), TOP), -1, np.int32)
            for case, (positions, scores) in enumerate(pool):
                places = chooser.choose(positions, scores, (), (), mmr_lambda, cap, TOP)
                top[case, : len(places)] = [positions[place] for place in places]
            found.append(with_lists(outcome, top, histories=split.cases.histories, yardstick=yardstick))
        return Answers(found)

    plain = answers(1.0, 0)
    points = [_point("mmr", value, answers(value, 0), plain) for value in LAMBDAS]
    if categories.shape[1]:
        points += [_point("category cap", value, answers(1.0, value), plain) for value in CAPS]
    return tuple(points)


def _pools(recommender: Recommender, split: Split, count: int) -> list[tuple[list[int], list[float]]]:
    """The best unseen items of each case, best first, and their scores."""
    pools = []
    asked = split.cases.without_targets()
    for start in range(0, len(asked), _CHUNK):
        part = asked.take(slice(start, start + _CHUNK))
        scores = recommender.score(part).copy()
        scores[part.histories.row_of_event, part.histories.item] = -np.inf
        kept = min(count, scores.shape[1])
        top = np.argpartition(-scores, kept - 1, axis=1)[:, :kept]
        for row, positions in enumerate(top):
            own = scores[row, positions]
            order = np.lexsort((positions, -own))
            order = order[own[order] > -np.inf]
            pools.append((positions[order].tolist(), own[order].tolist()))
    return pools


def _point(kind: str, value: float, found: Answers, plain: Answers) -> DiversityPoint:
    named = {name: found.mean(name) for name in METRICS if name != "auc"}
    known = [name for name in _MEASURES if np.isfinite(plain.mean(name))]
    return DiversityPoint(
        kind,
        value,
        named,
        found.compare(plain, METRIC).ratio,
        {name: found.compare(plain, name).ratio for name in known},
        found.mean("coverage") / plain.mean("coverage"),
    )
