"""A page that is not more of the same: chosen one by one from more candidates than it holds.

Scores stay what they are, the additive sum, and pages are in their order; what changes is which candidates come.

- Maximal marginal relevance (Carbonell & Goldstein, 1998): the next item is the one with the highest lambda * relevance
  - (1 - lambda) * likeness. Relevance is the score in units of the distance from the best candidate to the last;
  likeness is the mean over the items already chosen of the Jaccard index of the categories, or where one of two has no
  category of the cosine of their texts. The mean, since intra-list diversity is a mean over pairs as well: at the same
  loss it gives more of that than the highest likeness, which the paper takes. Categories, since they are what people
  see. The page is then put in the order of scores: what was chosen for its difference need not stand above what is
  better, and costs less for it.
- A category may have no more than so many items; an item of several categories counts in each.
- Interests: every candidate belongs to the interest that adds most to its score by B, T and text. Half of the places
  are owed to interests, by Sainte-Lague's quotients of their shares of the history: an interest of a fifth of it has a
  tenth of the page at least, filled with its own best candidates. The other half goes to whoever is best. To owe all of
  it costs several times as much accuracy. The maximum of the interests' own scores was not taken: it lets the interest
  whose texts are most alike have the whole page, and its scores would no longer be the sum that reasons tell of. What
  lies nearest to each interest joins the candidates, all of them found in one search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tanager_server.engine import _diversity
from tanager_server.engine.interests import find_interests
from tanager_server.engine.ranking import SPARE
from tanager_server.engine.request import Page, Source
from tanager_server.index import EVERYTHING, View

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from numpy.typing import NDArray

    from tanager_server.engine.ranking import Asked, Ranker
    from tanager_server.engine.reasons import Explainer
    from tanager_server.engine.request import Diversity
    from tanager_server.engine.subject import History
    from tanager_server.index import Generation

# Candidates for each place, and for a page at least.
_CANDIDATES_PER_PLACE = 5
_LEAST_CANDIDATES = 100
# Where categories are full, that many are looked through for others.
_MOST_CANDIDATES = 1_000
_MORE = 4


def candidates(page_size: int) -> int:
    """How many candidates a page is chosen from."""
    return max(_CANDIDATES_PER_PLACE * page_size, _LEAST_CANDIDATES)


def most_candidates(page_size: int, diversity: Diversity) -> int:
    """How many candidates are looked through at most."""
    return _MOST_CANDIDATES if diversity.max_per_category else candidates(page_size)


class Diversifier:
    """Chooses pages of one generation."""

    def __init__(self, generation: Generation, ranker: Ranker, explainer: Explainer) -> None:
        self._generation = generation
        self._ranker = ranker
        self._explainer = explainer
        catalogue = generation.catalogue
        indptr, indices = catalogue.category_rows
        categories = (indptr, indices, np.ones(len(indices), np.float32))
        self._chooser = _diversity.Chooser(generation.vectors, categories, len(catalogue.categories), generation.growth)

    def page(
        self,
        find: Callable[[int], Page],
        diversity: Diversity,
        *,
        page_size: int,
        excluded: Collection[int],
        history: History,
        attributes: Sequence[int] = (),
        asked: Asked | None = None,
        view: View = EVERYTHING,
    ) -> Page:
        """Chooses a page.

        Args:
            find: gives so many candidates, best first, or all that there are.
            diversity: how to choose.
            page_size: how many items are wanted.
            excluded: what must not be on it.
            history: whom it is for.
            attributes: rows of A.
            asked: what was asked for in words.
            view: what it is chosen from.
        """
        count = candidates(page_size)
        interests = find_interests(
            history,
            self._generation.vectors,
            mean=self._ranker.mean,
            half_life=self._generation.scoring.history_text_half_life,
            count=diversity.interests,
        )
        while True:
            pool = find(count)
            full = len(pool.positions) == count
            spread = max(pool.scores) - min(pool.scores) if pool.scores else 0.0
            groups: Sequence[int] = ()
            shares: Sequence[float] = ()
            if interests is not None:
                nearest = self._nearest(interests.queries, page_size + len(excluded) + SPARE, view)
                pool = self._join(pool, nearest, excluded, history, attributes, asked)
                shares = interests.shares
                parts = self._explainer.shares(
                    pool.positions, history=history, groups=interests.groups, count=len(shares)
                )
                groups = parts.argmax(axis=1).tolist()
            mmr_lambda = 1.0 if diversity.mmr_lambda is None else diversity.mmr_lambda
            places = self._chooser.choose(
                pool.positions, pool.scores, groups, shares, spread, mmr_lambda, diversity.max_per_category, page_size
            )
            if len(places) == page_size or not full or count >= _MOST_CANDIDATES:
                break
            count = min(_MORE * count, _MOST_CANDIDATES)
        return Page(
            [pool.positions[place] for place in places],
            [pool.scores[place] for place in places],
            [pool.sources[place] for place in places],
            pool.found_at,
        )

    def _nearest(self, queries: NDArray[np.float32], count: int, view: View) -> NDArray[np.int64]:
        """Of each interest; what is not in the index is looked at as a whole already."""
        index = self._generation.index
        if view.share == 0.0:
            return view.exact
        if view.allowed is None:
            return np.unique(index.search(queries, count).positions)
        found = [index.search_allowed(query, count, view.allowed).positions for query in queries]
        return np.unique(np.concatenate(found))

    def _join(
        self,
        pool: Page,
        nearest: NDArray[np.int64],
        excluded: Collection[int],
        history: History,
        attributes: Sequence[int],
        asked: Asked | None,
    ) -> Page:
        """Adds items to candidates, with their own scores."""
        known, by_text = {*pool.positions, *excluded}, Source.TEXT.value
        new = [position for position in nearest.tolist() if position not in known]
        scores, sources = self._ranker.score(new, history=history, attributes=attributes, asked=asked)
        return Page(
            [*pool.positions, *new],
            [*pool.scores, *scores],
            [*pool.sources, *(flags | by_text for flags in sources)],
            pool.found_at,
        )
