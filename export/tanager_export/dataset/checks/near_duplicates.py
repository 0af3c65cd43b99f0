"""Texts that are nearly the same, found among many without comparing each with each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# A word; or one character of a script that is written without spaces.
_WORD = re.compile(
    r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+"
)
_BANDS, _ROWS = 12, 5
_NEXT_BANDS, _NEAREST = 3, 3
_PAIRS_A_BLOCK = 1 << 16


def near_duplicate_pairs(texts: Sequence[str], *, similarity: float = 0.8) -> NDArray[np.int64]:
    """Pairs of texts of which most pairs of adjacent words are the same.

    The similarity of two texts is that of Jaccard between their sets of adjacent words; the beginning and the end
    count as words. Candidates come from MinHash (Broder, 1997) in bands: those that share a band are compared,
    exactly, with their nearest there. Two texts of a similarity of 0.8 share a band 99 times in 100, and all but
    always above that. Of a group a chain is found rather than all pairs, and some of a crowd from one mould is missed.

    Args:
        texts: To compare.
        similarity: From which on two texts count as nearly the same.

    Returns:
        `(pairs, 2) int64` positions in `texts`, the smaller first, ascending.
    """
    indptr, shingles, count = _shingles(texts)
    if len(texts) < 2:
        return np.empty((0, 2), np.int64)
    signatures = _signatures(indptr, shingles, count)
    pairs = _candidates(signatures)
    found = [
        block[_similarities(block, indptr, shingles, count) >= similarity]
        for block in np.split(pairs, range(_PAIRS_A_BLOCK, len(pairs), _PAIRS_A_BLOCK))
    ]
    return np.concatenate(found)


def _shingles(texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """The pairs of adjacent words of each text, as numbers: row `r` is `shingles[indptr[r]:indptr[r + 1]]`, ascending.

    Returns:
        The rows and how many different pairs there are.
    """
    numbers: dict[str, int] = {}
    words: list[int] = []
    lengths = np.empty(len(texts), np.int64)
    for at, text in enumerate(texts):
        found = _WORD.findall(text.lower())
        lengths[at] = len(found) + 2
        words.append(0)
        words += [numbers.setdefault(word, len(numbers) + 1) for word in found]
        words.append(0)
    row = np.repeat(np.arange(len(texts)), lengths)
    word = np.array(words, np.int64)
    adjacent = row[1:] == row[:-1]
    pair = (word[:-1] * (len(numbers) + 1) + word[1:])[adjacent]
    kinds, number = np.unique(pair, return_inverse=True)
    key = np.unique(row[1:][adjacent] * len(kinds) + number)  # a set: each pair once a text
    indptr = np.searchsorted(key, np.arange(len(texts) + 1) * len(kinds))
    return indptr.astype(np.int64), key % max(1, len(kinds)), len(kinds)


def _signatures(indptr: NDArray[np.int64], shingles: NDArray[np.int64], count: int) -> NDArray[np.uint32]:
    """`(texts, bands * rows) uint32`: the least hash of each text's shingles, under as many hash functions."""
    rng = np.random.default_rng(0)
    signatures = np.empty((len(indptr) - 1, _BANDS * _ROWS), np.uint32)
    for column in range(signatures.shape[1]):
        hashes = rng.permutation(count).astype(np.uint32)  # no two shingles alike
        # Every text has a shingle: the beginning and what follows it.
        signatures[:, column] = np.minimum.reduceat(hashes[shingles], indptr[:-1])
    return signatures


def _candidates(signatures: NDArray[np.uint32]) -> NDArray[np.int64]:
    """`(pairs, 2)`: texts that share a band, each with its nearest in the band.

    Nearest is who follows where those of a band are ordered by the next bands: many share a band where texts come
    from one mould, and the more alike two are, the more bands they share.
    """
    texts = len(signatures)
    buckets = np.stack(
        [
            np.unique(signatures[:, start : start + _ROWS], axis=0, return_inverse=True)[1].ravel()
            for start in range(0, signatures.shape[1], _ROWS)
        ]
    )
    keys = []
    for band in range(_BANDS):
        order = np.lexsort(np.roll(buckets, -band, axis=0)[_NEXT_BANDS::-1])
        for distance in range(1, _NEAREST + 1):
            one, other = order[:-distance], order[distance:]
            same = buckets[band, one] == buckets[band, other]
            keys.append(np.minimum(one, other)[same] * texts + np.maximum(one, other)[same])
    key = np.unique(np.concatenate(keys))
    return np.stack(np.divmod(key, texts), axis=1).astype(np.int64)


def _similarities(
    pairs: NDArray[np.int64], indptr: NDArray[np.int64], shingles: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """`(pairs,)`: Jaccard similarity of the two sets of each."""
    lengths = np.diff(indptr)
    row = np.repeat(np.arange(len(lengths)), lengths)
    keys = row * count + shingles  # ascending
    first, second = pairs.T
    of_first = lengths[first]
    owner = np.repeat(np.arange(len(pairs)), of_first)
    within = np.arange(of_first.sum()) - np.repeat(np.cumsum(of_first) - of_first, of_first)
    wanted = second[owner] * count + shingles[indptr[first][owner] + within]
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    common = np.bincount(owner[keys[at] == wanted], minlength=len(pairs))
    similarities: NDArray[np.float64] = common / (of_first + lengths[second] - common)
    return similarities
