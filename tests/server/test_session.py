"""How a batch is run: any shape directly, or padded to few shapes through buffers bound once, with the same result."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tanager_server.errors import StartupError
from tanager_server.runtime import Encoder
from tanager_server.runtime.session import BoundRunner, DirectRunner, bucket, open_session


@pytest.fixture(scope="module")
def session(opened_bundle):
    return open_session(opened_bundle.file("encoder.onnx"), device="cpu", threads=1)


def batch_of(*lengths):
    """Random tokens: (texts, longest) ids and mask."""
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    ids = np.random.default_rng(sum(lengths)).integers(5, 60, mask.shape) * mask
    return ids.astype(np.int64), mask.astype(np.int64)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 1), (1, 16)),
        ((1, 16), (1, 16)),
        ((2, 17), (2, 32)),
        ((3, 31), (4, 32)),
        ((5, 33), (8, 48)),
        ((64, 64), (64, 64)),
        ((65, 65), (128, 80)),
        ((128, 512), (128, 512)),
    ],
)
def test_shapes_are_rounded_up_to_powers_of_two_and_multiples_of_sixteen(shape, expected):
    assert bucket(*shape) == expected


def test_every_batch_fits_its_bucket_and_a_bucket_is_its_own():
    for count in range(1, 130):
        for length in range(1, 130):
            rows, columns = bucket(count, length)
            assert count <= rows < 2 * count
            assert length <= columns < length + 16
            assert bucket(rows, columns) == (rows, columns)


def test_padded_tokens_are_those_of_the_shape_that_is_run(session):
    direct, bound = DirectRunner(session), BoundRunner(session, "cpu")
    assert direct.padded_tokens(5, 33) == 5 * 33
    assert bound.padded_tokens(5, 33) == 8 * 48


@pytest.mark.parametrize(
    ("max_batch_tokens", "max_batch_size", "max_length"), [(512, 20, 64), (16, 1, 40), (100, 8, 33)]
)
def test_every_shape_that_a_batch_within_the_bounds_may_have_is_known(
    session, max_batch_tokens, max_batch_size, max_length
):
    bounds = {"max_batch_tokens": max_batch_tokens, "max_batch_size": max_batch_size, "max_length": max_length}
    bound = BoundRunner(session, "cpu")
    needed = {
        bucket(count, length)
        for count in range(1, max_batch_size + 1)
        for length in range(1, max_length + 1)
        if count == 1 or bound.padded_tokens(count, length) <= max_batch_tokens
    }
    assert sorted(bound.fixed_shapes(**bounds)) == sorted(needed)
    assert DirectRunner(session).fixed_shapes(**bounds) == []


@pytest.mark.parametrize(
    "lengths", [(1,), (5,), (16,), (17, 3), (4, 9, 2), (16, 16, 16, 16), (30, 1, 12, 7, 5), tuple(range(1, 40))]
)
def test_bound_buffers_give_the_same_vectors(session, lengths):
    direct, bound = DirectRunner(session), BoundRunner(session, "cpu")
    ids, mask = batch_of(*lengths)
    vectors = bound.run(ids, mask)
    assert vectors.shape == (len(lengths), 32)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, direct.run(ids, mask), atol=1e-5)


def test_a_buffer_used_again_remembers_nothing_of_the_batch_before(session):
    direct, bound = DirectRunner(session), BoundRunner(session, "cpu")
    for lengths in ((16, 16, 16, 16), (3, 2, 1), (9, 9, 9), (16, 1, 1)):  # all in the bucket (4, 16)
        ids, mask = batch_of(*lengths)
        np.testing.assert_allclose(bound.run(ids, mask), direct.run(ids, mask), atol=1e-5)
    assert len(bound._bindings) == 1


def test_vectors_already_returned_do_not_change_with_the_next_batch(session):
    bound = BoundRunner(session, "cpu")
    first = bound.run(*batch_of(7, 7))
    kept = first.copy()
    bound.run(*batch_of(9, 3))
    assert (first == kept).all()


def test_batches_at_the_same_time_do_not_mix(session):
    direct, bound = DirectRunner(session), BoundRunner(session, "cpu")
    batches = [batch_of(*lengths) for lengths in ((5, 9), (12, 3), (8, 8), (1, 15))]
    results: list[list[np.ndarray]] = [[] for _ in batches]

    def work(number):
        for _ in range(20):
            results[number].append(bound.run(*batches[number]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for batch, found in zip(batches, results, strict=True):
        expected = direct.run(*batch)
        assert len(found) == 20
        for vectors in found:
            np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_an_encoder_with_bound_buffers_is_the_same_encoder(opened_bundle):
    texts = ["space", "love book 7", "war " * 30, "", "music film nature " * 12]
    files = {"model_path": opened_bundle.file("encoder.onnx"), "tokenizer_path": opened_bundle.file("tokenizer.json")}
    direct, bound = (Encoder(**files, max_tokens=64, threads=1, bound=each) for each in (False, True))
    np.testing.assert_allclose(bound.encode_texts(texts), direct.encode_texts(texts), atol=1e-5)
    assert bound.check_probe(opened_bundle.read_probe()) > 0.999


def test_no_batch_is_padded_beyond_what_the_model_can_read(session):
    bound = BoundRunner(session, "cpu", max_length=40)
    assert bound.padded_tokens(1, 33) == 40
    assert bound.run(*batch_of(33, 40, 2)).shape == (3, 32)
    assert set(bound._bindings) == {(4, 40)}
    shapes = bound.fixed_shapes(max_batch_tokens=80, max_batch_size=4, max_length=40)
    assert shapes == [(1, 16), (2, 16), (4, 16), (1, 32), (2, 32), (1, 40), (2, 40)]


def test_a_warm_encoder_meets_no_new_shape(opened_bundle):
    files = {"model_path": opened_bundle.file("encoder.onnx"), "tokenizer_path": opened_bundle.file("tokenizer.json")}
    direct, bound = (Encoder(**files, max_tokens=64, threads=1, bound=each) for each in (False, True))
    assert direct.warm(max_batch_tokens=128, max_batch_size=5) == 0
    assert direct.padded_tokens(3, 5) == 15
    # 16 tokens: 1, 2, 4 and 8 texts; 32: 1, 2 and 4; 48: 1 and 2; 64: 1 and 2.
    assert bound.warm(max_batch_tokens=128, max_batch_size=5) == 11
    assert bound.padded_tokens(3, 5) == 64
    runner = bound._runner
    assert isinstance(runner, BoundRunner)
    assert len(runner._bindings) == 11
    bound.encode([[1] * 5] * 5)
    bound.encode([[1] * 64])
    assert len(runner._bindings) == 11


def test_a_shape_that_does_not_run_names_the_setting(opened_bundle, monkeypatch):
    files = {"model_path": opened_bundle.file("encoder.onnx"), "tokenizer_path": opened_bundle.file("tokenizer.json")}
    bound = Encoder(**files, max_tokens=64, threads=1, bound=True)

    def run(ids, mask):
        raise MemoryError("no room on the device")

    monkeypatch.setattr(bound._runner, "run", run)
    with pytest.raises(StartupError, match=r"batching\.max_batch_tokens is 128, .*\(1, 16\).*no room.*smaller"):
        bound.warm(max_batch_tokens=128, max_batch_size=5)
