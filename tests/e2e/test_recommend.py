"""What a caller gets: by wish, by history, by both, by neither; similar items; embeddings; status."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from tanager import Diversity, Event, NotFoundError, ReasonKind, Shortfall, Source, Strategy

if TYPE_CHECKING:
    from tanager import Client

HISTORY = ["book-space-0", "film-space-3", "book-space-7"]
ITEMS = 120


def test_a_wish_is_answered_with_what_lies_nearest(client: Client):
    answer = client.recommend(text="space book space 5", page_size=5)
    assert answer.strategy is Strategy.WISH
    assert answer[0].item_id == "book-space-5"
    assert answer[0].title == "Space book 5"
    assert answer[0].domain == "book"
    assert [item.rank for item in answer] == [1, 2, 3, 4, 5]
    assert [item.score for item in answer] == sorted((item.score for item in answer), reverse=True)
    assert all(item.sources == (Source.WISH,) for item in answer)
    assert answer.timing.batch_size >= 1
    assert answer.timing.encode_us > 0


def test_a_history_is_answered_in_its_topic_and_without_what_was_seen(client: Client):
    answer = client.recommend(history=HISTORY, page_size=12)
    assert answer.strategy is Strategy.PERSONAL
    assert answer.shortfall is Shortfall.NONE
    assert not {item.item_id for item in answer} & set(HISTORY)
    topics = [item.item_id.split("-")[1] for item in answer]
    assert topics.count("space") >= 10
    assert any(Source.COLLABORATIVE in item.sources for item in answer)
    assert answer.timing.batch_size == 0, "nothing had to be encoded"


def test_seen_items_come_back_when_asked_for(client: Client):
    answer = client.recommend(history=HISTORY, page_size=ITEMS, include_seen=True)
    assert set(HISTORY) <= {item.item_id for item in answer}


def test_wish_and_history_together_move_the_list_towards_both(client: Client):
    both = client.recommend(text="war film war 3", history=HISTORY, page_size=ITEMS)
    history_only = client.recommend(history=HISTORY, page_size=ITEMS)
    assert both.strategy is Strategy.PERSONAL

    def rank(answer, item_id):
        return next(item.rank for item in answer if item.item_id == item_id)

    assert rank(both, "film-war-3") < rank(history_only, "film-war-3")
    assert rank(both, "film-space-1") < rank(both, "film-love-1")


def test_neither_is_answered_with_the_most_popular(client: Client):
    answer = client.recommend()
    assert answer.strategy is Strategy.COLD_START
    assert len(answer) == 10
    assert all(item.sources == (Source.POPULAR,) for item in answer)


def test_words_of_a_profile_and_a_context_move_the_list(client: Client):
    """The tiny bundle has learned nothing of attributes: their words are read by its encoder."""
    answer = client.recommend(profile={"likes": ["war film war 3"], "age": 30}, page_size=ITEMS)
    assert answer.strategy is Strategy.PROFILE
    assert answer.unknown_attribute_count == 1
    assert answer.timing.batch_size >= 1
    assert any(Source.PROFILE in item.sources for item in answer)
    plain = {item.item_id: item.score for item in client.recommend(page_size=ITEMS)}
    lifts = {item.item_id: item.score - plain[item.item_id] for item in answer}
    assert max(lifts, key=lifts.__getitem__).split("-")[1] == "war"
    several = client.recommend(text="space", history=HISTORY, profile={"likes": "war"}, context={"mood": "love"})
    assert several.strategy is Strategy.PERSONAL
    assert several.unknown_attribute_count == 0


def test_without_the_cited_item_the_score_falls_by_what_was_said_of_it(client: Client):
    half_life = 5  # of the text, in the scoring of bundles that are not trained
    history = [Event(item_id, weight=1) for item_id in HISTORY]
    answer = client.recommend(history=history, page_size=20, explain=True, max_reasons=20)
    for item in answer:
        total = sum(reason.contribution for reason in item.reasons) + item.other_contribution
        assert math.isclose(total, item.score, abs_tol=1e-5)
    first = answer[0]
    cited = next(reason for reason in first.reasons if reason.kind is ReasonKind.COLLABORATIVE)
    assert cited.item_id in HISTORY
    assert cited.title
    text = {reason.item_id: reason.contribution for reason in first.reasons if reason.kind is ReasonKind.TEXT}
    assert set(text) == set(HISTORY)
    ages = {item_id: len(HISTORY) - 1 - place for place, item_id in enumerate(HISTORY)}
    shares = {item_id: 0.5 ** (age / half_life) for item_id, age in ages.items()}
    share = shares[cited.item_id] / sum(shares.values())
    fall = cited.contribution + (text[cited.item_id] - share * sum(text.values())) / (1 - share)
    without = [Event(each.item_id, weight=0 if each.item_id == cited.item_id else 1) for each in history]
    after = {item.item_id: item.score for item in client.recommend(history=without, page_size=ITEMS)}
    assert math.isclose(first.score - after[first.item_id], fall, abs_tol=1e-5)
    assert fall > 0


def test_a_list_chosen_for_diversity_keeps_its_scores(client: Client):
    history = ["book-space-0", "film-space-3", "book-space-7", "film-music-4"]
    plain = {item.item_id: item.score for item in client.recommend(history=history, page_size=ITEMS)}
    capped = client.recommend(history=history, page_size=10, diversity=Diversity(max_per_category=2))
    topics = [item.item_id.split("-")[1] for item in capped]
    assert (len(topics), {topics.count(topic) for topic in topics}) == (10, {2})
    several = client.recommend(history=history, page_size=8, diversity=Diversity(mmr_lambda=0.7, interests=2))
    assert {"space", "music"} <= {item.item_id.split("-")[1] for item in several}
    for item in (*capped, *several):
        assert math.isclose(item.score, plain[item.item_id], abs_tol=1e-5)
    assert [item.rank for item in several] == list(range(1, 9))


def test_excluded_items_are_left_out_and_the_rest_moves_up(client: Client):
    first = client.recommend(page_size=3)
    answer = client.recommend(page_size=3, exclude_item_ids=[first[0].item_id, "no-such-item"])
    assert [item.item_id for item in answer][:2] == [item.item_id for item in first][1:]


def test_as_many_as_exist_never_an_exception(client: Client):
    everything = client.recommend(page_size=1000)
    assert (len(everything), everything.shortfall) == (ITEMS, Shortfall.CATALOGUE)
    ids = [item.item_id for item in everything]
    nothing = client.recommend(text="space", page_size=10, exclude_item_ids=ids)
    assert (len(nothing), nothing.shortfall) == (0, Shortfall.FILTER)
    some = client.recommend(history=HISTORY, page_size=10, exclude_item_ids=ids[4:])
    assert (len(some), some.shortfall) == (len(set(ids[:4]) - set(HISTORY)), Shortfall.FILTER)


def test_similar_items_never_hold_the_item_itself(client: Client):
    answer = client.similar_items("film-music-4", page_size=ITEMS)
    assert answer.strategy is Strategy.SIMILAR
    assert len(answer) == ITEMS - 1
    assert "film-music-4" not in {item.item_id for item in answer}
    assert answer[0].item_id.split("-")[1] == "music"


def test_similar_to_an_unknown_item_is_not_found(client: Client):
    with pytest.raises(NotFoundError, match="no-such-item"):
        client.similar_items("no-such-item")


def test_embeddings_come_in_order_and_of_unit_length(client: Client):
    texts = [f"{topic} {number}" for number in range(512) for topic in ("space", "love")]
    answer = client.embed(texts)
    assert len(answer) == 1024
    for vector in (answer[0], answer[1023]):
        assert math.isclose(math.sqrt(sum(x * x for x in vector)), 1.0, abs_tol=1e-5)
    alone = client.embed([texts[777]])
    assert list(alone[0]) == pytest.approx(list(answer[777]), abs=1e-5)


def test_the_status_tells_what_is_served(client: Client):
    status = client.status()
    assert status.execution_provider == "CPUExecutionProvider"
    assert status.bundle.item_count == ITEMS
    assert dict(status.bundle.domain_item_counts) == {"book": 60, "film": 60}
    assert (status.bundle.precision, status.bundle.dim) == ("fp32", 32)
    assert status.bundle.simulated_behaviour
    assert status.bundle.quality["index_recall_at_10"] == 1.0
    assert client.recommend().bundle_id == status.bundle.bundle_id
