"""Texts to vectors for concurrent calls: cache, tokenizer, batcher and encoder joined, off the event loop."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

from tanager_server.errors import DrainingError
from tanager_server.index import Neighbourhood
from tanager_server.runtime.batcher import Batcher, BatchObserver
from tanager_server.runtime.cache import TextCache
from tanager_server.runtime.worker import WorkerThread

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from tanager_server.index import Nearest
    from tanager_server.runtime.cost import CostModel
    from tanager_server.runtime.encoder import Encoder, Tokens
    from tanager_server.runtime.job import BatchPolicy

    Retrieve = Callable[[NDArray[np.float32], int], Nearest]

P = ParamSpec("P")
T = TypeVar("T")

# A short text is tokenised in less time than handing it to a thread takes; a long one would hold up every other call.
_TOKENIZE_INLINE_CHARS = 1024
# Texts tokenised at a time: a call of many lets those of others come in between, and stops when its caller goes.
_TOKENIZE_SLICE = 16
# Wishes of a batch are searched together for as many items as the usual page needs; one that needs more, by itself.
_COMMON_REACH = 64
# Encoding takes every core it is given; the event loop, which answers those who need no encoding and refuses those who
# come to a full queue, must not wait for one.
_NICENESS = 8
# Texts of items come after all that callers' answers wait for: on half of the cores at most, in batches half as large,
# for what these bring into the caches is not the callers'.
_ITEMS_NICENESS = 15
_ITEMS_SHARE = 2
_ITEMS_TOKENIZE_SLICE = 4
# Threads that take the place of those whose batches do not come back, and which may still hold a core each.
_SPARE_THREADS = 4


class TextObserver(BatchObserver, Protocol):
    """Told what the text encoder does; for metrics."""

    def observe_cache(self, hit: bool) -> None:
        """A text was looked up in the cache."""


@dataclass(frozen=True, slots=True)
class EncodedTexts:
    """Vectors of some texts and what it took.

    Attributes:
        vectors: one (dim,) float32, unit length, for each text.
        tokenize_s: turning texts into tokens.
        queue_s: waiting for the (last) batch.
        encode_s: the encoder's run over that batch.
        batch_size: texts in that batch, other callers' included; 0 when nothing had to be encoded.
    """

    vectors: list[NDArray[np.float32]]
    tokenize_s: float
    queue_s: float
    encode_s: float
    batch_size: int


@dataclass(frozen=True, slots=True)
class EncodedWish:
    """A wish as a vector, with the items nearest to it; times as in `EncodedTexts`.

    Attributes:
        vector: (dim,) float32, unit length.
        nearest: items by similarity.
        search_s: the search for all wishes of the batch.
    """

    vector: NDArray[np.float32]
    nearest: Neighbourhood
    tokenize_s: float
    queue_s: float
    encode_s: float
    search_s: float
    batch_size: int


@dataclass(frozen=True, slots=True)
class _Text:
    """A job of the batcher; `reach` is how many items are to be found for it, 0 for none."""

    tokens: Tokens
    length: int
    reach: int


@dataclass(frozen=True, slots=True)
class _Vector:
    """A result of the batcher, and a value of the cache; `reach` is for how many items was searched, found or not.

    `retrieve` is what was searched by: another one knows other items.
    """

    vector: NDArray[np.float32]
    reach: int
    retrieve: Retrieve
    nearest: Neighbourhood | None
    encode_s: float
    search_s: float

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        nearest = self.nearest
        return self.vector.nbytes + (nearest.positions.nbytes + nearest.similarities.nbytes if nearest else 0)


class _Threads:
    """Threads for as many functions at a time as are asked for, made when they are needed.

    Args:
        name: what the threads' names begin with.
        niceness: of each.
    """

    def __init__(self, name: str, niceness: int) -> None:
        self._name, self._niceness = name, niceness
        self.made: list[WorkerThread] = []
        """All of them."""
        self.free: list[WorkerThread] = []
        """Those that do nothing now."""

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Runs the function in a thread that does nothing else."""
        if not self.free:
            self.made.append(WorkerThread(f"{self._name}-{len(self.made)}", niceness=self._niceness))
            self.free.append(self.made[-1])
        thread = self.free.pop()
        ran = thread.run(function, *args, **kwargs)
        # A thread that hangs never becomes free again, and another takes its place; the batcher knows how often.
        ran.add_done_callback(lambda _: self.free.append(thread))
        return ran

    def close(self) -> None:
        """Ends them."""
        for thread in self.made:
            thread.close()


