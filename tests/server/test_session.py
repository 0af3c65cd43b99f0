"""How a batch is run: any shape directly, or padded to few shapes through buffers bound once, with the same result."""

from __future__ import annotations

import threading

import numpy as np
import pytest

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
