"""The table of `compress`, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tanager_export.compression.accuracy import Price
    from tanager_export.compression.speed import Speed


@dataclass(frozen=True, slots=True)
class Row:
    """A variant and what it costs.

    Attributes:
        variant: its name.
        encoder_bytes: of the ONNX file.
        vectors_bytes: of the catalogue's vectors, fp32.
        dim: of the vectors.
        speed: how fast it encodes.
        text: N@10 by the vectors alone.
        hybrid: N@10 of the hybrid; None where it was not measured.
        wishes: share of the ten items nearest to a wish that stay the same, by kind of wish.
    """

    variant: str
    encoder_bytes: int
    vectors_bytes: int
    dim: int
    speed: Speed
    text: Price
    hybrid: Price | None
    wishes: Mapping[str, float]

    @property
    def wish_overlap(self) -> float:
        """Over all kinds of wishes alike."""
        return sum(self.wishes.values()) / len(self.wishes)

    def record(self) -> dict[str, object]:
        """As JSON has it."""
        return {
            "variant": self.variant,
            "encoder_bytes": self.encoder_bytes,
            "vectors_bytes": self.vectors_bytes,
            "dim": self.dim,
            "texts_per_s": self.speed.texts_per_s,
            "texts_per_s_ratio_to_int8": self.speed.ratio,
            "texts_per_s_ratio_range": [self.speed.ratio_low, self.speed.ratio_high],
            "text": _price_record(self.text),
            "hybrid": None if self.hybrid is None else _price_record(self.hybrid),
            "wish_top10_overlap": self.wish_overlap,
            "wish_top10_overlap_by_kind": dict(self.wishes),
        }


def table(rows: Sequence[Row]) -> str:
    """A line a variant, columns aligned."""
    head = ["variant", "encoder MB", "vectors MB", "texts/s", "x int8", "text N@10", "loss % [95 %]"]
    head += ["hybrid N@10", "loss % [95 %]"] if rows[0].hybrid is not None else []
    lines = [[*head, "wishes"]]
    for row in rows:
        cells = [row.variant, f"{row.encoder_bytes / 1e6:.1f}", f"{row.vectors_bytes / 1e6:.1f}"]
        cells += [f"{row.speed.texts_per_s:,.0f}", f"{row.speed.ratio:.2f}", *_price_cells(row.text)]
        cells += [] if row.hybrid is None else _price_cells(row.hybrid)
        lines.append([*cells, f"{row.wish_overlap:.3f}"])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _price_cells(price: Price) -> list[str]:
    low, high = price.loss_interval
    return [f"{price.ndcg:.4f}", f"{100 * price.loss:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"]


def _price_record(price: Price) -> dict[str, object]:
    low, high = price.loss_interval
    return {
        "ndcg@10": price.ndcg,
        "loss": _finite(price.loss),
        "loss_interval": [_finite(low), _finite(high)],
        "cases": price.against.cases,
    }


def _finite(value: float) -> float | None:
    """JSON knows no NaN: what has no value is null."""
    return value if abs(value) < float("inf") else None
