"""The bundle: what export makes and the server loads. Immutable, self-describing, verified before use."""

from tanager_server.bundle.catalogue import Catalogue, Item
from tanager_server.bundle.manifest import (
    DatasetInfo,
    EncoderInfo,
    FileInfo,
    IndexInfo,
    Manifest,
    ModelInfo,
    Precision,
    Probe,
    Scoring,
    SequenceInfo,
)
from tanager_server.bundle.neighbours import Neighbours
from tanager_server.bundle.profile import KnownProfile, ProfileValue, ProfileWeights
from tanager_server.bundle.reader import Bundle, open_bundle

__all__ = [
    "Bundle",
    "Catalogue",
    "DatasetInfo",
    "EncoderInfo",
    "FileInfo",
    "IndexInfo",
    "Item",
    "KnownProfile",
    "Manifest",
    "ModelInfo",
    "Neighbours",
    "Precision",
    "Probe",
    "ProfileValue",
    "ProfileWeights",
    "Scoring",
    "SequenceInfo",
    "open_bundle",
]
