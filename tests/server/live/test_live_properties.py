"""Whatever is written, deleted and indexed in whatever order: every answer is the one of a brute-force model.

`TANAGER_TEST_OPERATIONS=100000 pytest tests/server/test_live_properties.py -s` runs about so many operations, and says
how many of each kind there were; without it there are some hundreds.
"""

from __future__ import annotations

import asyncio
import collections
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from numpy.typing import NDArray
from tests.server.conftest import Wishes

from tanager.v1 import recommendation_pb2
from tanager_server.bundle import Item, ItemFigures, Scoring
from tanager_server.bundle.expected import Column
from tanager_server.engine import Diversity, Engine, Events, RankQuery, RecommendQuery, Shortfall, SimilarQuery
from tanager_server.engine.items import NoRoomError, Written
from tanager_server.engine.serving import Serving
from tanager_server.errors import ItemNotFoundError
from tanager_server.rpc.paging import Pages

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

BASE, NEW, DIM, SPARE_ROWS = 25, 16, 8, 12
STEPS = 50
OPERATIONS = int(os.environ.get("TANAGER_TEST_OPERATIONS", "1000"))
WISHES = ("a wish", "another wish")
COLORS = ("red", "blue")
EVERY_ITEM = BASE + NEW

Array = NDArray[Any]
seeds = st.integers(0, 2**32 - 1)
numbers = st.integers(0, EVERY_ITEM - 1)
page_sizes = st.sampled_from([1, 2, 5, 10, 30, 100])


def item_id(number: int) -> str:
    return f"item-{number}"


def number_of(name: str) -> int:
    return int(name.removeprefix("item-"))


def run(call: Coroutine[Any, Any, Any]) -> Any:
    """A call to the engine."""
    return asyncio.run(call)


def unit(random: np.random.Generator) -> Array:
    vector = random.standard_normal(DIM).astype(np.float32)
    return vector / np.linalg.norm(vector)


class Texts(Wishes):
    """The stand-in for the encoder, which searches what is served."""

    def retrieve_by(self, search: Callable[..., Any]) -> None:
        self._search = search


class Model:
    """All that is known of every item that there may be, dense, by its number."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)

        def draw(rows: int, share: float) -> Array:
            drawn = np.zeros((rows, EVERY_ITEM), np.float32)
            drawn[:, :BASE] = random.normal(size=(rows, BASE)) * (random.random((rows, BASE)) < share)
            return drawn

        self.live = np.arange(EVERY_ITEM) < BASE
        self.ever = self.live.copy()
        self.vectors = np.stack([unit(random) for _ in range(EVERY_ITEM)])
        self.weights, self.follows, self.attributes = draw(BASE, 0.15), draw(BASE, 0.15), draw(3, 0.3)
        self.priors = (random.normal(size=(2, EVERY_ITEM)) * 0.3).astype(np.float32)
        self.wishes = {text: unit(random) for text in WISHES}
        self.titles = {number: f"Title {number}" for number in range(BASE)}

    def rows(self, matrix: Array, events: list[int], weights: Array) -> Array:
        """What the events say of all items; those behind the bundle's have no rows."""
        known = [place for place, event in enumerate(events) if event < BASE]
        said: Array = np.zeros(EVERY_ITEM)
        if known:
            said = weights[known] @ matrix[[events[place] for place in known]]
        return said

    def scores(
        self, scoring: Scoring, *, events: list[int], weights: list[float], wish: str = "", colors: tuple[int, ...] = ()
    ) -> Array:
        """The formula of `Scoring`, of all items."""
        ages = np.arange(len(events))[::-1]
        given = np.array(weights, np.float64)

        def faded(half_life: float) -> Array:
            found: Array = given * 0.5 ** (ages / half_life)
            return found

        score: Array = scoring.collaborative * self.rows(self.weights, events, faded(scoring.collaborative_half_life))
        score = score + scoring.transitions * self.rows(self.follows, events, faded(scoring.transitions_half_life))
        text = faded(scoring.history_text_half_life)
        if (total := np.abs(text).sum()) > 0:
            score = score + scoring.history_text * (self.vectors @ (text / total @ self.vectors[events]))
        known = len(events) / (len(events) + scoring.known_events)
        prior = self.priors[0] + known * self.priors[1]
        prior = prior + (1 - known) * scoring.profile * self.attributes[list(colors)].sum(axis=0)
        if wish:
            score = score + scoring.wish * (self.vectors @ self.wishes[wish])
            prior = prior if events else scoring.wish_prior * prior
        total_score: Array = score + prior
        return total_score

    def like(self, scoring: Scoring, number: int) -> Array:
        """How like one item all others are."""
        text: Array = scoring.history_text * (self.vectors @ self.vectors[number])
        score: Array = text + scoring.collaborative * self.rows(self.weights, [number], np.ones(1))
        return score


