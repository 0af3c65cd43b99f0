"""The sample: real works read with care, behaviour that is simulated, repeatable, and worth learning from."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import tanager_export
from tanager_export.dataset import DatasetError, check_dataset, load_dataset
from tanager_export.sample import write_sample
from tanager_export.sample.draws import Draws
from tanager_export.sample.simulate import simulate
from tanager_export.sample.works import DOMAINS, Work, load_works

WORKS_DIRECTORY = Path(tanager_export.__file__).parent / "sample"


@pytest.fixture(scope="module")
def works():
    return load_works()


@pytest.fixture(scope="module")
def simulation(works):
    return simulate(works, users=1200, seed=5)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    target = tmp_path_factory.mktemp("sample") / "out"
    return write_sample(target, seed=3, users=150), target


def test_the_catalogue_is_as_large_as_promised(works):
    assert len(works) >= 400
    counts = {domain: sum(work.domain == domain for work in works) for domain in DOMAINS}
    assert min(counts.values()) >= 100
    assert sum(work.title_zh is not None for work in works) > 100
    assert len({work.id for work in works}) == len(works)


def test_texts_read_naturally():
    work = Work("book:x", "X", "某", -8, ("A", "B", "C"), ("war", "poetry"), "A tale.")
    assert work.item().text == "X (某), 8 BCE. A book of poetry by A, B and C. War, poetry. A tale."
    assert work.item().attributes == {"year": -8, "creators": ("A", "B", "C"), "title_zh": "某"}
    game = Work("game:x", "X", None, 1999, ("A",), ("r&b",), "A game.")
    assert game.item().text == "X, 1999. A video game by A. R&b. A game."
    assert game.item().domain == "game"
    assert "title_zh" not in game.item().attributes


WORK = {"id": "game:x", "title": "X", "year": 1, "creators": ["A"], "categories": ["war"], "description": "D."}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "film:x"}, "id 'film:x' does not begin with 'game:'"),
        ({"id": "game:"}, "id 'game:' does not begin"),
        ({"title": ""}, "title must be a string that is not blank"),
        ({"title_zh": None}, "title_zh must be a string"),
        ({"year": "1999"}, "year must be an integer"),
        ({"year": True}, "year must be an integer"),
        ({"year": 0}, "year must be an integer other than 0"),
        ({"creators": []}, "creators must be a list of strings, at least one"),
        ({"categories": ["war", 1]}, "categories must be a list of strings"),
        ({"description": 3}, "description must be a string"),
        ({"blurb": "x"}, "unknown key 'blurb'"),
    ],
)
def test_damaged_works_are_refused_by_line(tmp_path, change, message):
    directory = shutil.copytree(WORKS_DIRECTORY, tmp_path / "works")
    good = json.dumps(WORK | {"id": "game:good"})
    (directory / "games.jsonl").write_text(f"{good}\n{json.dumps(WORK | change)}\n")
    with pytest.raises(DatasetError) as caught:
        load_works(directory)
    assert f"games.jsonl, line 2: {message}" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (json.dumps(WORK) + "\n" + json.dumps(WORK), "games.jsonl, line 2: id 'game:x' is given twice"),
        ("{\n", "games.jsonl, line 1: invalid JSON"),
        ("", "games.jsonl: no works"),
        (None, "games.jsonl: cannot be read"),
    ],
)
def test_damaged_files_of_works_are_refused(tmp_path, content, message):
    directory = shutil.copytree(WORKS_DIRECTORY, tmp_path / "works")
    (directory / "games.jsonl").unlink()
    if content is not None:
        (directory / "games.jsonl").write_text(content)
    with pytest.raises(DatasetError) as caught:
        load_works(directory)
    assert message in str(caught.value)


def test_the_sample_is_a_dataset_that_says_its_behaviour_is_simulated(sample, works):
    written, target = sample
    dataset = load_dataset(target)
    assert check_dataset(target).ok
    assert (dataset.name, dataset.simulated_behaviour) == ("tanager-sample", True)
    assert "simulated" in dataset.description
    assert "simulated" in (target / "README.md").read_text()
    assert [item.id for item in dataset.items] == [work.id for work in works]
    assert (written.items, written.users, written.interactions) == (len(works), 150, len(dataset.interactions))
    assert len(dataset.users) == len(dataset.interactions.user_ids) == 150
    for user in dataset.users:
        assert {"age_group", "country", "languages", "interests"} <= set(user.attributes)
    genders = {user.attributes.get("gender") for user in dataset.users}
    assert {None, "female", "male"} <= genders


def test_rows_carry_event_weight_and_context(sample):
    _, target = sample
    with (target / "interactions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["event"], row["weight"]) for row in rows} == {("view", "1"), ("like", "2"), ("finish", "3")}
    assert {row["device"] for row in rows} == {"phone", "tablet", "desktop", "tv", "console"}
    assert {row["part_of_day"] for row in rows} == {"night", "morning", "afternoon", "evening"}
    times = [int(row["timestamp"]) for row in rows]
    assert times == sorted(times)


def test_nobody_takes_up_a_work_twice(simulation, works):
    pairs = simulation.user * len(works) + simulation.work
    assert len(np.unique(pairs)) == len(pairs)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(sample, tmp_path):
    _, first = sample
    write_sample(tmp_path / "again", seed=3, users=150)
    write_sample(tmp_path / "other", seed=4, users=150)
    for path in first.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
    for name in ("interactions.csv", "users.jsonl"):
        assert (tmp_path / "other" / name).read_bytes() != (first / name).read_bytes()


def test_draws_are_pinned():
    # Worked out once; they may change with no version of NumPy.
    draws = Draws(0)
    np.testing.assert_allclose(draws.uniform(3), [0.63696169, 0.26978671, 0.04097352], atol=1e-8)
    assert 0 < draws.uniform(1000).min() < draws.uniform(1000).max() < 1
    chosen = Draws(1).choice(np.tile(np.log([0.2, 0.5, 0.3]), (20_000, 1)))
    np.testing.assert_allclose(np.bincount(chosen) / 20_000, [0.2, 0.5, 0.3], atol=0.02)
    normal = Draws(2).normal(20_000)
    assert abs(normal.mean()) < 0.03
    assert abs(normal.std() - 1) < 0.03


def taken(simulation) -> np.ndarray:
    """`(users, works)`: 1 where the user took the work up."""
    matrix = np.zeros((len(simulation.population.users), len(simulation.catalogue.year)))
    matrix[simulation.user, simulation.work] = 1
    return matrix


def test_behaviour_follows_taste_in_every_domain(simulation):
    # Of those who like a theme, in each domain a larger share of what they take up has it than of the others.
    catalogue, matrix = simulation.catalogue, taken(simulation)
    has = catalogue.features > 0
    taste = simulation.population.taste.min(axis=0)  # liked from begin to end
    ratios: list[list[float]] = [[] for _ in DOMAINS]
    for theme in np.flatnonzero(catalogue.shared):
        fans = taste[:, theme] >= 0.6
        for domain in range(len(DOMAINS)):
            here = catalogue.domain == domain
            if fans.sum() < 20 or (has[:, theme] & here).sum() < 5:
                continue
            share = matrix[:, has[:, theme] & here].sum(axis=1) / np.maximum(1, matrix[:, here].sum(axis=1))
            ratios[domain].append(float(share[fans].mean() / share[~fans].mean()))
    for of_domain in ratios:
        assert len(of_domain) >= 5
        assert np.median(of_domain) > 1.5


def test_what_goes_with_what_can_be_learnt_within_and_across_domains(simulation):
    # Correlation of works by who takes them up, against how alike they are in themselves.
    catalogue, matrix = simulation.catalogue, taken(simulation)
    together = np.corrcoef(matrix[:, matrix.sum(axis=0) > 20].T)
    kept = matrix.sum(axis=0) > 20
    alike = (catalogue.features @ catalogue.features.T)[np.ix_(kept, kept)]
    domain = catalogue.domain[kept]
    upper = np.triu(np.ones_like(alike, bool), 1)
    for pairs in (upper & (domain[:, None] == domain), upper & (domain[:, None] != domain)):
        assert np.corrcoef(together[pairs], alike[pairs])[0, 1] > 0.2


def test_popularity_is_like_zipf(simulation):
    counts = np.sort(np.bincount(simulation.work, minlength=len(simulation.catalogue.year)))[::-1]
    head = np.arange(1, 101)
    slope = np.polyfit(np.log(head), np.log(counts[:100]), 1)[0]
    assert -1.2 < slope < -0.3
    assert counts.min() > 0
    for domain in range(len(DOMAINS)):
        here = np.flatnonzero(simulation.catalogue.domain == domain)
        by_rank = np.bincount(simulation.work, minlength=len(simulation.catalogue.year))[here]
        assert by_rank[:20].sum() > 2 * by_rank[-20:].sum()


def test_context_shifts_what_is_taken_up(simulation):
    book, film, album, game = range(len(DOMAINS))
    domain = simulation.catalogue.domain[simulation.work]

    def share(which: int, mask: np.ndarray) -> float:
        return float((domain[mask] == which).mean())

    phone, tv, console = (simulation.device == number for number in (0, 3, 4))
    assert share(film, tv) > 2 * share(film, phone)
    assert share(game, console) > 2 * share(game, phone)
    assert share(book, phone) > 2 * share(book, tv)
    assert share(album, simulation.part_of_day == 1) > 1.5 * share(album, simulation.part_of_day == 3)


def test_a_session_keeps_to_its_topic(simulation):
    order = np.lexsort((simulation.timestamp, simulation.user))
    user, work, time = (column[order] for column in (simulation.user, simulation.work, simulation.timestamp))
    alike = simulation.catalogue.similarity[work[:-1], work[1:]]
    follows = user[1:] == user[:-1]
    soon = np.diff(time) < 3600
    assert alike[follows & soon].mean() > 1.2 * alike[follows & ~soon].mean()


def test_response_grows_with_fit(simulation):
    catalogue, population = simulation.catalogue, simulation.population
    liking = (population.taste.mean(axis=0) @ catalogue.features.T)[simulation.user, simulation.work]
    means = [liking[simulation.event == event].mean() for event in range(3)]
    assert means == sorted(means)
    assert means[2] > 1.5 * means[0]


def test_activity_is_skewed_and_starts_are_spread(simulation):
    counts = np.bincount(simulation.user)
    assert counts.min() >= 3
    assert counts.mean() > 1.15 * np.median(counts)
    first = np.full(len(counts), np.iinfo(np.int64).max)
    np.minimum.at(first, simulation.user, simulation.timestamp)
    assert np.ptp(first) > 400 * 86_400
    assert simulation.timestamp.max() < 1_740_000_000
