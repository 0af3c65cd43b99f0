"""An item of which training knew nothing gets from the server, by its text and traits alone, what training gave it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.bench.new_item_figures import compare, read_items
from tests.export.training.made import interactions

from tanager_export.bundle import BundleOptions, build_bundle
from tanager_export.dataset import Dataset, Item, load_dataset
from tanager_export.evaluation.cases import Cases, Histories
from tanager_export.evaluation.splits import rows_of
from tanager_export.model import find_model
from tanager_export.sample import write_sample
from tanager_export.training import sparse
from tanager_export.training.blend import Blend
from tanager_export.training.hybrid import Hybrid
from tanager_export.training.parts import Behaviour, Parts
from tanager_export.training.sequence import SequenceOptions, fit_sequence_head
from tanager_export.training.served import served_scores
from tanager_export.training.structure import Structure
from tanager_export.training.terms import TERMS
from tanager_server.bundle import open_bundle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tanager_export.bundle import Scores
    from tanager_server.bundle import Bundle

WEIGHTS = {
    **dict.fromkeys(TERMS, 0.0),
    "collaborative": 2.0,
    "transitions": 1.5,
    "sequence": 0.7,
    "log recent popularity": 0.3,
    "recent popularity": -1.1,
    "log rate while on offer": 0.9,
    "new": 0.4,
    "log recent popularity, known": -0.2,
    "recent popularity, known": 0.8,
}
STRUCTURE = Structure(l2=20.0, transitions_l2=5.0, borrow=2.0, traits_l2=2.0, likeness=0.3, confidence=0.7)
TOPICS = ("space", "love", "war", "music", "nature")


def made() -> Dataset:
    """160 items of all sorts of traits, of which every second is taken up by nobody."""
    items = tuple(
        Item(
            f"i{at}",
            text=f"{TOPICS[at % 5]} {at}",
            domain=("film", "book", "")[at % 3],
            categories=(TOPICS[at % 5], f"shelf {at % 7}")[: at % 3],
            attributes={
                **({"year": 1950 + at // 3} if at % 4 else {}),
                "price": 3.5 * (at % 11),
                "used": at % 6 == 0,
                "by": (f"Ann {at % 9}", "Bo") if at % 2 else f"Ann {at % 9}",
            },
        )
        for at in range(160)
    )
    random = np.random.default_rng(0)
    rows = [
        (user, 2 * int(item), 5 * user + day, 1.0 if random.random() < 0.9 else -1.0)
        for user in range(90)
        for day, item in enumerate(random.permutation(80)[:12])
    ]
    return Dataset(name="made", items=items, interactions=interactions(*rows), users=())


def sampled(directory: Path) -> Dataset:
    """The sample of real works; what was done with every fourth is forgotten."""
    write_sample(directory, seed=0, users=200)
    dataset = load_dataset(directory)
    events = dataset.interactions
    kept = np.flatnonzero(events.item % 4)
    return replace(dataset, interactions=rows_of(events, kept))


def fit(dataset: Dataset, directory: Path, *, with_sequence: bool = True, **weights: float) -> Callable[..., Scores]:
    def scores(vectors: np.ndarray) -> Scores:
        train = dataset.interactions
        options = SequenceOptions(dim=16, layers=1, epochs=2)
        head = None
        if with_sequence:
            head = fit_sequence_head(train, vectors, options=options, directory=directory, seed=0, search=False)
        blend = Blend(STRUCTURE, WEIGHTS | weights, loss=0.0, ndcg=0.0, cases=1, sequence=options)
        behaviour = Behaviour(dataset, train, vectors)
        users = np.arange(20)
        rows = Histories.of_users(train, users)
        cases = Cases(users.astype(np.int32), rows, rows, [{}] * len(users), np.zeros(len(users), np.int64))
        return served_scores(Hybrid(Parts.fit(behaviour, STRUCTURE, head), blend), behaviour, cases)

    return scores


@pytest.fixture(scope="module", params=["made", "sample"])
def bundle(request, tiny_model, tmp_path_factory) -> Bundle:
    directory = tmp_path_factory.mktemp("unseen")
    dataset = made() if request.param == "made" else sampled(directory / "dataset")
    path, options = directory / "bundle", BundleOptions(precision="fp32")
    fit_scores = fit(dataset, directory / "head")
    build_bundle(find_model(str(tiny_model)), dataset, path, options=options, fit_scores=fit_scores)
    return open_bundle(path)


def test_figures_are_those_that_training_put_into_the_bundle(bundle):
    found = compare(bundle)
    assert found.items >= 80
    for columns in (found.neighbours, found.transitions):
        assert columns.entries > 2_000
        assert columns.missing == 0
        assert columns.error < 1e-3 * columns.largest
        assert columns.above_least < 2 * sparse.ROUNDING, "it was among the largest of its row"
        assert columns.more < 0.02 * columns.entries
    assert found.priors < 1e-5
    assert found.sequence < 1e-6


def test_there_were_more_than_a_row_keeps_and_some_do_not_fit(bundle):
    """Else what cuts them off would not be tested."""
    new_items = bundle.read_new_items()
    assert (new_items.neighbours.least > 0).mean() > 0.9
    found = new_items.figures_of(bundle.read_vectors(), read_items(bundle))
    lengths = [len(figures.neighbours.indices) for figures in found]
    assert 0 < np.mean(lengths) < 0.9 * len(new_items.neighbours.items)


def test_what_is_known_beside_the_text_counts(bundle):
    new_items, vector = bundle.read_new_items(), bundle.read_vectors()[0]
    item = next(item for item in read_items(bundle) if item.attributes.get("year") and item.categories)
    whole = new_items.figures(vector, domain=item.domain, categories=item.categories, attributes=item.attributes)
    without = new_items.figures(vector)
    assert np.abs(whole.priors - without.priors).max() > 1e-3
    assert whole.neighbours.weights.tolist() != without.neighbours.weights.tolist()
    np.testing.assert_array_equal(whole.sequence, without.sequence)


def test_what_the_blend_has_no_use_for_is_left_out(tiny_model, tmp_path):
    dataset = made()
    fit_scores = fit(dataset, tmp_path, with_sequence=False, collaborative=0.0)
    options = BundleOptions(precision="fp32")
    build_bundle(find_model(str(tiny_model)), dataset, tmp_path / "bundle", options=options, fit_scores=fit_scores)
    bundle = open_bundle(tmp_path / "bundle")
    new_items = bundle.read_new_items()
    figures = new_items.figures(bundle.read_vectors()[0], categories=("love",))
    assert len(figures.neighbours.indices) == len(new_items.neighbours.items) == 0
    assert len(figures.transitions.indices) > 0
    assert figures.sequence is None
    assert compare(bundle).priors < 1e-5


def test_without_a_run_nothing_is_expected_of_new_items_as_of_those_that_nobody_took_up(tiny_bundle):
    bundle = open_bundle(tiny_bundle)
    found = compare(bundle)
    assert found.items > 0
    assert (found.neighbours.entries, found.neighbours.more, found.priors) == (0, 0, 0.0)
    figures = bundle.read_new_items().figures(bundle.read_vectors()[0], domain="film", attributes={"year": 1990})
    assert not figures.priors.any()
    assert len(figures.neighbours.indices) == len(figures.transitions.indices) == 0
