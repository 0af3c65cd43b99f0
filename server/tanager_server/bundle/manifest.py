"""The schema of a bundle's JSON files. Unknown keys are refused: a reader never guesses."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tanager_server.bundle.sparse import MAX_ABS_WEIGHT

SCHEMA_VERSION = 4

MANIFEST = "manifest.json"
ENCODER = "encoder.onnx"
TOKENIZER = "tokenizer.json"
VECTORS = "vectors.npy"
INDEX = "index.hnsw"
ITEMS = "items.jsonl"
NEIGHBOURS = "neighbours.npz"
TRANSITIONS = "transitions.npz"
PRIORS = "priors.npy"
PROFILE = "profile.npz"
NEW_ITEMS = "new_items.npz"
SCORING = "scoring.json"
PROBE = "probe.json"
SEQUENCE = "sequence.onnx"
SEQUENCE_VECTORS = "sequence.npy"
SEQUENCE_INDEX = "sequence.hnsw"

CONTENT_FILES = (
    *(ENCODER, TOKENIZER, VECTORS, INDEX, ITEMS),
    *(NEIGHBOURS, TRANSITIONS, PRIORS, PROFILE, NEW_ITEMS, SCORING, PROBE),
)
"""Every file of a bundle but the manifest, which lists them; one with a sequence head has `SEQUENCE_FILES` as well.

Encoder and tokenizer turn a text into a vector (`EncoderInfo`), and the probe tells whether they still do. Of each item
there are a line of the catalogue, a row of the vectors and of B and T (`NEIGHBOURS`, `TRANSITIONS`), a column of the
priors and of A (`PROFILE`): `Scoring` adds them up. `NEW_ITEMS` is what gives all of that to an item that comes later.
"""

SEQUENCE_FILES = (SEQUENCE, SEQUENCE_VECTORS, SEQUENCE_INDEX)

Precision = Literal["fp32", "fp16", "int8"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class FileInfo(_Record):
    """What a file must be for the bundle to be whole."""

    sha256: Sha256
    size: int = Field(ge=0, description="bytes")


class ModelInfo(_Record):
    """The language model and where it came from."""

    name: str
    source: str = Field(description="hub id, package or directory that it was read from")
    weights_sha256: Sha256


class EncoderInfo(_Record):
    """How a text becomes a vector."""

    precision: Precision
    dim: int = Field(gt=0)
    max_tokens: int = Field(gt=0, description="tokens read of a text, special tokens included")
    pooling: str
    item_prompt: str = Field(description="put before an item's text")
    query_prompt: str = Field(description="put before a wish")
    profile_prompt: str = Field(description="put before what a profile says in words that the bundle does not know")
    context_prompt: str = Field(description="put before a context")


class IndexInfo(_Record):
    """How the HNSW index was built, and how it is searched (Malkov & Yashunin, 2018)."""

    m: int = Field(gt=0, description="links of a node on each layer above the lowest")
    ef_construction: int = Field(gt=0)
    ef_search: int = Field(gt=0)


class SequenceInfo(_Record):
    """How the sequence head reads a history."""

    dim: int = Field(gt=0, description="of the vectors that it reads, and of the one that it gives")
    max_events: int = Field(gt=0, description="events read of a history, the latest")
    precision: Precision


class DatasetInfo(_Record):
    """The dataset the bundle was made from."""

    name: str
    simulated_behaviour: bool
    items: int = Field(gt=0)
    users: int = Field(ge=0)
    interactions: int = Field(ge=0)


class Manifest(_Record):
    """`manifest.json`: what the bundle is, what was measured of it, and the hash of each of its files."""

    schema_version: Literal[4]
    bundle_id: Sha256 = Field(description="sha256 over the manifest without this field, so over every file's hash")
    created_at: datetime
    model: ModelInfo
    encoder: EncoderInfo
    index: IndexInfo
    sequence: SequenceInfo | None = Field(description="null where the bundle has no sequence head")
    dataset: DatasetInfo
    quality: dict[str, float] = Field(description="what the export measured, by name")
    tools: dict[str, str] = Field(description="versions of what made it")
    files: dict[str, FileInfo]

    @classmethod
    def seal(cls, **fields: object) -> Manifest:
        """Builds a manifest and gives it the id of its contents."""
        draft = cls.model_validate({"bundle_id": "0" * 64, **fields})
        return draft.model_copy(update={"bundle_id": draft.content_id()})

    @property
    def content_files(self) -> tuple[str, ...]:
        """Every file that the bundle must have beside this one."""
        return CONTENT_FILES if self.sequence is None else (*CONTENT_FILES, *SEQUENCE_FILES)

    def content_id(self) -> str:
        """The id that these contents have: sha256, hexadecimal, over the canonical JSON of all other fields."""
        content = self.model_dump(mode="json", exclude={"bundle_id"})
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()


_Weight = Annotated[float, Field(ge=-MAX_ABS_WEIGHT, le=MAX_ABS_WEIGHT, allow_inf_nan=False)]
_HalfLife = Annotated[
    float, Field(gt=0, allow_inf_nan=False, description="later events of the history after which an event counts half")
]


class Scoring(_Record):
    """`scoring.json`: the additive blend of the engine.

    score(u, i) = collaborative * sum_h w_h B[h, i]
                + transitions * sum_h w_h T[h, i]
                + history_text * <sum_h w_h e_h / sum_h |w_h|, e_i>
                + sequence * <z, s_i>
                + wish * <q, e_i> + profile_text * <p, e_i> + context_text * <x, e_i>
                + prior_i + known * prior_known_i
                + (1 - known) * profile * sum over attributes a of A[a, i]

    over the scored events h of the history, n of them: w_h is the event's weight times 0.5 ** (later events /
    half-life), each of the three sums with a half-life of its own, and known = n / (n + known_events). e are vectors of
    items; q, p and x those of the wish, of what the profile says in words, and of the context; z is what the sequence
    head gives after the liked events of the history, and s_i the item's vector there.

    With a wish and no history the last two lines count `wish_prior` times, and only what lies nearest to the wish is
    looked at: the page and some more.
    """

    origin: Literal["default", "learned"] = Field(description="whether the weights were fitted to behaviour")
    collaborative: _Weight
    collaborative_half_life: _HalfLife
    transitions: _Weight
    transitions_half_life: _HalfLife
    history_text: _Weight
    history_text_half_life: _HalfLife
    sequence: _Weight = Field(description="0 where the bundle has no sequence head")
    wish: _Weight
    wish_prior: _Weight = Field(description="what priors and profile count for in a wish without a history")
    profile: _Weight
    profile_text: _Weight
    context_text: _Weight
    history_limit: int = Field(gt=0, description="most recent events that are scored")
    known_events: float = Field(
        ge=0, allow_inf_nan=False, description="events after which a user is as much known as unknown"
    )

    def known(self, events: int) -> float:
        """How far a user is known of whom so many events are scored: from 0, not at all, to 1."""
        return events / (events + self.known_events) if events else 0.0


class Probe(_Record):
    """`probe.json`: texts whose vectors the server must reproduce before it serves."""

    texts: tuple[str, ...] = Field(min_length=1)
    vectors: tuple[tuple[float, ...], ...]
    min_cosine: float = Field(gt=0, le=1)

    @model_validator(mode="after")
    def _rectangular(self) -> Self:
        if len({len(vector) for vector in self.vectors}) != 1:
            raise ValueError("vectors must all be of the same length")
        return self
