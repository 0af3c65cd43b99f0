"""`tanager-export train`: dataset in, trained run out.

A run is a directory: `model/` (the fine-tuned encoder), `encoder/` (checkpoints, `epochs.json`), `sequence/`
(checkpoints), `blend.json` and, once it is done, `manifest.json`. A run that was interrupted goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tanager_export.errors import ExportError
from tanager_export.evaluation.cases import Histories
from tanager_export.evaluation.evaluate import evaluate
from tanager_export.evaluation.leaks import refuse_texts
from tanager_export.model import Prompts, SourceModel, find_model
from tanager_export.training.blend import Blend, learn_blend
from tanager_export.training.encoder import EncoderOptions, centre, encode, fine_tune
from tanager_export.training.hybrid import Hybrid
from tanager_export.training.new_items import hidden_within, learn_new_items
from tanager_export.training.sequence import SequenceHead, SequenceOptions, fit_sequence_head, has_order
from tanager_export.training.sparse import dense, sparsest
from tanager_export.training.structure import Structure
from tanager_export.training.terms import history_weights
from tanager_export.training.windows import Protocol, held_out, protocol_of, validation_windows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tanager_export.dataset import Dataset, Interactions
    from tanager_export.evaluation.cases import Cases, Split
    from tanager_export.evaluation.hiding import Hidden

_log = logging.getLogger(__name__)

MANIFEST, BLEND, MODEL, ENCODER, KEY = "manifest.json", "blend.json", "model", "encoder", "key.json"
SEQUENCE = "sequence"
LEARNED_FROM = "learned_from.json"
"""In the directory of a student: the key of the run whose encoder taught it."""
KIND, FORMAT = "tanager-run", 3
_TOOLS = ("tanager", "torch", "transformers", "sentence-transformers", "numpy", "scipy")
_VALIDATION_HALF_LIFE = 5.0
_VALIDATION_SCALE = 10.0
_VALIDATION_POPULAR = 0.5
_BY_LISTS, _BY_NEW = "NDCG@10 of text and popularity alone", "recall@20 of text alone among hidden items"


class RunError(ExportError):
    """A run cannot be made, or is not one."""


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """How to train.

    Attributes:
        protocol: by which rule windows of validation are cut; "auto" goes by what the dataset's times are.
        hold_out: whether the test of `evaluate` is to be left out of all that is learned from.
        encoder: how to fine-tune the encoder; no epochs leave it as it is, but for taking away the mean.
        sequence: how to train a sequence head, which is tried on validation; no epochs leave it out.
        seed: of all that is random.
    """

    protocol: Protocol | Literal["auto"] = "auto"
    hold_out: bool = False
    encoder: EncoderOptions = field(default_factory=EncoderOptions)
    sequence: SequenceOptions = field(default_factory=SequenceOptions)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """A run that is done.

    Attributes:
        path: its directory.
        source: the fine-tuned encoder.
        blend: what was learned.
        protocol: by which rule windows of validation were cut.
        seed: of all that was random.
        manifest: all that was done.
    """

    path: Path
    source: SourceModel
    blend: Blend
    protocol: Protocol
    seed: int
    manifest: dict[str, Any]


def train(
    base: SourceModel,
    dataset: Dataset,
    directory: Path,
    *,
    options: TrainOptions,
    overwrite: bool = False,
    progress: bool = True,
) -> Run:
    """Trains, or goes on with, a run.

    Args:
        base: the encoder to start from.
        dataset: catalogue, behaviour, users.
        directory: of the run; made if it is not there.
        options: how.
        overwrite: whether a run of something else that is there may be replaced.
        progress: whether to show bars on stderr, if that is a terminal.

    Raises:
        RunError: the directory holds a run of something else, or no run at all.
        LeakError: texts hold behaviour of after the test that is to be held out.
        SplitError: there is too little behaviour to learn from.
    """
    began = time.monotonic()
    protocol = protocol_of(dataset) if options.protocol == "auto" else options.protocol
    train_on = dataset.interactions
    if options.hold_out:
        test = held_out(dataset, protocol=protocol, seed=options.seed)
        refuse_texts(dataset, test)
        train_on = test.train
    key: dict[str, object] = {
        "format": FORMAT,
        "dataset_sha256": fingerprint(dataset),
        "interactions": len(train_on),
        "base": base.weights_sha256,
        "options": asdict(replace(options, protocol=protocol)),
    }
    _refuse_what_the_base_knows(base, key, hold_out=options.hold_out)
    _claim(directory, key, overwrite=overwrite)
    if (directory / MANIFEST).exists():
        _log.info("%s is done already", directory)
        return load_run(directory)
    windows = validation_windows(dataset, train_on, protocol=protocol, seed=options.seed)
    hidden = hidden_within(dataset, train_on, seed=options.seed)
    asked = hidden if protocol == "cold-items" else None
    vectors, epochs = _encoder(base, dataset, windows, asked, directory, options)
    head = _head(dataset, windows[-1], vectors, directory, options, progress=progress)
    blend = _blend(dataset, windows, hidden, vectors, head, directory, seed=options.seed, progress=progress)
    early, late = windows[0], windows[-1]
    manifest = {
        "kind": KIND,
        "created_at": datetime.now(UTC).isoformat(),
        **key,
        "base_name": base.name,
        "protocol": protocol,
        "hold_out": options.hold_out,
        "encoder_trained_until": int(early.train.timestamp.max()) if dataset.times == "seconds" else None,
        "blend_trained_until": int(train_on.timestamp.max()) if dataset.times == "seconds" else None,
        "encoder_interactions": len(early.train),
        "windows": [{"train": len(window.train), "cases": len(window.cases)} for window in windows],
        "validated_by": _BY_LISTS if asked is None else _BY_NEW,
        "epochs": epochs,
        "blend": _as_json(blend),
        "sequence": None if head is None else [asdict(epoch) for epoch in head.results],
        "sparsity_loss": _sparsity_loss(
            Hybrid.fit(dataset, late.train, vectors, blend, sequence=head if blend.sequence else None), late
        ),
        "seconds": round(time.monotonic() - began, 1),
        "tools": {name: version(name) for name in _TOOLS},
    }
    _write(directory / MANIFEST, manifest)
    return load_run(directory)


def load_run(directory: Path) -> Run:
    """A run from its directory.

    Raises:
        RunError: it is none, or is not done.
    """
    if not (directory / MANIFEST).is_file():
        mend = (
            "go on with tanager-export train" if (directory / KEY).is_file() else "make one with tanager-export train"
        )
        raise RunError(f"{directory}: no {MANIFEST}: not a run that is done; {mend}")
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        if manifest.get("kind") != KIND:
            raise RunError(f"{directory}: {MANIFEST} is not that of a run")
        if manifest.get("format") != FORMAT:
            raise RunError(f"{directory}: was trained by another version of Tanager: train it again, with --overwrite")
        blend = _from_json(manifest["blend"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{directory / MANIFEST}: cannot be read: {error}") from error
    source = replace(find_model(str(directory / MODEL)), name=f"{manifest['base_name']}, fine-tuned", source="run")
    return Run(directory, source, blend, manifest["protocol"], manifest["options"]["seed"], manifest)


def is_run(path: Path) -> bool:
    """Whether a directory is that of a run, done or not."""
    return (path / KEY).is_file()


def fingerprint(dataset: Dataset) -> str:
    """sha256 over all that training reads of a dataset."""
    digest = hashlib.sha256(repr((dataset.times, dataset.interactions.user_ids)).encode())
    for item in dataset.items:
        read = item.id, item.encoder_text, item.domain, item.categories, sorted(item.attributes.items())
        digest.update(repr(read).encode())
    for user in dataset.users:
        digest.update(repr((user.id, sorted(user.attributes.items()))).encode())
    events = dataset.interactions
    for column in (events.user, events.item, events.timestamp, events.weight):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


def learned_from(model: Path) -> dict[str, Any] | None:
    """What the run was to learn from that a model directory is the encoder of, or a student of that; None if of none.

    Raises:
        RunError: it cannot be read.
    """
    path = model.resolve()
    for told in (path / LEARNED_FROM, path.parent / KEY):
        if told.is_file():
            try:
                found: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise RunError(f"{told}: cannot be read: {error}") from error
            return found
    return None


def _refuse_what_the_base_knows(base: SourceModel, key: dict[str, object], *, hold_out: bool) -> None:
    """A base that is itself of a run, or a student of one, may have learned from the test that is to be held out."""
    theirs = learned_from(base.path)
    if not hold_out or theirs is None:
        return
    ours = json.loads(json.dumps(key))
    same = all(theirs.get(name) == ours[name] for name in ("format", "dataset_sha256", "interactions")) and all(
        theirs["options"].get(name) == ours["options"][name] for name in ("protocol", "hold_out", "seed")
    )
    if not same:
        raise RunError(
            f"{base.path}: is the encoder of a run that did not hold out the same test, or a student of it, so it may "
            "know what is held out here: give another --base, or leave --hold-out away"
        )


def _claim(directory: Path, key: dict[str, object], *, overwrite: bool) -> None:
    """Makes the directory this run's own."""
    path = directory / KEY
    try:
        if path.exists() and json.loads(path.read_text(encoding="utf-8")) != json.loads(json.dumps(key)):
            if not overwrite:
                raise RunError(f"{directory}: holds a run of other data or options; choose another, or --overwrite")
            # Under another name first: half of a run is none, and nothing could be made of it.
            old = directory.with_name(f".{directory.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            directory.rename(old)
            shutil.rmtree(old)
        directory.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            if any(entry.suffix != ".new" for entry in directory.iterdir()):
                raise RunError(f"{directory}: is there already and is no run; choose another directory")
            _write(path, key)
    except OSError as error:
        raise RunError(f"{directory}: cannot be written: {error.strerror}") from error


def _encoder(
    base: SourceModel,
    dataset: Dataset,
    windows: Sequence[Split],
    hidden: Hidden | None,
    directory: Path,
    options: TrainOptions,
) -> tuple[NDArray[np.float32], list[dict[str, object]]]:
    """Vectors of the items by the fine-tuned encoder, which is saved; and what its epochs came to."""
    model = base.load()
    prompt = Prompts.of(model).item
    texts = [prompt + item.encoder_text for item in dataset.items]
    _log.info("encoding the catalogue with %s", base.name)
    centre(model, encode(model, texts))
    first = windows[0].train
    users = np.arange(len(first.user_ids))
    results = fine_tune(
        model,
        texts,
        Histories.of_users(first, users),
        options=options.encoder,
        validate=lambda vectors: _validate(vectors, windows) if hidden is None else _validate_new(vectors, hidden),
        directory=directory / ENCODER,
        seed=options.seed,
    )
    epochs = [asdict(result) for result in results]
    _write(directory / ENCODER / "epochs.json", epochs)
    model.save_pretrained(str(directory / MODEL), create_model_card=False)
    return encode(model, texts), epochs


def _validate(vectors: NDArray[np.float32], windows: Sequence[Split]) -> float:
    """NDCG@10 of text and popularity alone, over those users of the windows who have a history."""
    figures = []
    for window in windows:
        known = np.flatnonzero(window.cases.histories.lengths > 0)
        if len(known):
            asked = replace(window, cases=window.cases.take(known))
            figures.append(evaluate(_TextOnly(vectors, window.train), asked).values("ndcg@10"))
    return float(np.concatenate(figures).mean()) if figures else 0.0


def _validate_new(vectors: NDArray[np.float32], hidden: Hidden) -> float:
    """Recall@20 of text alone among hidden items."""
    found = evaluate(_TextOnly(vectors, hidden.cold.train), hidden.cold, among=hidden.is_cold)
    return found.mean("recall@20")


class _TextOnly:
    """Cosine with the recency-weighted mean of the history, and popularity as the encoder's loss has it."""

    def __init__(self, vectors: NDArray[np.float32], train: Interactions) -> None:
        taken = np.bincount(train.item[train.weight > 0], minlength=len(vectors))
        self._vectors, self._prior = vectors, _VALIDATION_POPULAR * np.log1p(taken)

    def score(self, cases: Cases) -> NDArray[np.float32]:
        """(cases, items) float32."""
        items, half_life = len(self._vectors), _VALIDATION_HALF_LIFE
        mean = history_weights(cases.histories, items=items, half_life=half_life, normalized=True) @ self._vectors
        mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)
        return np.asarray(_VALIDATION_SCALE * (mean @ self._vectors.T) + self._prior, np.float32)


