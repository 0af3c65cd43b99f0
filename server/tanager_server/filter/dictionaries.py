"""Texts and lists of texts by number, so that a column holds numbers and a comparison is made once for each of them.

How often each is had is counted: what nobody has any more is forgotten at once, and its number is given again.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


class Texts:
    """Texts by code, a small number."""

    __slots__ = ("_codes", "_folded", "_free", "_had", "_texts")

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._texts: list[str] = []
        self._had = array("q")  # how often, by code
        self._free: list[int] = []
        self._folded: list[str] = []

    def __len__(self) -> int:
        return len(self._codes)

    def code(self, text: str) -> int:
        """The text's code, a new one if it is new; to be held before anything is released."""
        code = self._codes.get(text)
        if code is None:
            code = self._codes[text] = self._new(text)
        return code

    def take(self, text: str) -> int:
        """Its code, which is held."""
        code = self.code(text)
        self._had[code] += 1
        return code

    def hold(self, codes: NDArray[np.int64]) -> None:
        """Holds codes, each as often as it comes."""
        had = np.bincount(codes, minlength=len(self._had)) + np.frombuffer(self._had, np.int64)
        self._had = array("q", had.tobytes())

    def release(self, code: int) -> None:
        """What was held is no more."""
        self._had[code] -= 1
        if not self._had[code]:
            del self._codes[self._texts[code]]
            self._texts[code] = ""
            if code < len(self._folded):
                self._folded[code] = ""
            self._free.append(code)

    def _new(self, text: str) -> int:
        if not self._free:
            self._texts.append(text)
            self._had.append(0)
            return len(self._texts) - 1
        code = self._free.pop()
        self._texts[code] = text
        if code < len(self._folded):
            self._folded[code] = text.casefold()
        return code

    def find(self, text: str) -> int:
        """The text's code, -1 if it has none."""
        return self._codes.get(text, -1)

    def where(self, codes: NDArray[np.int64], matches: Callable[[str], bool]) -> NDArray[np.bool_]:
        """Of which of the codes the text matches.

        A text is looked at once for all that have it, unless there are fewer codes than texts.
        """
        texts = self._texts
        if len(codes) < len(texts):
            return np.fromiter((matches(texts[code]) for code in codes.tolist()), np.bool_, len(codes))
        return np.fromiter(map(matches, texts), np.bool_, len(texts))[codes]

    def where_holding(self, codes: NDArray[np.int64], part: str) -> NDArray[np.bool_]:
        """Of which of the codes the text holds a part, which is casefolded, in any case."""
        self.fold()
        texts = self._folded
        if len(codes) < len(texts):
            return np.fromiter([part in texts[code] for code in codes.tolist()], np.bool_, len(codes))
        return np.fromiter([part in text for text in texts], np.bool_, len(texts))[codes]

    def fold(self) -> None:
        """Casefolds what was not yet, for `where_holding`."""
        self._folded += [text.casefold() for text in self._texts[len(self._folded) :]]


class Lists:
    """Lists of texts by code. What counts of a list is which texts it holds."""

    __slots__ = ("_codes", "_free", "_had", "_holding", "_lists")

    def __init__(self) -> None:
        self._codes: dict[tuple[str, ...], int] = {}
        self._lists: list[tuple[str, ...]] = []
        self._had: list[int] = []
        self._free: list[int] = []
        self._holding: dict[str, list[int]] = {}  # codes in ascending order

    def __len__(self) -> int:
        return len(self._codes)

    @property
    def text_count(self) -> int:
        """Number of texts that the lists hold."""
        return len(self._holding)

    def take(self, texts: Sequence[str]) -> int:
        """The list's code, a new one if it is new, which is held."""
        key = tuple(texts) if len(texts) == 1 else tuple(sorted(set(texts)))
        code = self._codes.get(key)
        if code is None:
            code = self._codes[key] = self._new(key)
        self._had[code] += 1
        return code

    def release(self, code: int) -> None:
        """What was held is no more."""
        self._had[code] -= 1
        if self._had[code]:
            return
        key, self._lists[code] = self._lists[code], ()
        del self._codes[key]
        self._free.append(code)
        for text in key:
            holding = self._holding[text]
            del holding[bisect_left(holding, code)]
            if not holding:
                del self._holding[text]

    def where_holding(self, codes: NDArray[np.int64], text: str) -> NDArray[np.bool_]:
        """Of which of the codes the list holds the text."""
        holding = self._holding.get(text, [])
        if len(codes) < len(holding):
            lists = self._lists
            return np.fromiter((text in lists[code] for code in codes.tolist()), np.bool_, len(codes))
        return self._among(codes, holding)

    def where(self, codes: NDArray[np.int64], matches: Callable[[str], bool]) -> NDArray[np.bool_]:
        """Of which of the codes the list holds a text that matches."""
        if len(codes) < len(self._holding):
            lists = self._lists
            return np.fromiter((any(map(matches, lists[code])) for code in codes.tolist()), np.bool_, len(codes))
        return self._among(codes, [code for text, held in self._holding.items() if matches(text) for code in held])

    def _new(self, key: tuple[str, ...]) -> int:
        if self._free:
            code = self._free.pop()
            self._lists[code] = key
        else:
            code = len(self._lists)
            self._lists.append(key)
            self._had.append(0)
        for text in key:
            insort(self._holding.setdefault(text, []), code)
        return code

    def _among(self, codes: NDArray[np.int64], chosen: list[int]) -> NDArray[np.bool_]:
        table = np.zeros(len(self._lists), np.bool_)
        table[chosen] = True
        return table[codes]
