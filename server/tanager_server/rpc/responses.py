"""Answers to responses, as bytes: serialised messages one after the other are one message with the fields of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager.v1 import common_pb2, recommendation_pb2
from tanager_server.engine import Source
from tanager_server.rpc._results import ResultEncoder

if TYPE_CHECKING:
    from tanager_server.engine import Explanation, Recommendation, Shortfall, Strategy, Timing
    from tanager_server.index import Generation

    Response = type[
        recommendation_pb2.RecommendResponse
        | recommendation_pb2.SimilarItemsResponse
        | recommendation_pb2.RankResponse
        | recommendation_pb2.TrendingResponse
    ]

_MICROSECONDS = 1e6
_USERS_TAG = bytes([1 << 3 | 2])  # of BatchRecommendResponse; `results` is the first field there too
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
        self._catalogue = catalogue
        self._results = ResultEncoder(catalogue.ids, catalogue.titles, catalogue.domains, _SOURCES)
        self._usual: dict[tuple[Response, str, int, Strategy, Shortfall, bool], bytes] = {}
        results = self._results

        def follow(position: int) -> None:
            titles, domains = catalogue.titles, catalogue.domains
            results.put(position, catalogue.ids[position], titles[position], domains[position])

        catalogue.watch(follow)

    def encode(
        self,
        response: Response,
        answer: Recommendation,
        *,
        first_rank: int = 1,
        next_page_token: str = "",
        attribution_token: str = "",
    ) -> bytes:
        """A serialised message of one of the types that hold results."""
        if answer.generation.catalogue is not self._catalogue:
            self._begin(answer.generation)
        page = answer.page
        told = [self._told(explanation) for explanation in answer.explanations]
        results = self._results.encode(page.positions, page.scores, page.sources, told, first_rank, page.propensities)
        manifest, number = answer.generation.manifest, answer.generation.number
        key = (response, manifest.bundle_id, number, answer.strategy, answer.shortfall, answer.degraded)
        if (usual := self._usual.get(key)) is None:
            usual = self._usual[key] = _usual(*key)
        rest = response()
        if not isinstance(rest, recommendation_pb2.TrendingResponse):
            rest.timing.CopyFrom(_timing(answer.timing))
        if isinstance(rest, (recommendation_pb2.RecommendResponse, recommendation_pb2.RankResponse)):
            rest.unknown_item_count = answer.unknown_items
        if isinstance(rest, recommendation_pb2.RecommendResponse):
            rest.unknown_attribute_count = answer.unknown_attributes
            rest.next_page_token = next_page_token
            rest.attribution_token = attribution_token
        return b"".join((results, usual, rest.SerializeToString()))

    def encode_user(self, user_id: str, answer: Recommendation) -> bytes:
        """One of the `users` of a serialised BatchRecommendResponse."""
        if answer.generation.catalogue is not self._catalogue:
            self._begin(answer.generation)
        page = answer.page
        results = self._results.encode(page.positions, page.scores, page.sources)
        strategy = getattr(common_pb2, f"STRATEGY_{answer.strategy.name}")
        shortfall = getattr(common_pb2, f"SHORTFALL_{answer.shortfall.name}")
        message = recommendation_pb2.UserRecommendations(user_id=user_id, strategy=strategy, shortfall=shortfall)
        body = results + message.SerializeToString()
        return _USERS_TAG + _varint(len(body)) + body

    def reasons(self, explanation: Explanation) -> list[common_pb2.Reason]:
        """Reasons as messages."""
        catalogue = self._catalogue
        return [
            common_pb2.Reason(
                kind=f"REASON_KIND_{reason.kind.name}",
                item_id=catalogue.ids[reason.position] if reason.position >= 0 else "",
                title=catalogue.titles[reason.position] if reason.position >= 0 else "",
                attribute=reason.attribute,
                contribution=reason.contribution,
            )
            for reason in explanation.reasons
        ]

    def _told(self, explanation: Explanation) -> bytes:
        return common_pb2.Result(
            reasons=self.reasons(explanation), other_contribution=explanation.other
        ).SerializeToString()


def _varint(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _usual(
    response: Response, bundle_id: str, number: int, strategy: Strategy, shortfall: Shortfall, degraded: bool
) -> bytes:
    """What answers that came about alike have in common."""
    served_by = common_pb2.ServedBy(
        bundle_id=bundle_id,
        strategy=f"STRATEGY_{strategy.name}",
        generation=number,
        variant="main",
        degraded=degraded,
    )
    message = response(served_by=served_by)
    if not isinstance(message, recommendation_pb2.RankResponse):
        message.shortfall = getattr(common_pb2, f"SHORTFALL_{shortfall.name}")
    return message.SerializeToString()


def _timing(timing: Timing) -> common_pb2.Timing:
    return common_pb2.Timing(
        queue_us=round(timing.queue_s * _MICROSECONDS),
        tokenize_us=round(timing.tokenize_s * _MICROSECONDS),
        encode_us=round(timing.encode_s * _MICROSECONDS),
        search_us=round(timing.search_s * _MICROSECONDS),
        rank_us=round(timing.rank_s * _MICROSECONDS),
        batch_size=timing.batch_size,
    )