def _head(
    dataset: Dataset,
    window: Split,
    vectors: NDArray[np.float32],
    directory: Path,
    options: TrainOptions,
    *,
    progress: bool,
) -> SequenceHead | None:
    """A sequence head for a window, or none where there is no order to learn from."""
    if dataset.times == "none" or not options.sequence.epochs or not has_order(window.train):
        return None
    _log.info("training a sequence head")
    return fit_sequence_head(
        window.train,
        vectors,
        options=options.sequence,
        directory=directory / SEQUENCE,
        seed=options.seed,
        progress=progress,
    )


def _blend(
    dataset: Dataset,
    windows: Sequence[Split],
    hidden: Hidden | None,
    vectors: NDArray[np.float32],
    head: SequenceHead | None,
    directory: Path,
    *,
    seed: int,
    progress: bool,
) -> Blend:
    path = directory / BLEND
    if path.exists():
        return _from_json(json.loads(path.read_text(encoding="utf-8")))
    blend = learn_blend(dataset, windows, vectors, seed=seed, head=head, progress=progress)
    if hidden is not None:
        blend = learn_new_items(dataset, hidden, vectors, blend, seed=seed)
    _write(path, _as_json(blend))
    return blend


def _sparsity_loss(hybrid: Hybrid, window: Split) -> dict[str, float]:
    """What keeping only the top weights of B and T costs in the last window: NDCG@10 of both."""
    little = hybrid.parts.own < 0.5
    kept = replace(
        hybrid.parts,
        collaborative=dense(sparsest(hybrid.parts.collaborative, little)),
        transitions=dense(sparsest(hybrid.parts.transitions, little)),
    )
    full = evaluate(hybrid, window).mean("ndcg@10")
    sparse = evaluate(Hybrid(kept, hybrid.blend), window).mean("ndcg@10")
    return {"ndcg_all_weights": full, "ndcg_top_weights": sparse}


def _as_json(blend: Blend) -> dict[str, object]:
    return asdict(blend)


def _from_json(record: dict[str, object]) -> Blend:
    structure, sequence, trial = (record.pop(name) for name in ("structure", "sequence", "ndcg_of_trial"))
    assert isinstance(structure, dict)
    return Blend(
        structure=Structure(**structure),
        sequence=SequenceOptions(**sequence) if isinstance(sequence, dict) else None,
        ndcg_of_trial=tuple(trial) if isinstance(trial, list) else None,
        **record,  # type: ignore[arg-type]
    )


def _write(path: Path, value: object) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    new.replace(path)
