"""The bundle: what export makes and the server loads. Immutable, self-describing, verified before use."""

from tanager_server.bundle.catalogue import Catalogue, Item
from tanager_server.bundle.expected import Column, ExpectedColumns, ExpectedPriors, TextProjection
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
from tanager_server.bundle.new_items import FiguresOfMany, ItemFigures, NewItems
from tanager_server.bundle.profile import KnownProfile, ProfileValue, ProfileWeights
from tanager_server.bundle.reader import Bundle, open_bundle, open_manifest
from tanager_server.bundle.shelf import Shelf, ShelvedBundle
from tanager_server.bundle.traits import Described, Description, NumberRanks, TraitLayout

__all__ = [
    "Bundle",
    "Catalogue",
    "Column",
    "DatasetInfo",
    "Described",
    "Description",
    "EncoderInfo",
    "ExpectedColumns",
    "ExpectedPriors",
    "FiguresOfMany",
    "FileInfo",
    "IndexInfo",
    "Item",
    "ItemFigures",
    "KnownProfile",
    "Manifest",
    "ModelInfo",
    "Neighbours",
    "NewItems",
    "NumberRanks",
    "Precision",
    "Probe",
    "ProfileValue",
    "ProfileWeights",
    "Scoring",
    "SequenceInfo",
    "Shelf",
    "ShelvedBundle",
    "TextProjection",
    "TraitLayout",
    "open_bundle",
    "open_manifest",
]
