"""Calibration: what is given is kept, what is left open is measured, by an encoder whose costs are scripted."""

from __future__ import annotations

import math
import operator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tanager_server.runtime import Encoder, calibration
from tanager_server.runtime.calibration import Calibration, batch_policy, calibrate
from tanager_server.settings import BatchingSettings, EncoderSettings

if TYPE_CHECKING:
    from collections.abc import Callable

# Batches beyond those for which there are cores.
SPARE = 1


class Machine:
    """A clock that runs as the script says.

    Args:
        wall_s: (threads, texts of 16 tokens) to the time of a batch.
        cpu_s: to its CPU time; as long as the batch takes unless given.
        cores: that may be used.
    """

    def __init__(self, wall_s, cpu_s=None, cores=4):
        self.wall_s, self.cpu_s, self.cores = wall_s, cpu_s or wall_s, cores
        self.wall = self.cpu = 0.0
        self.opened: list[int] = []
        self.batches: list[tuple[int, int]] = []
        self.warmed: list[dict[str, int]] = []
        self.padded_tokens: Callable[[int, int], int] = operator.mul

    def open(self, threads: int) -> Any:
        self.opened.append(threads)

        def encode(batch):
            assert {len(tokens) for tokens in batch} == {16}
            self.batches.append((threads, len(batch)))
            self.wall += self.wall_s(threads, len(batch))
            self.cpu += self.cpu_s(threads, len(batch))

        return SimpleNamespace(
            encode=encode,
            threads=threads,
            padded_tokens=self.padded_tokens,
            warm=lambda **bounds: self.warmed.append(bounds),
        )

    def calibrate(self, *, batching=None, **encoder):
        settings = EncoderSettings.model_validate(encoder), BatchingSettings.model_validate(batching or {})
        return calibrate(self.open, encoder=settings[0], batching=settings[1], cores=self.cores)


@pytest.fixture
def machine(monkeypatch):
    def build(*arguments, **options):
        built = Machine(*arguments, **options)
        clock = SimpleNamespace(perf_counter=lambda: built.wall, process_time=lambda: built.cpu)
        monkeypatch.setattr(calibration, "time", clock)
        return built

    return build


def linear(threads, count):
    """Two milliseconds for a batch and half a millisecond for a text, whatever the threads."""
    return 0.002 + 0.0005 * count


# Threads and workers


def test_a_quick_model_gets_a_thread_a_batch_and_a_batch_a_core(machine):
    encoder, found = machine(linear).calibrate()
    assert encoder.threads == found.threads == 1
    assert found.workers == 4 + SPARE


def test_a_slow_model_gets_more_threads_as_long_as_they_make_it_quicker(machine):
    def split(threads, count):  # two threads help, four do not
        return 0.1 * count / min(threads, 2)

    built = machine(split, lambda threads, count: 0.1 * count)
    encoder, found = built.calibrate()
    assert encoder.threads == found.threads == 2
    assert found.workers == 2 + SPARE


def test_threads_that_cost_much_cpu_time_are_not_taken(machine):
    built = machine(lambda threads, count: 0.1 * count / threads, lambda threads, count: 0.1 * count * (1 + threads))
    assert built.calibrate()[1].threads == 1


def test_all_cores_for_a_batch_are_a_worker_of_its_own(machine):
    built = machine(lambda threads, count: 0.1 * count / threads, lambda threads, count: 0.1 * count, cores=3)
    found = built.calibrate()[1]
    assert found.threads == 2
    assert found.workers == 1 + SPARE  # there is a third core, which fits no second batch


@pytest.mark.parametrize(
    ("given", "threads", "workers"),
    [
        ({"workers": 7}, 1, 7),
        ({"threads": 2, "workers": 5}, 2, 5),
        ({"device": "cuda"}, 1, 1),
        ({"device": "cuda", "workers": 2}, 1, 2),
    ],
)
def test_threads_and_workers_that_are_given_are_kept(machine, given, threads, workers):
    built = machine(linear)
    encoder, found = built.calibrate(**given)
    assert (encoder.threads, found.threads, found.workers) == (threads, threads, workers)
    assert built.opened == [threads]


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_given_threads_get_as_many_batches_as_there_are_cores_for(machine, threads):
    found = machine(linear).calibrate(threads=threads)[1]
    assert found.threads == threads
    assert found.workers == 4 // threads + SPARE


# Batches


