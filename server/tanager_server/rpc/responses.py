"""Answers to responses, as bytes: serialised messages one after the other are one message with the fields of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager.v1 import common_pb2, recommendation_pb2
from tanager_server.engine import Source
from tanager_server.rpc._results import ResultEncoder

if TYPE_CHECKING:
    from tanager_server.bundle import Catalogue
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


class _Results:
    """What the results of each item of a catalogue have in common."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._native = ResultEncoder(catalogue.ids, catalogue.titles, catalogue.domains, _SOURCES)
        self.encode = self._native.encode
        catalogue.watch(self._follow)

    def close(self) -> None:
        self._catalogue.unwatch(self._follow)

    def _follow(self, position: int) -> None:
        catalogue = self._catalogue
        self._native.put(position, catalogue.ids[position], catalogue.titles[position], catalogue.domains[position])


class ResponseEncoder:
    """Encodes answers; keeps, of the catalogues they come from, what the results of an item have in common.

    Args:
        generation: which the next answers come from. For those of another catalogue see `prepare`.
    """

    def __init__(self, generation: Generation) -> None:
        self._results: dict[Catalogue, _Results] = {}
        self._usual: dict[tuple[Response, str, int, Strategy, Shortfall, bool, str], bytes] = {}
        self.prepare(generation)

    def prepare(self, generation: Generation) -> None:
        """Makes answers from another catalogue quick, which takes a while; may be called from any thread."""
        self._results[generation.catalogue] = _Results(generation.catalogue)

    def forget(self, generation: Generation) -> None:
        """Forgets a catalogue from which no answer comes any more."""
        if (results := self._results.pop(generation.catalogue, None)) is not None:
            results.close()
        bundle_id = generation.manifest.bundle_id
        self._usual = {key: usual for key, usual in self._usual.items() if key[1] != bundle_id}

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
        catalogue = answer.generation.catalogue
        if catalogue not in self._results:
            self.prepare(answer.generation)
        page = answer.page
        told = [_told(explanation, catalogue) for explanation in answer.explanations]
        results = self._results[catalogue].encode(
            page.positions, page.scores, page.sources, told, first_rank, page.propensities
        )
        manifest, number = answer.generation.manifest, answer.generation.number
        how = answer.strategy, answer.shortfall, answer.degraded, answer.variant.name
        key = (response, manifest.bundle_id, number, *how)
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
        catalogue, page = answer.generation.catalogue, answer.page
        if catalogue not in self._results:
            self.prepare(answer.generation)
        results = self._results[catalogue].encode(page.positions, page.scores, page.sources, [], 1, page.propensities)
        strategy = getattr(common_pb2, f"STRATEGY_{answer.strategy.name}")
        shortfall = getattr(common_pb2, f"SHORTFALL_{answer.shortfall.name}")
        message = recommendation_pb2.UserRecommendations(
            user_id=user_id, strategy=strategy, shortfall=shortfall, variant=answer.variant.name
        )
        body = results + message.SerializeToString()
        return _USERS_TAG + _varint(len(body)) + body


def reasons(explanation: Explanation, catalogue: Catalogue) -> list[common_pb2.Reason]:
    """Reasons as messages."""
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


def _told(explanation: Explanation, catalogue: Catalogue) -> bytes:
    return common_pb2.Result(
        reasons=reasons(explanation, catalogue), other_contribution=explanation.other
    ).SerializeToString()


def _varint(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _usual(
    response: Response,
    bundle_id: str,
    number: int,
    strategy: Strategy,
    shortfall: Shortfall,
    degraded: bool,
    variant: str,
) -> bytes:
    """What answers that came about alike have in common."""
    served_by = common_pb2.ServedBy(
        bundle_id=bundle_id,
        strategy=f"STRATEGY_{strategy.name}",
        generation=number,
        degraded=degraded,
        variant=variant,
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