class LiveMachine(RuleBasedStateMachine):
    """The engine beside the model."""

    make_generation: ClassVar[Callable[..., Any]]
    counts: ClassVar[collections.Counter[str]]

    @initialize(seed=seeds)
    def begin(self, seed: int) -> None:
        self.model = model = Model(seed)
        generation = self.make_generation(
            BASE,
            dim=DIM,
            vectors=model.vectors[:BASE].copy(),
            weights=model.weights[:, :BASE],
            follows=model.follows[:, :BASE],
            priors=model.priors[:, :BASE].copy(),
            attributes=model.attributes[:, :BASE],
        )
        generation = generation.with_room(BASE + SPARE_ROWS)
        texts: Any = Texts(generation, model.wishes)
        self.engine = Engine(generation, texts)
        self.pages = Pages()
        self.begun: tuple[Any, Any, int] | None = None
        self.made: Serving | None = None
        self.page: tuple[Any, RecommendQuery, list[str], list[str] | None] | None = None
        self.scratch = tempfile.TemporaryDirectory()

    def teardown(self) -> None:
        if hasattr(self, "scratch"):
            self.scratch.cleanup()

    def count(self, kind: str) -> None:
        self.counts[kind] += 1

    def wrote(self) -> None:
        """The pages of a list are no longer those of one moment."""
        if self.page is not None:
            self.page = *self.page[:3], None

    # What is written

    def written(self, number: int, random: np.random.Generator, text: str) -> Written:
        """An item as it may come: its text new, as it was, or that of another item."""
        model = self.model
        vector = None
        if not model.live[number] or text == "new":
            vector = unit(random)
        elif text == "another's":
            vector = model.vectors[int(random.integers(EVERY_ITEM))].copy()
        elif text == "sent again":
            vector = model.vectors[number].copy()

        def column() -> Column:
            rows = np.sort(random.permutation(BASE)[: random.integers(0, 6)]).astype(np.int32)
            return Column(rows, random.normal(size=len(rows)).astype(np.float32))

        figures = ItemFigures(column(), column(), (random.normal(size=2) * 0.3).astype(np.float32), None)
        title = f"Title {random.integers(1000)}"
        item = Item(
            id=item_id(number),
            title=title,
            text="",
            domain=("even", "odd", "other")[random.integers(3)],
            categories=tuple(f"category {c}" for c in random.permutation(5)[: random.integers(0, 3)]),
            attributes={},
            popularity=0.0,
        )
        return Written(item, 0, vector, figures)

    @rule(
        chosen=st.lists(
            st.tuples(
                st.integers(0, EVERY_ITEM - 1) | st.integers(BASE, EVERY_ITEM - 1),
                seeds,
                st.sampled_from(["new", "another's", "sent again", "kept", "kept"]),
            ),
            min_size=1,
            max_size=6,
        )
    )
    def put(self, chosen: list[tuple[int, int, str]]) -> None:
        for number, seed, text in chosen:
            self.put_one(number, self.written(number, np.random.default_rng(seed), text))

    def put_one(self, number: int, written: Written) -> None:
        self.count("put")
        model, items = self.model, self.engine.items
        if not model.ever[number] and not items.room:
            with pytest.raises(NoRoomError):
                items.put(written)
            return
        items.put(written)
        self.wrote()
        model.live[number] = model.ever[number] = True
        model.titles[number] = written.item.title
        if written.vector is not None:
            model.vectors[number] = written.vector
        if number >= BASE:
            assert written.figures is not None
            model.priors[:, number] = written.figures.priors
            for matrix, (rows, weights) in (
                (model.weights, written.figures.neighbours),
                (model.follows, written.figures.transitions),
            ):
                matrix[:, number] = 0.0
                matrix[rows, number] = weights

    @rule(number=numbers)
    def remove(self, number: int) -> None:
        self.count("remove")
        self.wrote()
        assert self.engine.items.remove(item_id(number)) == bool(self.model.live[number])
        self.model.live[number] = False

    # The index is made anew, while other things happen

    @precondition(lambda self: self.begun is None)
    @rule()
    def begin_indexing(self) -> None:
        self.count("begin indexing")
        generation = self.engine.generation
        self.begun = generation, self.engine.items.begin_indexing(), generation.catalogue.rows

    @precondition(lambda self: self.begun is not None and self.made is None)
    @rule(more=st.sampled_from([0, SPARE_ROWS]))
    def make_index(self, more: int) -> None:
        self.count("make index")
        assert self.begun is not None
        generation, positions, used = self.begun
        rows = len(generation.vectors) + more
        path = Path(self.scratch.name) / "index"
        self.made = Serving(generation.extended(positions, items=used, rows=rows, scratch=path))

    @precondition(lambda self: self.made is not None)
    @rule(failed=st.sampled_from([False, False, False, True]))
    def end_indexing(self, failed: bool) -> None:
        self.count("fail to index" if failed else "end indexing")
        assert self.made is not None
        if failed:
            self.engine.items.end_indexing(None)
        else:
            self.engine.serve(self.made)
        self.begun = self.made = None

    @precondition(lambda self: self.begun is None)
    @rule()
    def index(self) -> None:
        self.begin_indexing()
        self.make_index(0)
        self.end_indexing(failed=False)

    # What is asked

    def check(self, answer: Any, scores: Array, *, out: set[int], page_size: int, best: bool = True) -> list[int]:
        """The page is of the best items, in order, with the right scores."""
        found = [number_of(item.item_id) for item in answer.items]
        assert len(set(found)) == len(found), "an item comes twice"
        allowed = [number for number in np.flatnonzero(self.model.live).tolist() if number not in out]
        assert set(found) <= set(allowed), "an item is deleted, seen or excluded"
        assert len(found) == min(page_size, len(allowed)), "the page is short"
        told = [item.score for item in answer.items]
        np.testing.assert_allclose(told, scores[found], rtol=1e-3, atol=1e-4)
        assert told == sorted(told, reverse=True)
        if best:
            np.testing.assert_allclose(told, np.sort(scores[allowed])[::-1][: len(told)], rtol=1e-3, atol=1e-4)
        expected = Shortfall.NONE
        if len(found) < page_size:
            expected = Shortfall.CATALOGUE if page_size > self.model.live.sum() else Shortfall.FILTER
        assert answer.shortfall is expected
        assert [item.title for item in answer.items] == [self.model.titles[number] for number in found]
        return found

    def resolve(self, events: list[tuple[int, float]]) -> tuple[list[int], list[float]]:
        limit = self.engine.generation.scoring.history_limit
        known = [(number, weight) for number, weight in events if self.model.live[number]]
        return [number for number, _ in known][-limit:], [weight for _, weight in known][-limit:]

    @rule(
        events=st.lists(st.tuples(numbers, st.floats(-2, 2, width=32)), max_size=8),
        text=st.sampled_from(["", "", *WISHES]),
        color=st.sampled_from([None, None, *range(len(COLORS))]),
        page_size=page_sizes,
        excluded=st.lists(numbers, max_size=20),
        include_seen=st.booleans(),
        reasons=st.sampled_from([0, 0, 3]),
    )
    def recommend(
        self,
        events: list[tuple[int, float]],
        text: str,
        color: int | None,
        page_size: int,
        excluded: list[int],
        include_seen: bool,
        reasons: int,
    ) -> None:
        self.count("recommend")
        model, scoring = self.model, self.engine.generation.scoring
        query = RecommendQuery(
            page_size,
            text=text,
            events=Events([item_id(number) for number, _ in events], [weight for _, weight in events]),
            exclude=[item_id(number) for number in excluded],
            include_seen=include_seen,
            profile={} if color is None else {"color": COLORS[color]},
            reasons=reasons,
        )
        answer = run(self.engine.recommend(query, deadline=1e9))
        known, weights = self.resolve(events)
        seen = set() if include_seen else set(known)
        colors = () if color is None else (color,)
        scores = model.scores(scoring, events=known, weights=weights, wish=text, colors=colors)
        # A wish alone is answered from the items nearest to it, of which so many are looked at.
        best = not text or bool(known) or page_size + 50 >= model.live.sum()
        self.check(answer, scores, out={*excluded, *seen}, page_size=page_size, best=best)
        assert answer.unknown_items == sum(not model.live[number] for number, _ in events)
        for item, explained in zip(answer.items, answer.explanations, strict=bool(reasons)):
            told = sum(reason.contribution for reason in explained.reasons) + explained.other
            assert told == pytest.approx(item.score, rel=1e-3, abs=1e-4)

    @rule(page_size=page_sizes, excluded=st.lists(numbers, max_size=3))
    def recommend_to_anybody(self, page_size: int, excluded: list[int]) -> None:
        self.count("recommend to anybody")
        query = RecommendQuery(page_size, exclude=[item_id(number) for number in excluded])
        answer = run(self.engine.recommend(query, deadline=1e9))
        self.check(answer, self.model.priors[0], out=set(excluded), page_size=page_size)

    @rule(
        events=st.lists(numbers, min_size=1, max_size=8),
        page_size=st.sampled_from([1, 5, 20, 100]),
        mmr=st.sampled_from([None, 0.0, 0.5, 1.0]),
        most=st.integers(0, 2),
        interests=st.integers(0, 3),
    )
    def diversify(self, events: list[int], page_size: int, mmr: float | None, most: int, interests: int) -> None:
        self.count("diversify")
        query = RecommendQuery(
            page_size,
            events=Events([item_id(number) for number in events], [1.0] * len(events)),
            diversity=Diversity(mmr, most, interests),
        )
        answer = run(self.engine.recommend(query, deadline=1e9))
        known, weights = self.resolve([(number, 1.0) for number in events])
        scores = self.model.scores(self.engine.generation.scoring, events=known, weights=weights)
        found = [number_of(item.item_id) for item in answer.items]
        assert len(set(found)) == len(found)
        assert not set(found) & set(known)
        dead = [number for number in found if not self.model.live[number]]
        assert not dead, "an item is deleted"
        np.testing.assert_allclose([item.score for item in answer.items], scores[found], rtol=1e-3, atol=1e-4)

    @rule(number=numbers, page_size=page_sizes, excluded=st.lists(numbers, max_size=5))
    def similar(self, number: int, page_size: int, excluded: list[int]) -> None:
        self.count("similar")
        query = SimilarQuery(item_id(number), page_size, [item_id(other) for other in excluded])
        if not self.model.live[number]:
            with pytest.raises(ItemNotFoundError):
                self.engine.similar(query)
            return
        scores = self.model.like(self.engine.generation.scoring, number)
        self.check(self.engine.similar(query), scores, out={number, *excluded}, page_size=page_size)

    @rule(
        given=st.lists(numbers, min_size=1, max_size=30, unique=True),
        events=st.lists(numbers, max_size=5),
        text=st.sampled_from(["", *WISHES]),
    )
    def rank(self, given: list[int], events: list[int], text: str) -> None:
        self.count("rank")
        subject = RecommendQuery(
            1, text=text, events=Events([item_id(number) for number in events], [1.0] * len(events))
        )
        answer = run(self.engine.rank(RankQuery([item_id(number) for number in given], subject), deadline=1e9))
        known, weights = self.resolve([(number, 1.0) for number in events])
        scores = self.model.scores(self.engine.generation.scoring, events=known, weights=weights, wish=text)
        found = [number_of(item.item_id) for item in answer.items]
        assert sorted(found) == sorted(number for number in given if self.model.live[number])
        told = [item.score for item in answer.items]
        assert told == sorted(told, reverse=True)
        if known or not text:  # where nothing but a wish is known, priors are scaled in a list of its own kind only
            np.testing.assert_allclose(told, scores[found], rtol=1e-3, atol=1e-4)

    # Pages

    @rule(events=st.lists(numbers, max_size=4), page_size=st.sampled_from([1, 3, 10, 40]))
    def first_page(self, events: list[int], page_size: int) -> None:
        self.count("first page")
        messages = [recommendation_pb2.Event(item_id=item_id(number)) for number in events]
        request = recommendation_pb2.RecommendRequest(recent_events=messages, page_size=page_size)
        query = RecommendQuery(
            page_size, events=Events([item_id(number) for number in events], [1.0] * len(events)), include_seen=True
        )
        whole = run(self.engine.recommend(query._replace(page_size=1000), deadline=1e9))
        self.page = request, query, [], [item.item_id for item in whole.items]
        self.turn()

    @precondition(lambda self: self.page is not None)
    @rule()
    def next_page(self) -> None:
        self.count("next page")
        self.turn()

    def turn(self) -> None:
        """One page more. Where nothing was written since the first, all of them together are the whole list."""
        assert self.page is not None
        request, query, shown, whole = self.page
        if request.page_token:
            query = query._replace(shown=self.pages.shown(request))
        answer = run(self.engine.recommend(query, deadline=1e9))
        found = [item.item_id for item in answer.items]
        assert not set(found) & set(shown), "an item comes on two pages"
        assert self.model.live[[number_of(name) for name in found]].all()
        shown = shown + found
        left = int(self.model.live.sum()) - sum(bool(self.model.live[number_of(name)]) for name in shown)
        request.page_token = self.pages.next_token(request, query, answer)
        if whole is not None:
            assert shown == whole[: len(shown)]
        if request.page_token:
            self.page = request, query, shown, whole
        else:
            assert left == 0, "the last page is not the last"
            self.page = None

    @invariant()
    def the_catalogue_is_what_it_should_be(self) -> None:
        items, catalogue = self.engine.items, self.engine.generation.catalogue
        assert len(catalogue) == self.model.live.sum() == items.live.sum()
        assert items.unindexed <= len(catalogue)


def test_any_order_of_writes_indexing_and_questions_gives_the_answers_of_the_model(make_generation):
    counts: collections.Counter[str] = collections.Counter()

    class Machine(LiveMachine):
        pass

    Machine.make_generation, Machine.counts = staticmethod(make_generation), counts
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=max(1, OPERATIONS // STEPS),
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"{sum(counts.values()):,} operations: {dict(counts)}")
