"""The graph that hnswlib has built, read out of what it pickles."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import hnswlib
    from numpy.typing import NDArray


class Graph(NamedTuple):
    """The links of an index, by positions; -1 fills rows up.

    Attributes:
        links: (items, width) int32: the lowest layer, which has all items.
        upper: (rows, width) int32: the layers above, those of an item one after the other, the lowest first.
        upper_starts: (items,) int64: first row of the item in `upper`, of those that have one.
        entry: the item that a search begins at.
        levels: how many layers are above the lowest.
    """

    links: NDArray[np.int32]
    upper: NDArray[np.int32]
    upper_starts: NDArray[np.int64]
    entry: int
    levels: int


def read_graph(native: hnswlib.Index) -> Graph:
    """A copy of the links of an index. Takes as much memory again as the index while it is made.

    Args:
        native: whose labels are the positions of its vectors.
    """
    state = native.__getstate__()[0]
    count, width, upper_width = state["cur_element_count"], state["max_M0"], state["max_M"]
    elements = state["data_level0"].view(np.uint8).reshape(count, -1)
    # hnswlib numbers elements as its threads come by; the label is the position.
    labels = elements[:, state["label_offset"] : state["label_offset"] + 8].copy().view(np.int64).ravel()
    start = state["offset_level0"]
    lowest = _links(elements[:, start : start + 4 * (width + 1)], labels)
    links = np.empty_like(lowest)
    links[labels] = lowest
    levels = state["element_levels"][:count]
    upper_starts = np.empty(count, np.int64)
    upper_starts[labels] = np.cumsum(levels) - levels
    upper = _links(state["link_lists"].view(np.uint8).reshape(-1, 4 * (upper_width + 1)), labels)
    return Graph(links, upper, upper_starts, int(labels[state["enterpoint_node"]]), state["max_level"])


def _links(rows: NDArray[np.uint8], labels: NDArray[np.int64]) -> NDArray[np.int32]:
    """Links as hnswlib has them, a 16-bit count in 4 bytes and as many numbers of elements, as positions."""
    numbers = rows.copy().view(np.uint32)
    counts, elements = numbers[:, :1] & 0xFFFF, numbers[:, 1:]
    used = np.arange(elements.shape[1]) < counts
    return np.where(used, labels[np.where(used, elements, 0)], -1).astype(np.int32)
