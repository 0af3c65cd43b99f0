"""The requests of a run, serialised before it begins: read from a file, or made of the server's own catalogue."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from google.protobuf import json_format

from tanager.v1 import recommendation_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from random import Random

    from tanager._client import Client

WORKLOADS = ("text", "history", "mixed", "similar")

RECOMMEND, SIMILAR_ITEMS = 0, 1
# By the two numbers above: the method's name on the wire, and what reads its answer.
METHODS = (
    "/tanager.v1.RecommendationService/Recommend",
    "/tanager.v1.RecommendationService/SimilarItems",
)
PARSERS: tuple[Callable[[bytes], recommendation_pb2.RecommendResponse | recommendation_pb2.SimilarItemsResponse], ...]
PARSERS = (recommendation_pb2.RecommendResponse.FromString, recommendation_pb2.SimilarItemsResponse.FromString)

MAX_HISTORY = 20
# What `mixed` consists of: shares in hundredths.
MIX = {"text": 40, "history": 30, "text and history": 15, "similar": 10, "nothing": 5}
_MAX_ITEMS = 4_000
_MAX_PAGE = 1_000
# A title alone, and in ways that people ask; together they make many times more wishes than there are titles.
_PHRASES = (
    "{}",
    "something like {}",
    "more like {} please",
    "{} but funnier",
    "{} but darker and slower",
    "the mood of {}",
    "like {}, for a rainy evening",
    "I loved {}, what is next?",
)


class WorkloadError(Exception):
    """Requests cannot be made; the message names what to mend."""


class Item(NamedTuple):
    """What is known of an item of the catalogue."""

    item_id: str
    title: str


@dataclass(frozen=True, slots=True)
class Pool:
    """Requests to draw from.

    Attributes:
        requests: Each a number of `METHODS` and the serialised message.
        source: Where they come from, for people.
    """

    requests: Sequence[tuple[int, bytes]]
    source: str


def read_pool(path: Path, workload: str, page_size: int) -> Pool:
    """Reads requests from a file.

    Args:
        path: Each line a JSON object: a RecommendRequest in protobuf's JSON form, or for the workload `similar`, and in
            `mixed` where it has an item id, a SimilarItemsRequest. Empty lines count as none.
        workload: One of `WORKLOADS`.
        page_size: For the requests that do not state one.

    Raises:
        WorkloadError: The file holds no request, or a line is none; the message names the line.
        OSError: It cannot be read.
    """
    requests = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    requests.append(_read(line, workload, page_size))
                except (ValueError, TypeError, json_format.ParseError) as error:
                    raise WorkloadError(f"{path}:{number}: {' '.join(str(error).split())}") from None
    if not requests:
        raise WorkloadError(f"{path}: holds no request; each line is a RecommendRequest as a JSON object")
    return Pool(requests, f"read from {path}")


def _read(line: str, workload: str, page_size: int) -> tuple[int, bytes]:
    value = json.loads(line)
    if not isinstance(value, dict):
        raise TypeError(f"a request is a JSON object, not {line.strip()[:40]}")
    similar = workload == "similar" or (workload == "mixed" and not value.keys().isdisjoint(("itemId", "item_id")))
    message = recommendation_pb2.SimilarItemsRequest() if similar else recommendation_pb2.RecommendRequest()
    json_format.ParseDict(value, message)
    if not message.HasField("page_size"):
        message.page_size = page_size
    return SIMILAR_ITEMS if similar else RECOMMEND, message.SerializeToString()


def list_items(client: Client) -> list[Item]:
    """The most popular items of the server's catalogue, a few thousand at most.

    There is no call that lists them, so it asks for what is popular, page by page, without what it has already.

    Raises:
        TanagerError: The server did not answer.
    """
    items: list[Item] = []
    while len(items) < _MAX_ITEMS:
        size = min(_MAX_PAGE, _MAX_ITEMS - len(items))
        answer = client.recommend(page_size=size, exclude_item_ids=[item.item_id for item in items])
        items += [Item(result.item_id, result.title) for result in answer]
        if len(answer) < size:
            break
    return items


def make_pool(items: Sequence[Item], workload: str, *, page_size: int, size: int, random: Random) -> Pool:
    """Makes requests of a catalogue: titles become wishes, ids become histories and items to find similar ones for.

    Args:
        items: Of the catalogue.
        workload: One of `WORKLOADS`.
        page_size: Of every request.
        size: How many requests to make at most; there are fewer if the catalogue does not suffice for so many
            different ones.
        random: What chooses.

    Raises:
        WorkloadError: The catalogue has no items, or for wishes no titles.
    """
    if not items:
        raise WorkloadError("the catalogue is empty; give the requests with --requests-file")
    maker = _Maker(items, page_size, random)
    if workload == "mixed":
        kinds = random.choices(list(MIX), weights=list(MIX.values()), k=size)
        requests = [maker.make(kind) for kind in kinds]
        made_of = ", ".join(f"{share} % {kind}" for kind, share in MIX.items())
    else:
        requests = [maker.make(workload) for _ in range(min(size, maker.count(workload)))]
        made_of = workload
    return Pool(requests, f"made of {len(items):,} items of the server's catalogue ({made_of})")


class _Maker:
    def __init__(self, items: Sequence[Item], page_size: int, random: Random) -> None:
        self._ids = [item.item_id for item in items]
        self._titles = [title for item in items if (title := item.title.strip())]
        self._page_size = page_size
        self._random = random
        self._wish_numbers = self._permutation(len(self._titles) * len(_PHRASES))
        self._item_numbers = self._permutation(len(items))

    def count(self, workload: str) -> int:
        """How many different requests there are; histories are as good as endless."""
        return {"text": max(1, len(self._titles) * len(_PHRASES)), "similar": len(self._ids)}.get(workload, 1 << 62)

    def make(self, kind: str) -> tuple[int, bytes]:
        if kind == "similar":
            return SIMILAR_ITEMS, recommendation_pb2.SimilarItemsRequest(
                item_id=self._ids[next(self._item_numbers)], page_size=self._page_size
            ).SerializeToString()
        message = recommendation_pb2.RecommendRequest(page_size=self._page_size)
        if "text" in kind:
            message.text = self._wish()
        if "history" in kind:
            length = self._random.randint(1, min(MAX_HISTORY, len(self._ids)))
            message.recent_events.extend(
                recommendation_pb2.Event(item_id=item_id) for item_id in self._random.sample(self._ids, length)
            )
        return RECOMMEND, message.SerializeToString()

    def _wish(self) -> str:
        if not self._titles:
            raise WorkloadError("the catalogue has no titles to make wishes of; give them with --requests-file")
        title, phrase = divmod(next(self._wish_numbers), len(_PHRASES))
        return _PHRASES[phrase].format(self._titles[title])

    def _permutation(self, size: int) -> Iterator[int]:
        """All numbers below `size` in random order, over and over."""
        order = list(range(size))
        self._random.shuffle(order)
        while True:
            yield from order