class TextEncoder:
    """Encodes texts of concurrent calls in common batches. Use as an async context manager.

    Texts of items have a queue of their own, whose small batches are encoded in threads that let all others go first;
    see `encode_items`.

    Args:
        encoder: tokenizer and session.
        policy: bounds of the batcher.
        retrieve: finds the nearest items of (n, dim) vectors, so many each; called in the encode thread.
        cost: what batches cost, as far as it is known.
        workers: batches at a time, each in a thread of its own.
        cache_bytes: for encoded texts; 0 for no cache.
        observe: told of every batch and look-up.
    """

    clock = staticmethod(time.monotonic)
    """Deadlines are on this clock."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        policy: BatchPolicy,
        retrieve: Retrieve,
        cost: CostModel | None = None,
        workers: int = 1,
        cache_bytes: int = 0,
        observe: TextObserver | None = None,
    ) -> None:
        self.provider = encoder.provider
        self._encoder = encoder
        self._retrieve = retrieve
        self._threads = _Threads("encode", _NICENESS)
        self._item_threads = _Threads("encode-items", _ITEMS_NICENESS)
        self._tokenize_thread = WorkerThread("tokenize")
        self._search_thread = WorkerThread("search", niceness=_NICENESS)
        self._cache: TextCache[_Vector] = TextCache(cache_bytes, observe.observe_cache if observe else None)
        self._batcher: Batcher[_Text, _Vector] = Batcher(
            self._encode,
            policy=policy,
            clock=self.clock,
            cost=cost,
            workers=workers,
            spare_workers=_SPARE_THREADS,
            padded=self._padded,
            observe=observe,
        )
        # What a batch takes there depends on what else is done, and is not what callers have to expect.
        self._items: Batcher[_Text, NDArray[np.float32]] = Batcher(
            self._encode_items,
            policy=replace(policy, max_batch_tokens=max(1, policy.max_batch_tokens // _ITEMS_SHARE)),
            clock=self.clock,
            cost=None if cost is None else cost.copy(),
            workers=max(1, workers // _ITEMS_SHARE),
            spare_workers=_SPARE_THREADS,
            padded=self._padded,
            observe=observe,
        )

    def _padded(self, count: int, length: int) -> int:
        return self._encoder.padded_tokens(count, length)

    async def __aenter__(self) -> TextEncoder:
        await self._batcher.__aenter__()
        await self._items.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends its threads, and lets go of what takes memory. What waits is failed, and so is what comes later."""
        await self._batcher.__aexit__(None, None, None)
        await self._items.__aexit__(None, None, None)
        self._cache = TextCache(0)
        self._retrieve = _nothing
        del self._encoder  # the batchers refer to this object, and it to them: such a cycle may live for long
        for threads in (self._threads, self._item_threads, self._tokenize_thread, self._search_thread):
            threads.close()

    @property
    def queue_depth(self) -> int:
        """Texts that wait to be encoded, those of items included."""
        return self._batcher.depth + self._items.depth

    @property
    def stuck(self) -> bool:
        """Whether the encoder has stopped answering calls."""
        return self._batcher.stuck

    @property
    def recent(self) -> list[str]:
        """Texts in the cache for which items were looked up, the one used last first."""
        found = ((text, self._cache.peek(text)) for text in self._cache.latest(len(self._cache)))
        return [text for text, kept in found if kept is not None and kept.nearest is not None]

    def warm(self, texts: Sequence[str]) -> None:
        """Puts texts into the cache, the last one as used last; in the caller's thread, before anybody else calls.

        Raises:
            EncodeError: the encoder failed.
        """
        vectors = self._encoder.encode_texts(texts)
        for text, vector in zip(texts, vectors, strict=True):
            plain = _Vector(vector.copy(), 0, self._retrieve, None, 0.0, 0.0)
            self._cache.put(text, self._search(plain, _COMMON_REACH))

    @property
    def cached_texts(self) -> int:
        """Texts in the cache."""
        return len(self._cache)

    async def encode_texts(self, texts: Sequence[str], *, deadline: float, bulk: bool = True) -> EncodedTexts:
        """Encodes the texts of one call, all or none.

        A text seen lately comes from the cache; one that another call waits for is encoded once for both. Not so while
        the encoder is stuck: then the server tries it with a text of its own, which has to come to it each time.

        Args:
            texts: at least one text.
            deadline: on `clock`.
            bulk: whether they come after those of `encode_wish`, or beside them.

        Raises:
            OverloadedError: the queue has no room for all of them, or would take too long.
            DeadlineExpiredError: the deadline passed first.
            EncodeError: the encoder failed, or hung at one of the texts lately.
            EncoderStuckError: the encoder did not come back, or no thread is left.
        """
        shared = not self.stuck
        known = {text: self._cache.get(text) for text in texts} if shared else {}
        vectors = {text: cached.vector for text, cached in known.items() if cached is not None}
        missing = [text for text in dict.fromkeys(texts) if text not in vectors]
        if not missing:
            return EncodedTexts([vectors[text] for text in texts], 0.0, 0.0, 0.0, 0)
        # Before tokenising, which takes longer than a refusal should.
        self._batcher.check_keys(missing)
        self._batcher.check_room(len(missing), deadline=deadline, bulk=bulk)
        began = self.clock()
        tokens = await self._tokenize(missing)
        tokenize_s = self.clock() - began
        encoded = await self._batcher.submit(
            [_Text(ids, len(ids), 0) for ids in tokens], deadline=deadline, bulk=bulk, keys=missing if shared else None
        )
        for text, each in zip(missing, encoded, strict=True):
            vectors[text] = each.result.vector
            self._keep(text, each.result)
        last = max(encoded, key=lambda each: each.queue_s)
        return EncodedTexts(
            vectors=[vectors[text] for text in texts],
            tokenize_s=tokenize_s,
            queue_s=last.queue_s,
            encode_s=last.result.encode_s,
            batch_size=last.batch_size,
        )

    async def encode_items(self, texts: Sequence[str], *, deadline: float) -> EncodedTexts:
        """Encodes texts of items that are written, all or none, after whatever callers' answers wait for.

        One that was encoded for a call lately comes from the cache. None is kept there: it is read once, and those of
        an import would take the place of all that callers ask for again.

        Args:
            texts: at least one text.
            deadline: on `clock`.

        Raises:
            As `encode_texts`.
        """
        known = {text: self._cache.peek(text) for text in texts}
        vectors = {text: cached.vector for text, cached in known.items() if cached is not None}
        missing = [text for text in known if text not in vectors]
        if not missing:
            return EncodedTexts([vectors[text] for text in texts], 0.0, 0.0, 0.0, 0)
        self._items.check_keys(missing)
        self._items.check_room(len(missing), deadline=deadline)
        began = self.clock()
        tokens: list[Tokens] = []
        for start in range(0, len(missing), _ITEMS_TOKENIZE_SLICE):
            part = missing[start : start + _ITEMS_TOKENIZE_SLICE]
            tokens += await self._tokenize_thread.run(self._tokenize_each, part)
        tokenize_s = self.clock() - began
        jobs = [_Text(ids, len(ids), 0) for ids in tokens]
        encoded = await self._items.submit(jobs, deadline=deadline, keys=missing)
        vectors |= {text: each.result for text, each in zip(missing, encoded, strict=True)}
        last = max(encoded, key=lambda each: each.queue_s)
        return EncodedTexts(
            vectors=[vectors[text] for text in texts],
            tokenize_s=tokenize_s,
            queue_s=last.queue_s,
            encode_s=last.batch_s,
            batch_size=last.batch_size,
        )

    async def encode_wish(self, text: str, *, reach: int, deadline: float) -> EncodedWish:
        """Encodes a wish and finds the items nearest to it.

        A wish seen lately comes from the cache; one that another call waits for is encoded once for both.

        Args:
            text: prompt included.
            reach: how many items to find at the least.
            deadline: on `clock`.

        Raises:
            As `encode_texts`.
        """
        if (cached := self._cache.get(text)) is not None:
            return await self._with_reach(text, cached, reach, tokenize_s=0.0, queue_s=0.0, encode_s=0.0, batch_size=0)
        self._batcher.check_keys([text])
        tokenize_s = 0.0
        encoded = await self._batcher.join(text, deadline=deadline)
        if encoded is None:
            self._batcher.check_room(1, deadline=deadline)
            began = self.clock()
            (tokens,) = await self._tokenize([text])
            tokenize_s = self.clock() - began
            job = _Text(tokens, len(tokens), max(reach, _COMMON_REACH))
            (encoded,) = await self._batcher.submit([job], deadline=deadline, keys=[text])
        self._keep(text, encoded.result)  # also if another call brought it: that one may have gone
        return await self._with_reach(
            text,
            encoded.result,
            reach,
            tokenize_s=tokenize_s,
            queue_s=encoded.queue_s,
            encode_s=encoded.result.encode_s,
            batch_size=encoded.batch_size,
        )

    async def _with_reach(
        self,
        text: str,
        found: _Vector,
        reach: int,
        *,
        tokenize_s: float,
        queue_s: float,
        encode_s: float,
        batch_size: int,
    ) -> EncodedWish:
        search_s = found.search_s if batch_size else 0.0
        # Encoded for Embed, or for a smaller page, or before there was another index.
        while found.nearest is None or found.reach < reach or found.retrieve is not self._retrieve:
            found = await self._search_thread.run(self._search, found, max(reach, _COMMON_REACH))
            self._keep(text, found)
            search_s = found.search_s
        return EncodedWish(found.vector, found.nearest, tokenize_s, queue_s, encode_s, search_s, batch_size)

    def retrieve_by(self, retrieve: Retrieve) -> None:
        """From here on the items nearest to a wish are found by another index."""
        self._retrieve = retrieve

    def _search(self, encoded: _Vector, reach: int) -> _Vector:
        """The same vector, with so many items."""
        began, retrieve = self.clock(), self._retrieve
        found = retrieve(encoded.vector[None], reach)
        nearest = Neighbourhood(found.positions[0], found.similarities[0])
        return _Vector(encoded.vector, reach, retrieve, nearest, encoded.encode_s, self.clock() - began)

    def _keep(self, text: str, found: _Vector) -> None:
        """Puts a vector into the cache, unless the same with more neighbours is there already."""
        kept = self._cache.peek(text)
        if kept is not None and kept.retrieve is found.retrieve and kept.reach > found.reach:
            found = kept
        self._cache.put(text, found)

    async def _tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        if len(texts) > _TOKENIZE_SLICE or sum(map(len, texts)) > _TOKENIZE_INLINE_CHARS:
            tokens: list[Tokens] = []
            for start in range(0, len(texts), _TOKENIZE_SLICE):  # others come in between
                part = texts[start : start + _TOKENIZE_SLICE]
                tokens += await self._tokenize_thread.run(self._encoder.tokenize, part)
            return tokens
        return self._tokenize_each(texts)

    def _tokenize_each(self, texts: Sequence[str]) -> list[Tokens]:
        """One by one, in the caller's thread.

        Two or more together would go to the tokenizer's thread pool, which takes every core, and there wait, maybe with
        the event loop, for whatever the tokenize thread has given it.
        """
        return [self._encoder.tokenize([text])[0] for text in texts]

    def _encode(self, batch: Sequence[_Text]) -> asyncio.Future[list[_Vector]]:
        return self._threads.run(self._encode_and_search, batch)

    def _encode_items(self, batch: Sequence[_Text]) -> asyncio.Future[list[NDArray[np.float32]]]:
        return self._item_threads.run(self._encode_alone, batch)

    def _encode_alone(self, batch: Sequence[_Text]) -> list[NDArray[np.float32]]:
        return list(self._encoder.encode([text.tokens for text in batch]))

    def _encode_and_search(self, batch: Sequence[_Text]) -> list[_Vector]:
        began = self.clock()
        vectors = self._encoder.encode([text.tokens for text in batch])
        encoded, retrieve = self.clock(), self._retrieve
        nearest: list[Neighbourhood | None] = [None] * len(batch)
        for reach in {text.reach for text in batch if text.reach}:
            rows = [row for row, text in enumerate(batch) if text.reach == reach]
            found = retrieve(vectors[rows], reach)
            for row, positions, similarities in zip(rows, found.positions, found.similarities, strict=True):
                nearest[row] = Neighbourhood(positions.copy(), similarities.copy())
        encode_s, search_s = encoded - began, self.clock() - encoded
        # Each with arrays of its own, or a single one in the cache would keep those of the whole batch.
        return [
            _Vector(vector.copy(), text.reach, retrieve, items, encode_s, search_s)
            for text, vector, items in zip(batch, vectors, nearest, strict=True)
        ]


def _nothing(vectors: NDArray[np.float32], k: int) -> Nearest:
    raise DrainingError("the bundle is not served any more; try again")
