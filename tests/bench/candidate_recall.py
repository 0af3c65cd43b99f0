"""How much of the best page the engine finds, where scoring every item by the same formula finds all of it.

    python -m tests.bench.candidate_recall build/ml/bundle build/ml/dataset

Draws stretches of the dataset's real histories, of 1 to 200 events, has the engine recommend for each (seen items left
out), and scores the whole catalogue beside it. Prints, for each length, the share of the page that belongs there
(recall@10; items of equal score may stand for each other), the share of histories whose page is perfect, how often the
text of the whole history had to be searched for, and the engine's time for a call once each item's neighbourhood is
known. The last column is recall@10 where a wish comes on top: a vector near some item's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tanager_export.dataset import Dataset, load_dataset
from tanager_server.bundle import open_bundle
from tanager_server.engine import Engine, Events, Recommendation, RecommendQuery, Source
from tanager_server.engine.next_items import NextItems
from tanager_server.engine.ranking import SPARE, Asked, Ranker
from tanager_server.engine.subject import History, decayed, resolve_history
from tanager_server.index import Generation
from tanager_server.runtime import SequenceHead

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LENGTHS = (1, 3, 10, 50, 200)
PAGE = 10
# Scores closer than this are equal but for rounding.
_TIE = 1e-5
# How far a wish is from the text that it is made of: about a cosine of 0.7 at 384 dimensions.
_NOISE = 0.05


def recommend(engine: Engine, events: Events) -> Recommendation:
    """What the engine answers to a history; without a wish it waits for nothing."""
    try:
        engine.recommend(RecommendQuery(PAGE, events=events), deadline=0.0).send(None)
    except StopIteration as done:
        return cast("Recommendation", done.value)
    raise AssertionError("a history alone was waited for")


def resolved(generation: Generation, head: SequenceHead | None, events: Events) -> History:
    """The history as the engine has it."""
    history = resolve_history(events, catalogue=generation.catalogue, scoring=generation.scoring)
    return history if head is None else NextItems(head, weight=generation.scoring.sequence).expected(history)


def score_all(generation: Generation, history: History) -> NDArray[np.float32]:
    """(items,) float32: the formula for every item, minus infinity for what was seen."""
    scoring = generation.scoring
    rows, known = np.array(history.scored), scoring.known(len(history.weights))
    together = decayed(history.weights, scoring.collaborative_half_life)
    follows = decayed(history.weights, scoring.transitions_half_life)
    text = decayed(history.weights, scoring.history_text_half_life)
    direction = (text / np.abs(text).sum()).astype(np.float32) @ generation.vectors[rows]
    scores: NDArray[np.float32] = (
        scoring.collaborative * generation.neighbours.weighted_sum(rows, together)
        + scoring.transitions * generation.transitions.weighted_sum(rows, follows)
        + scoring.history_text * (generation.vectors @ direction)
        + generation.priors[0]
        + np.float32(known) * generation.priors[1]
    )
    if history.expected is not None:
        scores += generation.sequence_vectors @ history.expected
    scores[history.seen] = -np.inf
    return scores


def recall_with_wish(generation: Generation, ranker: Ranker, history: History, *, seed: int) -> float:
    """Share of the page for a history and a wish, the text of some item but for noise, that belongs there."""
    random = np.random.default_rng(seed)
    vector = generation.vectors[random.integers(len(generation.vectors))]
    vector = vector + _NOISE * random.standard_normal(len(vector), dtype=np.float32)
    vector /= np.linalg.norm(vector)
    seen = set(history.seen)
    near = generation.index.search(vector[None], PAGE + len(seen) + SPARE)
    weight = generation.scoring.wish
    wish = Asked(vector, near.positions[0], near.similarities[0], weight, Source.WISH.value)
    found = ranker.by_history(history, page_size=PAGE, excluded=seen, asked=wish).positions
    scores = score_all(generation, history) + np.float32(weight) * (generation.vectors @ vector)
    return _share(found, scores)


def _share(found: Sequence[int], scores: NDArray[np.float32]) -> float:
    least = float(np.partition(scores, -PAGE)[-PAGE]) - _TIE
    return sum(float(scores[position]) >= least for position in found) / PAGE


def draw(histories: list[list[str]], length: int, count: int, *, seed: int = 0) -> list[Events]:
    """Stretches of up to `count` of the histories that are long enough."""
    random = np.random.default_rng(seed)
    enough = [history for history in histories if len(history) >= length]
    drawn = []
    for number in random.permutation(len(enough))[:count].tolist():
        start = int(random.integers(0, len(enough[number]) - length + 1))
        drawn.append(Events(enough[number][start : start + length], [1.0] * length))
    return drawn


def read_histories(dataset: Dataset) -> list[list[str]]:
    """Items that each user took up, oldest first."""
    interactions = dataset.interactions
    histories: dict[int, list[str]] = {}
    for row in np.argsort(interactions.timestamp, kind="stable").tolist():
        histories.setdefault(int(interactions.user[row]), []).append(dataset.items[int(interactions.item[row])].id)
    return list(histories.values())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("dataset", type=Path, help="the dataset that the bundle was made from")
    parser.add_argument("--histories", type=int, default=300, help="of each length")
    arguments = parser.parse_args()
    bundle = open_bundle(arguments.bundle)
    generation, head = Generation.load(bundle), SequenceHead.from_bundle(bundle)
    histories = read_histories(load_dataset(arguments.dataset))
    nobody: Any = None  # encodes wishes, of which there are none
    engine = Engine(generation, nobody, head)
    searches = count_searches(engine)
    ranker = Ranker(generation)
    print(
        f"{'events':>6} {'histories':>9} {'recall@10':>9} {'perfect':>7} {'searched':>8} {'us p50':>7} {'wish@10':>7}"
    )
    for length in LENGTHS:
        shares: list[float] = []
        with_wish: list[float] = []
        times: list[float] = []
        drawn = draw(histories, length, arguments.histories)
        if not drawn:
            continue
        for events in drawn:
            recommend(engine, events)
        searches.clear()
        for events in drawn:
            began = time.perf_counter()
            recommend(engine, events)
            times.append(time.perf_counter() - began)
        searched = len(searches) / len(drawn)
        for events in drawn:
            answer = recommend(engine, events)
            history = resolved(generation, head, events)
            scores = score_all(generation, history)
            shares.append(_share(answer.page.positions, scores))
            with_wish.append(recall_with_wish(generation, ranker, history, seed=len(shares)))
        print(
            f"{length:>6} {len(drawn):>9} {statistics.fmean(shares):>9.4f} "
            f"{statistics.fmean(share == 1.0 for share in shares):>7.3f} "
            f"{searched:>8.3f} {statistics.median(times) * 1e6:>7.0f} {statistics.fmean(with_wish):>7.4f}"
        )


def count_searches(engine: Engine) -> list[int]:
    """A list that grows by one whenever the engine searches the index."""
    index, searches = engine.generation.index, []
    search = index.search

    def counted(queries: NDArray[np.float32], k: int) -> object:
        searches.append(len(queries))
        return search(queries, k)

    index.search = counted  # type: ignore[method-assign,assignment]
    return searches


if __name__ == "__main__":
    main()
