"""What is left of the teacher in a student."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StudentShape:
    """What is left of the teacher.

    Attributes:
        layers: transformer layers.
        intermediate: width of their feed-forward parts; None for the teacher's.
    """

    layers: int
    intermediate: int | None = None

    def __str__(self) -> str:
        width = "" if self.intermediate is None else f", feed-forward {self.intermediate}"
        return f"{self.layers} layer{'s' if self.layers != 1 else ''}{width}"

    @property
    def code(self) -> str:
        """What `parse` reads."""
        return str(self.layers) if self.intermediate is None else f"{self.layers}x{self.intermediate}"

    @classmethod
    def parse(cls, text: str) -> StudentShape:
        """From "3", or "3x768" for narrower feed-forward parts.

        Raises:
            ValueError: it is neither.
        """
        layers, cross, intermediate = text.partition("x")
        shape = cls(int(layers), int(intermediate) if cross else None)
        if shape.layers < 1 or (shape.intermediate is not None and shape.intermediate < 1):
            raise ValueError(text)
        return shape
