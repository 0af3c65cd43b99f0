"""Items that were written, brought into an engine: those of a whole state, or of some writes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tanager_server.engine.items import Written
from tanager_server.engine.records import ItemRecord, read_item
from tanager_server.state import PutItems, StoredVector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from tanager_server.bundle import Item, Manifest
    from tanager_server.engine.engine import Engine
    from tanager_server.index import Generation
    from tanager_server.state import DeleteItems, Snapshot

    Encode = Callable[[list[str]], NDArray[np.float32]]
    """Texts, prompts included, to (n, dim) float32."""

_FIGURES_AT_A_TIME = 64


class Folded(NamedTuple):
    """What was folded.

    Attributes:
        items: how many were written.
        encoded: vectors that had to be made for it.
    """

    items: int
    encoded: list[StoredVector]


def fingerprint(manifest: Manifest) -> str:
    """What vectors of an encoder have in common: those of another one mean something else."""
    parts = [manifest.files[name].sha256 for name in ("encoder.onnx", "tokenizer.json")]
    return hashlib.sha256("\n".join([*parts, manifest.encoder.item_prompt]).encode()).hexdigest()


def has_text(engine: Engine, item: Item) -> bool:
    """Whether the vector that an item has is of its text."""
    position = engine.generation.catalogue.position(item.id)
    return position is not None and engine.items.item(position).text == item.text


def figure(
    generation: Generation, records: Sequence[ItemRecord], vectors: Sequence[NDArray[np.float32] | None]
) -> list[Written]:
    """Items with what is expected of them; of one whose text stays, by the vector that it has."""
    if not records:
        return []
    own = []
    for (item, _), vector in zip(records, vectors, strict=True):
        if vector is None:
            position = generation.catalogue.position(item.id)
            if position is None:  # deleted meanwhile; its vector is where it was
                position = generation.catalogue.former_position(item.id)
            assert position is not None
            own.append(generation.vectors[position])
        else:
            own.append(vector)
    figures = generation.new_items.figures_of(np.stack(own), [record.item for record in records])
    return [
        Written(item, written_ns, vector, of_item)
        for (item, written_ns), vector, of_item in zip(records, vectors, figures, strict=True)
    ]


def stored_vectors(manifest: Manifest, written: Iterable[Written]) -> list[StoredVector]:
    """The new vectors among what is written, as they are kept."""
    of = fingerprint(manifest)
    return [
        StoredVector(one.item.id, of, one.vector.astype("<f4").tobytes()) for one in written if one.vector is not None
    ]


def fold(engine: Engine, snapshot: Snapshot, encode: Encode) -> Folded:
    """Brings all items of a state into an engine that has only those of its bundle.

    Args:
        engine: from which nobody is answered yet.
        snapshot: the state.
        encode: for items that have no vector by this encoder.
    """
    manifest = engine.generation.manifest
    records: list[ItemRecord] = []
    vectors: list[NDArray[np.float32] | None] = []
    for stored, vector in snapshot.items(fingerprint(manifest)):
        if stored.deleted:
            engine.items.remove(stored.item_id)
        else:
            records.append(read_item(stored.data))
            vectors.append(None if vector is None else np.frombuffer(vector, "<f4"))
    missing = [
        place
        for place, vector in enumerate(vectors)
        if vector is None and not has_text(engine, records[place].item)  # one of the bundle may have kept its text
    ]
    _encode(engine, records, vectors, missing, encode)
    _put(engine, records, vectors)
    return Folded(len(records), _made(engine, records, vectors, missing))


def follow(engine: Engine, writes: Iterable[PutItems | DeleteItems], encode: Encode) -> Folded:
    """Brings writes that came later into such an engine, in their order.

    Raises:
        NoRoomError: there are too many new items.
    """
    latest: dict[str, ItemRecord | None] = {}
    for write in writes:
        if isinstance(write, PutItems):
            latest |= {stored.item_id: read_item(stored.data) for stored in write.items}
        else:
            latest |= dict.fromkeys(write.item_ids)
    records = []
    for item_id, record in latest.items():
        if record is None:
            engine.items.remove(item_id)
            engine.known.moved(item_id, None)
        else:
            records.append(record)
    missing = [place for place, record in enumerate(records) if not has_text(engine, record.item)]
    vectors: list[NDArray[np.float32] | None] = [None] * len(records)
    _encode(engine, records, vectors, missing, encode)
    _put(engine, records, vectors)
    return Folded(len(records), _made(engine, records, vectors, missing))


def _encode(
    engine: Engine,
    records: Sequence[ItemRecord],
    vectors: list[NDArray[np.float32] | None],
    missing: Sequence[int],
    encode: Encode,
) -> None:
    """Fills in the vectors that are missing."""
    if missing:
        prompt = engine.generation.manifest.encoder.item_prompt
        encoded = encode([prompt + records[place].item.text for place in missing])
        for place, vector in zip(missing, encoded, strict=True):
            vectors[place] = vector


def _made(
    engine: Engine,
    records: Sequence[ItemRecord],
    vectors: Sequence[NDArray[np.float32] | None],
    missing: Sequence[int],
) -> list[StoredVector]:
    of = fingerprint(engine.generation.manifest)
    return [
        StoredVector(records[place].item.id, of, vector.astype("<f4").tobytes())
        for place in missing
        if (vector := vectors[place]) is not None
    ]


def _put(engine: Engine, records: Sequence[ItemRecord], vectors: Sequence[NDArray[np.float32] | None]) -> None:
    for start in range(0, len(records), _FIGURES_AT_A_TIME):
        some = slice(start, start + _FIGURES_AT_A_TIME)
        for written in figure(engine.generation, records[some], vectors[some]):
            position = engine.put(written)
            engine.known.moved(written.item.id, position)