def test_what_a_batch_costs_beyond_its_tokens_is_measured(machine):
    found = machine(linear).calibrate()[1]
    # Half a millisecond a text of 16 tokens: 2 ms are as much as 64 tokens.
    assert found.batch_cost_tokens == pytest.approx(64, abs=1)
    assert all(took == pytest.approx(linear(1, tokens // 16)) for tokens, took in found.samples)


def test_batches_grow_until_a_text_costs_more(machine):
    def caches(threads, count):  # beyond 512 tokens, a text takes half as much again
        return 0.001 + 0.0005 * count * (1.5 if count * 16 > 512 else 1)

    built = machine(caches)
    assert built.calibrate()[1].max_batch_tokens == 512
    assert max(count for _, count in built.batches) == 1024 // 16  # and none is tried beyond the first that is dearer


def test_batches_that_cost_ever_less_are_as_large_as_the_largest_tried(machine):
    assert machine(linear).calibrate()[1].max_batch_tokens == 2048


def test_on_a_gpu_the_time_on_the_wall_counts(machine):
    built = machine(lambda threads, count: 0.003 + 1e-6 * count, lambda threads, count: 0.001 * count**2)
    assert built.calibrate(device="cuda")[1].max_batch_tokens == 32768


@pytest.mark.parametrize("tokens", [100, 4096])
def test_a_token_budget_that_is_given_is_kept(machine, tokens):
    built = machine(linear)
    found = built.calibrate(batching={"max_batch_tokens": tokens})[1]
    assert found.max_batch_tokens == tokens
    assert len(found.samples) == 2
    assert found.batch_cost_tokens == pytest.approx(64, abs=1)


@pytest.mark.parametrize("cost", [0, 17])
def test_a_batch_cost_that_is_given_is_kept(machine, cost):
    assert machine(linear).calibrate(batching={"batch_cost_tokens": cost})[1].batch_cost_tokens == cost


def test_no_batch_is_tried_that_is_larger_than_allowed(machine):
    built = machine(linear)
    built.calibrate(batching={"max_batch_size": 5})
    assert max(count for _, count in built.batches if count != 16) == 5


def test_where_shapes_are_fixed_those_that_are_run_are_measured(machine):
    built = machine(linear)
    built.padded_tokens = lambda count, length: 16 * 2 ** math.ceil(math.log2(count))
    found = built.calibrate(batching={"max_batch_tokens": 400, "max_batch_size": 24})[1]
    # 24 texts would be padded to 32, which is over the budget.
    assert {count for _, count in built.batches} == {1, 16}
    assert [tokens for tokens, _ in found.samples] == [16, 256]
    built.calibrate(batching={"max_batch_tokens": 512, "max_batch_size": 24})
    assert built.batches[-1] == (1, 24)  # run as 32


def test_the_encoder_is_warmed_for_the_batches_that_will_be_run(machine):
    built = machine(linear)
    built.calibrate(batching={"max_batch_size": 50})
    built.calibrate(batching={"max_batch_tokens": 100, "max_batch_size": 50})
    assert built.warmed == [
        {"max_batch_tokens": 2048, "max_batch_size": 50},
        {"max_batch_tokens": 100, "max_batch_size": 50},
    ]


@pytest.mark.parametrize("wall_s", [lambda threads, count: 0.003, lambda threads, count: 0.01 / count])
def test_where_tokens_cost_nothing_padding_is_preferred_to_batches(machine, wall_s):
    found = machine(wall_s).calibrate()[1]
    assert found.batch_cost_tokens >= found.max_batch_tokens


def test_what_disturbs_a_measurement_does_not_count(machine):
    calls = iter(range(10**6))

    def disturbed(threads, count):
        return linear(threads, count) * (1 if next(calls) % 3 else 10)

    found = machine(disturbed, linear).calibrate()[1]
    assert all(took == pytest.approx(linear(1, tokens // 16)) for tokens, took in found.samples)


# What becomes of it


def test_the_policy_is_the_settings_with_what_was_measured():
    found = Calibration(2, 3, 512, 64, ((16, 0.1),), 0.5)
    settings = BatchingSettings(
        max_batch_size=9, window=8, max_queue=7, max_age_s=6, bulk_handicap_s=5, stuck_after_s=4
    )
    policy = batch_policy(settings, found)
    assert (policy.max_batch_tokens, policy.batch_cost_tokens) == (512, 64)
    assert (policy.max_batch_size, policy.window, policy.max_queue) == (9, 8, 7)
    assert (policy.max_age_s, policy.bulk_handicap_s, policy.stuck_after_s) == (6, 5, 4)


def test_a_real_encoder_is_measured(opened_bundle):
    encoder, found = calibrate(
        lambda threads: Encoder.from_bundle(opened_bundle, threads=threads),
        encoder=EncoderSettings(),
        batching=BatchingSettings(max_batch_tokens=64),
        cores=2,
    )
    assert isinstance(encoder, Encoder)
    assert found.threads >= 1
    assert found.workers >= 1
    assert found.max_batch_tokens == 64
    assert found.batch_cost_tokens >= 0
    assert all(tokens > 0 and seconds > 0 for tokens, seconds in found.samples)
    assert found.took_s > 0
