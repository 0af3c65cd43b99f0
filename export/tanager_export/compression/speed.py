"""How fast encoders are beside each other: in turn, over the same texts, so that other work hits all alike."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tanager_server.runtime import Encoder

ROUNDS = 7


@dataclass(frozen=True, slots=True)
class Speed:
    """Medians over rounds.

    Attributes:
        texts_per_s: tokenised and encoded, on one thread of ONNX Runtime, as the server runs a batch.
        ratio: to the encoder compared with, round by round.
        ratio_low: the smallest of a round.
        ratio_high: the largest.
    """

    texts_per_s: float
    ratio: float
    ratio_low: float
    ratio_high: float


def compare_speed(
    encoders: Mapping[str, Encoder], texts: Sequence[str], *, against: str, rounds: int = ROUNDS, seed: int = 0
) -> dict[str, Speed]:
    """Times all encoders in turn.

    Args:
        encoders: by name, each with one thread.
        texts: what all of them encode in each round, in batches of the size that the catalogue is encoded in.
        against: name of the encoder that ratios are to.
        rounds: how many, after one that does not count.
        seed: of the order in which they come in a round.
    """
    random = np.random.default_rng(seed)
    names = list(encoders)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with tqdm(total=(rounds + 1) * len(names), desc="timing", unit="run", leave=False, disable=None) as bar:
        for number in range(rounds + 1):
            for at in random.permutation(len(names)).tolist():
                began = time.perf_counter()
                encoders[names[at]].encode_texts(texts)
                if number:
                    seconds[names[at]].append(time.perf_counter() - began)
                bar.update()
    return {name: _speed(seconds[name], seconds[against], len(texts)) for name in names}


def _speed(ours: Sequence[float], theirs: Sequence[float], texts: int) -> Speed:
    ratios = [their / our for our, their in zip(ours, theirs, strict=True)]
    return Speed(texts / statistics.median(ours), statistics.median(ratios), min(ratios), max(ratios))


def tokenising_share(encoder: Encoder, texts: Sequence[str], *, rounds: int = ROUNDS) -> float:
    """Share of an encoder's time that goes into tokens, which no smaller model makes cheaper."""
    tokenised, whole = [], []
    for _ in range(rounds):
        began = time.perf_counter()
        encoder.tokenize(texts)
        tokenised.append(time.perf_counter() - began)
        began = time.perf_counter()
        encoder.encode_texts(texts)
        whole.append(time.perf_counter() - began)
    return statistics.median(tokenised) / statistics.median(whole)
