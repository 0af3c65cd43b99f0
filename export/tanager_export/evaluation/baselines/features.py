"""What is known of items and users beside behaviour, as weighted bags of features."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tanager_export.dataset import AttributeValue, Item

MAX_WORDS = 5_000

_WORD = re.compile(r"[^\W_]+")
_LEAST_ITEMS = 2
_LEAST_USERS = 2
_BINS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Bags:
    """Rows of weighted features: row `r` is `feature[indptr[r]:indptr[r + 1]]`, of which there are `count`."""

    indptr: NDArray[np.int64]
    feature: NDArray[np.int64]
    weight: NDArray[np.float32]
    count: int


def item_features(items: Sequence[Item]) -> Bags:
    """For each item: itself, its categories, and the words of its text by TF-IDF (all words together of length 1)."""
    categories = {name: i for i, name in enumerate(sorted({name for item in items for name in item.categories}))}
    texts = [Counter(_WORD.findall(item.encoder_text.casefold())) for item in items]
    in_items = Counter(word for words in texts for word in words)
    # A word of one item tells of no other; a word of every item tells nothing.
    known = [word for word, count in in_items.most_common() if _LEAST_ITEMS <= count < len(items)][:MAX_WORDS]
    rarity = {word: math.log(len(items) / in_items[word]) for word in known}
    first_category, first_word = len(items), len(items) + len(categories)
    words = {word: first_word + i for i, word in enumerate(known)}
    rows: list[list[tuple[int, float]]] = []
    for number, (item, counts) in enumerate(zip(items, texts, strict=True)):
        row = [(number, 1.0)]
        row += [(first_category + categories[name], 1.0) for name in dict.fromkeys(item.categories)]
        told = {word: (1 + math.log(count)) * rarity[word] for word, count in counts.items() if word in words}
        length = math.sqrt(sum(weight**2 for weight in told.values()))
        row += [(words[word], weight / length) for word, weight in told.items()]
        rows.append(row)
    return _bags(rows, first_word + len(known))


class ProfileFeatures:
    """Attributes of users as features: a value of a text or a truth value is one; numbers fall into eight equal parts.

    Args:
        profiles: Of the users to learn from; values of fewer than two users are left out.
    """

    def __init__(self, profiles: Sequence[Mapping[str, AttributeValue]]) -> None:
        numbers: dict[str, list[float]] = {}
        for profile in profiles:
            for name, value in profile.items():
                if _is_number(value):
                    numbers.setdefault(name, []).append(float(value))
        shares = np.arange(1, _BINS) / _BINS
        self._edges = {name: np.unique(np.quantile(values, shares)).tolist() for name, values in numbers.items()}
        counts = Counter(feature for profile in profiles for feature in set(self._named(profile)))
        known = sorted(feature for feature, count in counts.items() if count >= _LEAST_USERS)
        self._position = {feature: position for position, feature in enumerate(known)}

    def __len__(self) -> int:
        return len(self._position)

    def bags(self, profiles: Sequence[Mapping[str, AttributeValue]]) -> Bags:
        """The features of some profiles; values never seen are left out."""
        rows = [
            [(self._position[feature], 1.0) for feature in self._named(profile) if feature in self._position]
            for profile in profiles
        ]
        return _bags(rows, len(self._position))

    def _named(self, profile: Mapping[str, AttributeValue]) -> list[str]:
        found = []
        for name, value in profile.items():
            if _is_number(value):
                found.append(f"{name}#{bisect_right(self._edges.get(name, []), float(value))}")
            elif isinstance(value, tuple):
                found += [f"{name}={part}" for part in value]
            else:
                found.append(f"{name}={value}")
        return found


def _is_number(value: AttributeValue) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _bags(rows: Sequence[Sequence[tuple[int, float]]], count: int) -> Bags:
    return Bags(
        np.concatenate(([0], np.cumsum([len(row) for row in rows]))).astype(np.int64),
        np.array([feature for row in rows for feature, _ in row], np.int64),
        np.array([weight for row in rows for _, weight in row], np.float32),
        count,
    )
