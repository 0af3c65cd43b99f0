"""Texts to teach a student, and wishes to test it: a student that only ever read whole items would misread a wish."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tanager_export.dataset import Item

_HELD_OUT = 0.05
_FEWEST_HELD_OUT = 1
_MOST_WORDS = 8
_MOST_PHRASES = 3
_LONGEST_PHRASE = 60  # characters
_KEPT_WORDS = 0.7
_PHRASE_ENDS = re.compile(r"[.,;:!?()\[\]|]+\s*")
# Said in tests only: what a student makes of words around a wish must not be what it was taught of these.
_FRAMES = ("something like {}", "I am looking for {}", "{}, please")


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a student reads.

    Attributes:
        items: positions of the items whose texts it learns from.
        held_out: positions of those it never learns from: early stopping and wishes go by them.
        wishes: texts as short as a wish, made of those of `items`.
        held_out_wishes: texts as short as a wish, made of those of `held_out`.
    """

    items: tuple[int, ...]
    held_out: tuple[int, ...]
    wishes: tuple[str, ...]
    held_out_wishes: tuple[str, ...]


def lesson(items: Sequence[Item], *, wishes_an_item: int, seed: int) -> Lesson:
    """Makes what a student reads of a catalogue.

    Args:
        items: the catalogue, at least two.
        wishes_an_item: short texts made of each item.
        seed: of all draws.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(items)).tolist()
    count = max(_FEWEST_HELD_OUT, round(_HELD_OUT * len(items)))
    held_out, learned = sorted(order[:count]), sorted(order[count:])
    drawn = {wish for i in learned for wish in _wishes(items[i], wishes_an_item, random)}
    unseen = tuple(wish for i in held_out for wish in _wishes(items[i], 1, random))
    return Lesson(tuple(learned), tuple(held_out), tuple(sorted(drawn)), unseen)


def spoken_wishes(items: Sequence[Item], chosen: Sequence[int], *, most: int, seed: int) -> dict[str, list[str]]:
    """Free texts as people might ask for these items, by kind: titles, phrases of the text, and framed in a sentence.

    Args:
        items: the catalogue.
        chosen: positions of items to ask for.
        most: of each kind.
        seed: of the draws.
    """
    random = np.random.default_rng(seed)
    drawn = random.permutation(np.asarray(chosen))[:most].tolist()
    titles = [items[i].title for i in drawn if items[i].title.strip()]
    phrases = [_some_phrases(items[i], random) for i in drawn]
    framed = [_FRAMES[at % len(_FRAMES)].format(phrase) for at, phrase in enumerate(phrases)]
    return {kind: texts for kind, texts in (("titles", titles), ("phrases", phrases), ("sentences", framed)) if texts}


def _wishes(item: Item, count: int, random: np.random.Generator) -> list[str]:
    """A wish of each way in turn, from one drawn at random."""
    ways = (_title, _some_phrases, _some_words, _fewer_words)
    first = int(random.integers(len(ways)))
    return [ways[(first + at) % len(ways)](item, random) for at in range(count)]


def _title(item: Item, random: np.random.Generator) -> str:
    title = item.title.strip() or item.encoder_text
    return title.lower() if random.random() < 0.5 else title


def _some_phrases(item: Item, random: np.random.Generator) -> str:
    """Categories, tags and other short parts of a text, in any order."""
    parts = [part.strip() for part in (*_PHRASE_ENDS.split(item.encoder_text), *item.categories)]
    parts = list(dict.fromkeys(part for part in parts if 1 < len(part) <= _LONGEST_PHRASE))
    if not parts:
        return _some_words(item, random)
    count = int(random.integers(1, min(_MOST_PHRASES, len(parts)) + 1))
    return " ".join(parts[at] for at in random.permutation(len(parts))[:count]).lower()


def _some_words(item: Item, random: np.random.Generator) -> str:
    """A few words that follow each other."""
    words = item.encoder_text.split()
    count = min(len(words), int(random.integers(2, _MOST_WORDS + 1)))
    start = int(random.integers(0, len(words) - count + 1))
    return " ".join(words[start : start + count])


def _fewer_words(item: Item, random: np.random.Generator) -> str:
    """The text with words left out."""
    words = item.encoder_text.split()
    kept = [word for word, keep in zip(words, random.random(len(words)) < _KEPT_WORDS, strict=True) if keep]
    return " ".join(kept or words[:1])
