"""Items that were written, brought into an engine: those of a whole state, or of some writes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tanager_server.engine.items import Written
from tanager_server.engine.records import read_item
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
    generation: Generation, items: Sequence[Item], vectors: Sequence[NDArray[np.float32] | None]
) -> list[Written]:
    """Items with what is expected of them; of one whose text stays, by the vector that it has."""
    found: list[Written] = []
    for item, vector in zip(items, vectors, strict=True):
        position = generation.catalogue.position(item.id)
        own = vector if vector is not None or position is None else generation.vectors[position]
        assert own is not None
        figures = generation.new_items.figures(
            own, domain=item.domain, categories=item.categories, attributes=item.attributes
        )
        found.append(Written(item, vector, figures))
    return found


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
    items: list[Item] = []
    vectors: list[NDArray[np.float32] | None] = []
    for stored, vector in snapshot.items(fingerprint(manifest)):
        if stored.deleted:
            engine.items.remove(stored.item_id)
        else:
            items.append(read_item(stored.data))
            vectors.append(None if vector is None else np.frombuffer(vector, "<f4"))
    missing = [place for place, vector in enumerate(vectors) if vector is None]
    for place, encoded in zip(missing, _encoded(engine, [items[place] for place in missing], encode), strict=True):
        vectors[place] = encoded
    _put(engine, items, vectors)
    of = fingerprint(manifest)
    made = [StoredVector(items[place].id, of, _bytes(vectors[place])) for place in missing]
    return Folded(len(items), made)


def follow(engine: Engine, writes: Iterable[PutItems | DeleteItems], encode: Encode) -> Folded:
    """Brings writes that came later into such an engine, in their order.

    Raises:
        NoRoomError: there are too many new items.
    """
    latest: dict[str, Item | None] = {}
    for write in writes:
        if isinstance(write, PutItems):
            latest |= {stored.item_id: read_item(stored.data) for stored in write.items}
        else:
            latest |= dict.fromkeys(write.item_ids)
    items = []
    for item_id, item in latest.items():
        if item is None:
            engine.items.remove(item_id)
            engine.known.moved(item_id, None)
        else:
            items.append(item)
    missing = [place for place, item in enumerate(items) if not has_text(engine, item)]
    vectors: list[NDArray[np.float32] | None] = [None] * len(items)
    for place, encoded in zip(missing, _encoded(engine, [items[place] for place in missing], encode), strict=True):
        vectors[place] = encoded
    _put(engine, items, vectors)
    of = fingerprint(engine.generation.manifest)
    return Folded(len(items), [StoredVector(items[place].id, of, _bytes(vectors[place])) for place in missing])


def _encoded(engine: Engine, items: Sequence[Item], encode: Encode) -> Iterable[NDArray[np.float32]]:
    if not items:
        return ()
    prompt = engine.generation.manifest.encoder.item_prompt
    return encode([prompt + item.text for item in items])


def _put(engine: Engine, items: Sequence[Item], vectors: Sequence[NDArray[np.float32] | None]) -> None:
    for start in range(0, len(items), _FIGURES_AT_A_TIME):
        some = slice(start, start + _FIGURES_AT_A_TIME)
        for written in figure(engine.generation, items[some], vectors[some]):
            position = engine.items.put(written)
            engine.known.moved(written.item.id, position)


def _bytes(vector: NDArray[np.float32] | None) -> bytes:
    assert vector is not None
    return vector.astype("<f4").tobytes()
