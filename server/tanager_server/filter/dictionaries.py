"""Texts and lists of texts by number, so that a column holds numbers and a comparison is made once for each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


class Texts:
    """Texts by code: 0, 1, … in the order in which they came."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._texts: list[str] = []
        self._folded: list[str] = []

    def __len__(self) -> int:
        return len(self._texts)

    def code(self, text: str) -> int:
        """The text's code, a new one if it is new."""
        code = self._codes.setdefault(text, len(self._texts))
        if code == len(self._texts):
            self._texts.append(text)
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

    def keep(self, codes: Sequence[int]) -> None:
        """Keeps those of the codes alone, which are 0, 1, … from then on."""
        self._texts = [self._texts[code] for code in codes]
        self._codes = {text: code for code, text in enumerate(self._texts)}
        self._folded = []


class Lists:
    """Lists of texts by code. What counts of a list is which texts it holds."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, ...], int] = {}
        self._lists: list[tuple[str, ...]] = []
        self._holding: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return len(self._lists)

    def code(self, texts: Sequence[str]) -> int:
        """The list's code, a new one if it is new."""
        key = tuple(texts) if len(texts) == 1 else tuple(sorted(set(texts)))
        code = self._codes.setdefault(key, len(self._lists))
        if code == len(self._lists):
            self._add(key, code)
        return code

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

    def keep(self, codes: Sequence[int]) -> None:
        """Keeps those of the codes alone, which are 0, 1, … from then on."""
        kept = [self._lists[code] for code in codes]
        self._codes = {key: code for code, key in enumerate(kept)}
        self._lists, self._holding = [], {}
        for code, key in enumerate(kept):
            self._add(key, code)

    def _add(self, key: tuple[str, ...], code: int) -> None:
        self._lists.append(key)
        for text in key:
            self._holding.setdefault(text, []).append(code)

    def _among(self, codes: NDArray[np.int64], chosen: list[int]) -> NDArray[np.bool_]:
        table = np.zeros(len(self._lists), np.bool_)
        table[chosen] = True
        return table[codes]
