"""The sequence head: it learns order, scores what nobody took up yet, goes on after a kill, and reads no future."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from tanager_export.dataset import Interactions
from tanager_export.errors import ExportError
from tanager_export.evaluation.cases import Histories
from tanager_export.training import sequence_loss
from tanager_export.training.sequence import SequenceHead, SequenceOptions, _hold_out, fit_sequence_head
from tanager_export.training.sequence_loss import MASKED, SoftmaxLoss
from tanager_export.training.sequence_network import SequenceNetwork
from tanager_export.training.sequence_training import SequenceTraining, pieces

if TYPE_CHECKING:
    from pathlib import Path

WARM = 24
TWINS = (5, 17)  # two items that nobody took up have the texts of these
ITEMS = WARM + len(TWINS)
USERS, EVENTS = 150, 9
OPTIONS = SequenceOptions(
    dim=16, length=8, epochs=10, positions=128, learning_rate=1e-2, dropout=0.1, without_own=0.3, averaging=0.9
)


def texts() -> np.ndarray:
    angle = 2 * np.pi * np.array([*range(WARM), *TWINS])[:, None] * np.arange(1, 7) / WARM
    waves = np.concatenate((np.cos(angle), np.sin(angle)), axis=1)
    return np.asarray(waves / np.linalg.norm(waves, axis=1, keepdims=True), np.float32)


def in_order(*, seed: int = 0, users: int = USERS) -> Interactions:
    """Whoever took up an item takes up the next one, four times in five: all are as popular, and order decides."""
    random = np.random.default_rng(seed)
    item = np.zeros((users, EVENTS), np.int32)
    item[:, 0] = random.integers(WARM, size=users)
    for at in range(1, EVENTS):
        strays = random.random(users) < 0.2
        item[:, at] = np.where(strays, random.integers(WARM, size=users), (item[:, at - 1] + 1) % WARM)
    user = np.repeat(np.arange(users, dtype=np.int32), EVENTS)
    ids = tuple(f"user-{at}" for at in range(users))
    weight = np.ones(len(user), np.float32)
    return Interactions(user, item.ravel(), np.tile(np.arange(EVENTS, dtype=np.int64), users), weight, ids)


def rows_of(*rows: list[int]) -> Histories:
    items = np.array([item for row in rows for item in row], np.int32)
    indptr = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Histories(indptr, items, np.zeros(len(items), np.int64), np.ones(len(items), np.float32))


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> SequenceHead:
    return fit_sequence_head(in_order(), texts(), options=OPTIONS, directory=tmp_path_factory.mktemp("head"), seed=1)


def test_what_comes_next_is_told_from_the_order(head: SequenceHead) -> None:
    ends = np.arange(WARM)
    forward = [[(end - 2) % WARM, (end - 1) % WARM, end] for end in ends.tolist()]
    assert (unseen(head, forward).argmax(axis=1) == (ends + 1) % WARM).mean() > 0.8
    backward = [row[::-1] for row in forward]  # the same items: what follows the first of them is seen already
    assert (unseen(head, backward).argmax(axis=1) == (ends + 1) % WARM).mean() < 0.5


def unseen(head: SequenceHead, rows: list[list[int]]) -> np.ndarray:
    scores = head.score(rows_of(*rows))[:, :WARM]
    for row, seen in zip(scores, rows, strict=True):
        row[seen] = -np.inf
    return scores


def test_items_that_nobody_took_up_are_scored_by_their_texts(head: SequenceHead) -> None:
    scores = head.score(rows_of([2, 3, TWINS[0] - 1], [14, 15, TWINS[1] - 1]))
    assert scores[0, WARM] > scores[0, WARM + 1]
    assert scores[1, WARM + 1] > scores[1, WARM]
    assert scores[0, WARM] > np.quantile(scores[0, :WARM], 0.8)  # on the scale of the others
    new = head.item_vectors(texts()[WARM:])
    np.testing.assert_allclose(new, head.vectors[WARM:], atol=1e-6)
    np.testing.assert_allclose(head.bias[WARM:], head.new_bias, atol=1e-6)


def test_items_that_nobody_took_up_can_be_read(head: SequenceHead) -> None:
    scores = head.score(rows_of([3, 4, WARM], [15, 16, WARM + 1]))[:, :WARM]
    assert scores[0, TWINS[0] + 1] > scores[1, TWINS[0] + 1]
    assert scores[1, TWINS[1] + 1] > scores[0, TWINS[1] + 1]


def test_scores_are_the_dot_products_that_a_server_adds_up_and_have_mean_0(head: SequenceHead) -> None:
    histories = rows_of([1, 2, 3], [9])
    scores = head.score(histories)
    np.testing.assert_allclose(scores, head.user_vectors(histories) @ head.vectors.T + head.bias, atol=1e-6)
    np.testing.assert_allclose(scores.mean(axis=1), 0, atol=1e-5)
    assert scores.dtype == np.float32


def test_nothing_known_is_0_and_a_row_does_not_depend_on_the_others(head: SequenceHead) -> None:
    together = head.score(rows_of([], [1, 2, 3, 4, 5], [7]))
    assert not together[0].any()
    np.testing.assert_allclose(together[1], head.score(rows_of([1, 2, 3, 4, 5]))[0], atol=1e-5)
    np.testing.assert_allclose(together[2], head.score(rows_of([7]))[0], atol=1e-5)
    assert head.score(rows_of()).shape == (0, ITEMS)


def test_dislikes_and_what_lies_before_the_latest_are_left_out(head: SequenceHead) -> None:
    liked = rows_of([3, 4, 5])
    mixed = rows_of([3, 20, 4, 5])
    disliked = replace(mixed, weight=np.array([1, -1, 1, 1], np.float32))
    np.testing.assert_array_equal(head.score(disliked), head.score(liked))
    long = list(range(OPTIONS.length))
    np.testing.assert_array_equal(head.score(rows_of([20, 21, *long])), head.score(rows_of(long)))


def test_the_same_seed_gives_the_same_head_and_the_callers_draws_are_left_alone(tmp_path: Path) -> None:
    options = replace(OPTIONS, epochs=2)
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first, second, other = (
        fit_sequence_head(in_order(), texts(), options=options, directory=tmp_path / name, seed=seed)
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert torch.rand(1) == expected
    histories = rows_of([1, 2])
    np.testing.assert_allclose(first.score(histories), second.score(histories), atol=1e-5)
    assert np.abs(first.score(histories) - other.score(histories)).max() > 1e-2


@pytest.mark.parametrize("saves", [2, 5])
def test_after_a_kill_it_goes_on_to_the_same_end(saves: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = replace(OPTIONS, epochs=3, patience=3)
    whole = fit_sequence_head(in_order(), texts(), options=options, directory=tmp_path / "whole", seed=0)
    original, done = SequenceTraining._save, 0

    def save(self: SequenceTraining) -> None:
        nonlocal done
        original(self)
        done += 1
        if done == saves:
            raise KeyboardInterrupt

    monkeypatch.setattr(SequenceTraining, "_save", save)
    with pytest.raises(KeyboardInterrupt):
        fit_sequence_head(in_order(), texts(), options=options, directory=tmp_path / "cut", seed=0)
    resumed = fit_sequence_head(in_order(), texts(), options=options, directory=tmp_path / "cut", seed=0)
    assert done == 3 + resumed_epochs(whole)
    histories = rows_of([1, 2, 3], [8, 4])
    np.testing.assert_allclose(resumed.score(histories), whole.score(histories), atol=1e-5)
    assert [result.loss for result in resumed.results] == pytest.approx([result.loss for result in whole.results])


def resumed_epochs(head: SequenceHead) -> int:
    return max(head.results, key=lambda result: result.validation).epoch


def test_a_checkpoint_of_other_data_is_not_gone_on_from(tmp_path: Path) -> None:
    options = replace(OPTIONS, epochs=1)
    fit_sequence_head(in_order(seed=5), texts(), options=options, directory=tmp_path / "used", seed=0)
    used = fit_sequence_head(in_order(), texts(), options=options, directory=tmp_path / "used", seed=0)
    fresh = fit_sequence_head(in_order(), texts(), options=options, directory=tmp_path / "fresh", seed=0)
    np.testing.assert_allclose(used.score(rows_of([1])), fresh.score(rows_of([1])), atol=1e-5)


def test_no_position_hears_what_comes_after_it() -> None:
    torch.manual_seed(0)
    network = SequenceNetwork(texts(), np.ones(ITEMS, np.int64), OPTIONS).eval()
    vectors, there = torch.randn(1, 6, OPTIONS.dim), torch.ones(1, 6, dtype=torch.bool)
    later = vectors.clone()
    later[:, 4:] = torch.randn(1, 2, OPTIONS.dim)
    with torch.no_grad():
        before, after = network(vectors, there), network(later, there)
        alone = network(later, there, last=True)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    torch.testing.assert_close(alone[:, 0], after[:, -1])
    assert (before[:, 4:] - after[:, 4:]).abs().max() > 1e-2


def test_what_is_held_out_is_not_known() -> None:
    known, target = _hold_out(rows_of([1, 2, 3], [4, 5], [6, 7, 8, 9]), np.array([0, 2]))
    assert known.item.tolist() == [1, 2, 4, 5, 6, 7, 8]
    assert known.lengths.tolist() == [2, 2, 3]
    assert target.tolist() == [3, 9]


def test_pieces_ask_for_each_event_but_the_first_once() -> None:
    histories = rows_of(list(range(20)), [1], [], [1, 2], list(range(7)))
    row, first, last = pieces(histories, length=5, random=np.random.default_rng(0))
    asked = sorted(event for start, stop in zip(first, last, strict=True) for event in range(start + 1, stop))
    starts = histories.indptr[:-1][histories.lengths > 0]
    assert asked == sorted(set(range(len(histories.item))) - set(starts.tolist()))
    assert (last - first - 1).max() <= 5
    assert (histories.row_of_event[first] == row).all()
    assert (histories.row_of_event[last - 1] == row).all()


def test_the_loss_is_cross_entropy_without_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence_loss, "fast_available", lambda: False)
    monkeypatch.setattr(sequence_loss, "_ROWS", 3)
    torch.manual_seed(0)
    ours = [torch.randn(7, 4), torch.randn(9, 4), torch.randn(9)]
    theirs = [value.clone() for value in ours]
    for value in (*ours, *theirs):
        value.requires_grad_()
    target, weight = torch.randint(0, 8, (7,)), torch.rand(7)
    seen = torch.tensor([0, 2, 3, 6]), torch.tensor([8, 8, 8, 8])
    loss = SoftmaxLoss.apply(*ours, target, seen, weight)
    logits = (theirs[0] @ theirs[1].T + theirs[2]).index_put(seen, torch.tensor(MASKED))
    plain = (functional.cross_entropy(logits, target, reduction="none") * weight).sum()
    (2 * loss).backward()
    (2 * plain).backward()
    torch.testing.assert_close(loss, plain)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_behaviour_without_order_is_refused(tmp_path: Path) -> None:
    single = Interactions(
        np.array([0], np.int32), np.array([0], np.int32), np.array([0]), np.ones(1, np.float32), ("u",)
    )
    with pytest.raises(ExportError, match="leave the sequence head out"):
        fit_sequence_head(single, texts(), options=OPTIONS, directory=tmp_path, seed=0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"heads": 3}, "heads is 3: give a divisor of dim, 16"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"layers": 0}, "layers is 0"),
    ],
)
def test_options_that_cannot_be_are_refused(wrong: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        fit_sequence_head(in_order(), texts(), options=replace(OPTIONS, **wrong), directory=tmp_path, seed=0)
