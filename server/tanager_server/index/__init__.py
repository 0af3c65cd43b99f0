"""Retrieval: the HNSW index, and the generation of everything one request reads."""

from tanager_server.index.generation import Generation
from tanager_server.index.hnsw import HnswIndex, Nearest, Neighbourhood
from tanager_server.index.text_neighbours import TextNeighbours
from tanager_server.index.topk import best_first, top

__all__ = ["Generation", "HnswIndex", "Nearest", "Neighbourhood", "TextNeighbours", "best_first", "top"]
