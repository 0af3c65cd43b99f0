"""All that answers from one generation; another generation comes with another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager_server.engine.diversity import Diversifier
from tanager_server.engine.next_items import NextItems
from tanager_server.engine.popular import PopularItems
from tanager_server.engine.ranking import Ranker
from tanager_server.engine.reasons import Explainer

if TYPE_CHECKING:
    from tanager_server.index import Generation
    from tanager_server.runtime import SequenceHead


class Serving:
    """Ranks, explains and chooses items of one generation. To make one takes time that grows with the catalogue.

    Args:
        generation: what is recommended.
        sequence: reads histories, where the generation has a sequence head.
    """

    def __init__(self, generation: Generation, sequence: SequenceHead | None = None) -> None:
        self.generation = generation
        self.ranker = Ranker(generation)
        self.explainer = Explainer(generation)
        self.diversifier = Diversifier(generation, self.ranker, self.explainer)
        self.popular = PopularItems(generation.priors[0], len(generation.index))
        generation.index.prepare()
        self.next_items = None
        if sequence is not None:
            if generation.sequence is not None:
                generation.sequence.index.prepare()
            head = sequence.over(generation.sequence_vectors)
            self.next_items = NextItems(head, weight=generation.scoring.sequence)

    def close(self) -> None:
        """Ends its thread, when it has done what it was given."""
        if self.next_items is not None:
            self.next_items.close()
