"""Items that were written, brought into an engine: those of a whole state, or of some writes."""

from __future__ import annotations

import hashlib
import itertools
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

_ITEMS_AT_A_TIME = 4_096  # what is held of a state beside the engine: some 15 MB


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
    own = [
        generation.vectors[_row(generation, record.item.id)] if vector is None else vector
        for record, vector in zip(records, vectors, strict=True)
    ]
    figures = generation.new_items.figures_of(np.stack(own), [record.item for record in records])
    return [Written(*record, vector, of) for record, vector, of in zip(records, vectors, figures, strict=True)]


def _row(generation: Generation, item_id: str) -> int:
    """Where the vector of an item is that was written, and may have been deleted since."""
    position = generation.catalogue.position(item_id)
    if position is None:
        position = generation.catalogue.former_position(item_id)
    assert position is not None
    return position


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
    items, made = 0, list[StoredVector]()
    read = iter(snapshot.items(fingerprint(engine.generation.manifest)))
    while some := list(itertools.islice(read, _ITEMS_AT_A_TIME)):
        stored: list[bytes] = []
        vectors: list[NDArray[np.float32] | None] = []
        for one, vector in some:
            if one.deleted:
                engine.items.remove(one.item_id)
            else:
                stored.append(one.data)
                vectors.append(None if vector is None else np.frombuffer(vector, "<f4"))
        items += len(stored)
        made += _bring(engine, stored, vectors, encode)
    return Folded(items, made)


def follow(engine: Engine, writes: Iterable[PutItems | DeleteItems], encode: Encode) -> Folded:
    """Brings writes that came later into such an engine, in their order.

    Raises:
        NoRoomError: there are too many new items.
    """
    latest: dict[str, bytes | None] = {}
    for write in writes:
        if isinstance(write, PutItems):
            latest |= {stored.item_id: stored.data for stored in write.items}
        else:
            latest |= dict.fromkeys(write.item_ids)
    for item_id, data in latest.items():
        if data is None:
            engine.items.remove(item_id)
            engine.known.moved(item_id, None)
    stored = [data for data in latest.values() if data is not None]
    return Folded(len(stored), _bring(engine, stored, [None] * len(stored), encode))


def _bring(
    engine: Engine, stored: Sequence[bytes], vectors: Sequence[NDArray[np.float32] | None], encode: Encode
) -> list[StoredVector]:
    """Writes items.

    Args:
        engine: from which nobody is answered yet.
        stored: the records of the items.
        vectors: of their texts, as far as they are known.
        encode: for the others.

    Returns:
        What had to be encoded.
    """
    manifest, catalogue = engine.generation.manifest, engine.generation.catalogue
    records, own = [read_item(data) for data in stored], list(vectors)
    # One of the bundle may have kept its text.
    missing = [n for n, vector in enumerate(own) if vector is None and not has_text(engine, records[n].item)]
    if missing:
        encoded = encode([manifest.encoder.item_prompt + records[place].item.text for place in missing])
        for place, vector in zip(missing, encoded, strict=True):
            own[place] = vector
    new: list[int] = []
    again: list[int] = []
    for place, (item, _) in enumerate(records):
        known = catalogue.position(item.id) is not None or catalogue.former_position(item.id) is not None
        (again if known else new).append(place)
    positions = []
    for written in figure(engine.generation, [records[at] for at in again], [own[at] for at in again]):
        positions.append(engine.put(written))
        engine.known.moved(written.item.id, positions[-1])
    if new:
        items = [records[place].item for place in new]
        of_new = np.stack([vector for place in new if (vector := own[place]) is not None])
        figures = engine.generation.new_items.parts(of_new, items)
        first = engine.items.append(items, [stored[place] for place in new], of_new, figures)
        for position, item in enumerate(items, start=first):
            engine.known.moved(item.id, position)
            positions.append(position)
    engine.audiences.moved(positions)
    by = fingerprint(manifest)
    return [
        StoredVector(records[place].item.id, by, vector.astype("<f4").tobytes())
        for place in missing
        if (vector := own[place]) is not None
    ]
