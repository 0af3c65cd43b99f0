"""Texts to vectors for concurrent calls: tokenizer, batcher and encoder joined, heavy work off the event loop."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tanager_server.runtime.batcher import Batcher, BatchObserver

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from tanager_server.runtime.encoder import Encoder, Tokens
    from tanager_server.settings import BatchingSettings

# A short text is tokenised in less time than handing it to a thread takes; a long one would hold up every other call.
_TOKENIZE_INLINE_CHARS = 1024


@dataclass(frozen=True, slots=True)
class EncodedTexts:
    """Vectors of some texts and what it took.

    Attributes:
        vectors: one (dim,) float32, unit length, for each text.
        tokenize_s: turning texts into tokens.
        queue_s: waiting for the (last) batch.
        encode_s: that batch's run.
        batch_size: texts in that batch, other callers' included.
    """

    vectors: list[NDArray[np.float32]]
    tokenize_s: float
    queue_s: float
    encode_s: float
    batch_size: int


class TextEncoder:
    """Encodes texts of concurrent calls in common batches. Use as an async context manager.

    Args:
        encoder: tokenizer and session.
        policy: bounds of the batcher.
        observe: told of every batch.
    """

    clock = staticmethod(time.monotonic)
    """Deadlines are on this clock."""

    def __init__(self, encoder: Encoder, *, policy: BatchingSettings, observe: BatchObserver | None = None) -> None:
        self.provider = encoder.provider
        self._encoder = encoder
        self._encode_thread = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._tokenize_thread = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        self._batcher = Batcher(self._encode, policy=policy, clock=self.clock, observe=observe)

    async def __aenter__(self) -> TextEncoder:
        await self._batcher.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._batcher.__aexit__(*exc)
        self._encode_thread.shutdown(cancel_futures=True)
        self._tokenize_thread.shutdown(cancel_futures=True)

    @property
    def queue_depth(self) -> int:
        """Texts that wait to be encoded."""
        return self._batcher.depth

    async def encode(self, texts: Sequence[str], *, deadline: float) -> EncodedTexts:
        """Encodes the texts of one call, all or none.

        Args:
            texts: at least one text.
            deadline: on `clock`.

        Raises:
            OverloadedError: the queue has no room for all of them.
            DeadlineExpiredError: the deadline passed first.
            EncodeError: the encoder failed.
        """
        self._batcher.check_room(len(texts))  # before tokenising, which may take longer than a refusal should
        began = self.clock()
        if sum(map(len, texts)) <= _TOKENIZE_INLINE_CHARS:
            # One by one: two or more together would go to the tokenizer's thread pool, and there wait, with the event
            # loop, for whatever the tokenize thread has given it.
            tokens = [self._encoder.tokenize([text])[0] for text in texts]
        else:
            loop = asyncio.get_running_loop()
            tokens = await loop.run_in_executor(self._tokenize_thread, self._encoder.tokenize, texts)
        tokenized = self.clock()
        encoded = await self._batcher.submit(tokens, deadline=deadline)
        return EncodedTexts(
            vectors=encoded.vectors,
            tokenize_s=tokenized - began,
            queue_s=encoded.queue_s,
            encode_s=encoded.encode_s,
            batch_size=encoded.batch_size,
        )

    async def _encode(self, batch: Sequence[Tokens]) -> NDArray[np.float32]:
        return await asyncio.get_running_loop().run_in_executor(self._encode_thread, self._encoder.encode, batch)
