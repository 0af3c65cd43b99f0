"""The requests that every contender gets, as files of protobuf-JSON lines (RecommendRequest).

No two texts of a file are the same, so that no cache can answer one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

TOP = 10
_SHORTEST_TOKENS, _LONGEST_TOKENS = 5, 128
_SPECIAL_TOKENS = 2
_MOST_EVENTS = 20


class Tokenizer(Protocol):
    """What is used of `tokenizers.Tokenizer`."""

    def encode(self, sequence: str, *, add_special_tokens: bool) -> Any:
        """Tokens with `offsets`."""


@dataclass(frozen=True, slots=True)
class RequestFiles:
    """Where the requests lie.

    Attributes:
        texts: the catalogue's own texts, and as many more as are needed spliced from two of them.
        more_texts: others, for a second step with the same server.
        warm_up: others.
        mixed: texts of 5 to 128 tokens, every length as frequent.
        mixed_warm_up: others.
        histories: no text, 1 to 20 events.
    """

    texts: Path
    more_texts: Path
    warm_up: Path
    mixed: Path
    mixed_warm_up: Path
    histories: Path


def distinct_texts(catalogue: Sequence[str], count: int, random: np.random.Generator) -> list[str]:
    """As many different texts, in random order: the catalogue's, and beginnings of some with the ends of others.

    Raises:
        ValueError: the catalogue cannot make so many.
    """
    known = list(dict.fromkeys(catalogue))
    texts = [known[i] for i in random.permutation(len(known))][:count]
    seen = set(texts)
    failures = 0
    while len(texts) < count:
        first, second = (known[int(i)].split() for i in random.integers(len(known), size=2))
        cut = random.random()
        spliced = " ".join([*first[: round(cut * len(first))], *second[round(cut * len(second)) :]])
        if spliced in seen:
            failures += 1
            if failures > 100 * count:
                raise ValueError(f"the catalogue's texts are too few to make {count} different ones of them")
            continue
        seen.add(spliced)
        texts.append(spliced)
    return [texts[int(i)] for i in random.permutation(count)]


def mixed_lengths(catalogue: Sequence[str], count: int, tokenizer: Tokenizer, random: np.random.Generator) -> list[str]:
    """Texts of 5 to 128 tokens, special ones included, every length as frequent: items joined, then cut."""
    texts = []
    for tokens in random.integers(_SHORTEST_TOKENS, _LONGEST_TOKENS + 1, size=count):
        wanted = int(tokens) - _SPECIAL_TOKENS
        joined = ""
        offsets: list[tuple[int, int]] = []
        while len(offsets) < wanted:
            joined += " " + catalogue[int(random.integers(len(catalogue)))]
            offsets = tokenizer.encode(joined, add_special_tokens=False).offsets
        texts.append(joined[: offsets[wanted - 1][1]].strip())
    return texts


def histories(item_ids: Sequence[str], count: int, random: np.random.Generator) -> list[list[str]]:
    """Item ids, 1 to 20 different ones each."""
    most = min(_MOST_EVENTS, len(item_ids))
    sizes = random.integers(1, most + 1, size=count)
    return [[item_ids[int(i)] for i in random.choice(len(item_ids), size=int(n), replace=False)] for n in sizes]


def text_request(text: str) -> dict[str, object]:
    """A wish."""
    return {"text": text, "pageSize": TOP}


def history_request(item_ids: Sequence[str]) -> dict[str, object]:
    """A history without a wish."""
    return {"recentEvents": [{"itemId": item_id} for item_id in item_ids], "pageSize": TOP}


def write_requests(path: Path, requests: Iterable[dict[str, object]]) -> None:
    """Writes one request a line."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(request) + "\n" for request in requests)


def read_texts(path: Path) -> list[str]:
    """The texts of a file of requests."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def make_requests(bundle: Path, directory: Path, *, count: int, seed: int = 0) -> RequestFiles:
    """Writes all files.

    Args:
        bundle: its items and its tokenizer are used.
        directory: where to write.
        count: requests in each of the first two files, a fourth of it in the others.
        seed: of all that is drawn.
    """
    from tokenizers import Tokenizer as HubTokenizer

    with (bundle / "items.jsonl").open(encoding="utf-8") as lines:
        items = [json.loads(line) for line in lines]
    catalogue = [item["text"] for item in items]
    random = np.random.default_rng(seed)
    tokenizer = HubTokenizer.from_file(str(bundle / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    files = RequestFiles(**{name: directory / f"{name}.jsonl" for name in RequestFiles.__dataclass_fields__})
    few = max(1, count // 4)
    texts = distinct_texts(catalogue, 2 * count + few, random)
    mixed = mixed_lengths(catalogue, 2 * few, tokenizer, random)
    of_texts = {
        files.texts: texts[:count],
        files.more_texts: texts[count : 2 * count],
        files.warm_up: texts[2 * count :],
        files.mixed: mixed[:few],
        files.mixed_warm_up: mixed[few:],
    }
    for path, chosen in of_texts.items():
        write_requests(path, map(text_request, chosen))
    drawn = histories([item["id"] for item in items], few, random)
    write_requests(files.histories, map(history_request, drawn))
    return files
