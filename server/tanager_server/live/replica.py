"""What is written to the catalogue, in one engine: made ready beside the calls, put in between two of them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from tanager_server.engine.records import read_item
from tanager_server.errors import OverloadedError
from tanager_server.live import folding
from tanager_server.live.folding import figure, has_text, stored_vectors

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterator, Sequence

    from numpy.typing import NDArray

    from tanager_server.bundle import Item
    from tanager_server.engine.engine import Engine
    from tanager_server.engine.items import Written
    from tanager_server.engine.records import ItemRecord
    from tanager_server.live.indexing import Indexer
    from tanager_server.runtime.worker import WorkerThread
    from tanager_server.state import DeleteItems, PutItems, StoredVector

    Vectors = dict[str, dict[str, NDArray[np.float32]]]
    """By fingerprint of the encoder and by text."""

_RETRY_AFTER_S = 1.0


class Replica:
    """An engine that follows what is written.

    Args:
        engine: which.
        indexer: looks after its index.

    Attributes:
        reserved: rows for items that wait to be written.
    """

    def __init__(self, engine: Engine, indexer: Indexer) -> None:
        self.engine, self.indexer = engine, indexer
        self.reserved = 0

    @functools.cached_property
    def _fingerprint(self) -> str:
        return folding.fingerprint(self.engine.generation.manifest)

    def new(self, items: Sequence[Item]) -> int:
        """How many of some items the engine does not have."""
        catalogue = self.engine.generation.catalogue
        return sum(catalogue.position(item.id) is None for item in items)

    def check_room(self, items: Sequence[Item], names_under_way: Collection[str] = ()) -> set[str]:
        """Looks whether there is room for the new ones among some items, and for names of their attributes.

        Args:
            items: to be written.
            names_under_way: of attributes of others that wait to be written.

        Returns:
            The names of their attributes.

        Raises:
            OverloadedError: there is none yet.
            InvalidRequestError: their attributes have too many names.
        """
        names = self.engine.items.check_names(items, names_under_way)
        new = self.new(items)
        if new > self.engine.items.room - self.reserved:
            self.indexer.make_room()
            raise OverloadedError(
                f"items: {new} new ones do not fit until the index is made anew; try again",
                retry_after_s=_RETRY_AFTER_S,
            )
        return names

    def draft(self, records: Sequence[ItemRecord]) -> Draft:
        """Begins to write items."""
        return Draft(self, records, self._fingerprint)

    def put(self, write: PutItems, written: Sequence[Written] | None) -> Iterator[None]:
        """Writes items, one in each step.

        Args:
            write: which.
            written: as they were made ready; None if they were not.
        """
        engine = self.engine
        if written is None:
            own = {one.item_id: one for one in write.vectors if one.fingerprint == self._fingerprint}
            vectors = {item_id: np.frombuffer(one.vector, "<f4") for item_id, one in own.items()}
            records = [read_item(stored.data) for stored in write.items]
            written = figure(engine.generation, records, [vectors.get(record.item.id) for record in records])
        positions = []
        for one in written:
            positions.append(engine.put(one))
            engine.known.moved(one.item.id, positions[-1])
            yield
        engine.audiences.moved(positions)
        self.indexer.look()

    def delete(self, write: DeleteItems) -> Iterator[None]:
        """Deletes items, one in each step."""
        for item_id in write.item_ids:
            self.engine.items.remove(item_id)
            self.engine.known.moved(item_id, None)
            yield


class Draft:
    """Items on their way into an engine.

    Args:
        replica: of the engine.
        records: the items.
        fingerprint: of its encoder.

    Attributes:
        written: as they are to be put; None until that is worked out.
    """

    def __init__(self, replica: Replica, records: Sequence[ItemRecord], fingerprint: str) -> None:
        self.replica = replica
        self._records, self._fingerprint = records, fingerprint
        self._vectors: list[NDArray[np.float32] | None] = [None] * len(records)
        self.written: list[Written] | None = None

    def is_ready(self, under_way: Container[str]) -> bool:
        """Whether there is all that it takes, which stays so until they are written.

        Args:
            under_way: ids of items that others are about to write: the texts of these are not known.
        """
        return self.written is not None and not self._lacking(under_way)

    async def make_ready(
        self, under_way: Container[str], encoded: Vectors, worker: WorkerThread, *, deadline: float
    ) -> None:
        """Encodes the texts that changed, and works out what is expected of the items.

        Args:
            under_way: as in `is_ready`.
            encoded: what was encoded for other engines; what is encoded here is added.
            worker: to work in.
            deadline: of the encoder.

        Raises:
            OverloadedError: too much waits to be encoded.
            DeadlineExpiredError: the deadline passed first.
        """
        engine, ours = self.replica.engine, encoded.setdefault(self._fingerprint, {})
        lacking = self._lacking(under_way)
        texts = [text for place in lacking if (text := self._records[place].item.text) not in ours]
        if texts:
            prompt = engine.generation.manifest.encoder.item_prompt
            found = await engine.embed_items([prompt + text for text in texts], deadline=deadline)
            ours |= zip(texts, found.vectors, strict=True)
        for place in lacking:
            self._vectors[place] = ours[self._records[place].item.text]
        self.written = await worker.run(figure, engine.generation, self._records, self._vectors)

    def _lacking(self, under_way: Container[str]) -> list[int]:
        return [
            place
            for place, (record, vector) in enumerate(zip(self._records, self._vectors, strict=True))
            if vector is None and (record.item.id in under_way or not has_text(self.replica.engine, record.item))
        ]

    @property
    def encoded(self) -> int:
        """How many texts were encoded."""
        return sum(vector is not None for vector in self._vectors)

    @property
    def stored(self) -> list[StoredVector]:
        """The vectors that were made, as they are kept."""
        return stored_vectors(self.replica.engine.generation.manifest, self.written or ())
