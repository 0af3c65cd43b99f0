"""Answers to responses, as bytes: serialised messages one after the other are one message with the fields of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager.v1 import common_pb2, recommendation_pb2
from tanager_server.engine import Source
from tanager_server.rpc._results import ResultEncoder

if TYPE_CHECKING:
    from tanager_server.engine import Explanation, Recommendation, Shortfall, Strategy
    from tanager_server.index import Generation

    Response = type[recommendation_pb2.RecommendResponse | recommendation_pb2.SimilarItemsResponse]

_MICROSECONDS = 1e6
_SOURCES = [
    common_pb2.Result(sources=[f"SOURCE_{source.name}" for source in Source if source & flags]).SerializeToString()
    for flags in range(1 << len(Source))
]


class ResponseEncoder:
    """Encodes answers; keeps, of the generation they come from, what the results of an item have in common.

    Args:
        generation: which the next answers come from. Those of another one make it begin anew, which takes a while.
    """

    def __init__(self, generation: Generation) -> None:
        self._begin(generation)

    def _begin(self, generation: Generation) -> None:
        catalogue = generation.catalogue
        self._generation = generation
        self._results = ResultEncoder(catalogue.ids, catalogue.titles, catalogue.domains, _SOURCES)
        self._usual: dict[tuple[Response, Strategy, Shortfall], bytes] = {}

    def encode(self, response: Response, answer: Recommendation) -> bytes:
        """A serialised message of one of the types that hold results."""
        if answer.generation is not self._generation:
            self._begin(answer.generation)
        timing = answer.timing
        rest = response(
            timing=common_pb2.Timing(
                queue_us=round(timing.queue_s * _MICROSECONDS),
                tokenize_us=round(timing.tokenize_s * _MICROSECONDS),
                encode_us=round(timing.encode_s * _MICROSECONDS),
                search_us=round(timing.search_s * _MICROSECONDS),
                rank_us=round(timing.rank_s * _MICROSECONDS),
                batch_size=timing.batch_size,
            )
        )
        if isinstance(rest, recommendation_pb2.RecommendResponse):
            rest.unknown_item_count = answer.unknown_items
            rest.unknown_attribute_count = answer.unknown_attributes
        page = answer.page
        told = [self._told(explanation) for explanation in answer.explanations]
        results = self._results.encode(page.positions, page.scores, page.sources, told)
        key = (response, answer.strategy, answer.shortfall)
        if (usual := self._usual.get(key)) is None:
            bundle_id = answer.generation.manifest.bundle_id
            usual = response(
                served_by=common_pb2.ServedBy(bundle_id=bundle_id, strategy=f"STRATEGY_{answer.strategy.name}"),
                shortfall=f"SHORTFALL_{answer.shortfall.name}",
            ).SerializeToString()
            self._usual[key] = usual
        return b"".join((results, usual, rest.SerializeToString()))

    def _told(self, explanation: Explanation) -> bytes:
        catalogue = self._generation.catalogue
        return common_pb2.Result(
            reasons=[
                common_pb2.Reason(
                    kind=f"REASON_KIND_{reason.kind.name}",
                    item_id=catalogue.ids[reason.position] if reason.position >= 0 else "",
                    title=catalogue.titles[reason.position] if reason.position >= 0 else "",
                    attribute=reason.attribute,
                    contribution=reason.contribution,
                )
                for reason in explanation.reasons
            ],
            other_contribution=explanation.other,
        ).SerializeToString()
