"""Retrieval: the HNSW index, with and without filters, and the generation of everything one request reads."""

from tanager_server.index.filtered import FilteredIndex
from tanager_server.index.generation import Generation, SequenceSpace
from tanager_server.index.hnsw import HnswIndex, Nearest, Neighbourhood
from tanager_server.index.text_neighbours import TextNeighbours
from tanager_server.index.topk import best_first, top

__all__ = [
    "FilteredIndex",
    "Generation",
    "HnswIndex",
    "Nearest",
    "Neighbourhood",
    "SequenceSpace",
    "TextNeighbours",
    "best_first",
    "top",
]
