"""Retrieval: the HNSW index, with and without filters, and the generation of everything one request reads."""

from tanager_server.index._growth import Growth
from tanager_server.index.filtered import FilteredIndex
from tanager_server.index.generation import Generation, SequenceSpace
from tanager_server.index.hnsw import HnswIndex
from tanager_server.index.nearest import Nearest, Neighbourhood
from tanager_server.index.text_neighbours import TextNeighbours
from tanager_server.index.topk import best_first, top
from tanager_server.index.view import EVERYTHING, View

__all__ = [
    "EVERYTHING",
    "FilteredIndex",
    "Generation",
    "Growth",
    "HnswIndex",
    "Nearest",
    "Neighbourhood",
    "SequenceSpace",
    "TextNeighbours",
    "View",
    "best_first",
    "top",
]
