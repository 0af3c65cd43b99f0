"""What was shown to whom: logged without delaying the answer, so that events can be joined to it.

An answer gets a token, and what it showed is posted to the journal under it: it is written when there is time, and lost
with the process if that ends before. Events that bring the token back are compared with what was shown, by memory as
long as that goes back, by the store after that.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import json
import logging
import random
import re
import secrets
import time
from typing import TYPE_CHECKING, NamedTuple

from tanager_server.engine.request import NO_VARIANT, Source, Variant
from tanager_server.errors import ServerError
from tanager_server.runtime.worker import WorkerThread
from tanager_server.state import AddImpressions, ExpireImpressions, Impression

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from tanager_server.engine.request import Recommendation, RecommendQuery
    from tanager_server.state import Journal, Store

_log = logging.getLogger(__name__)

_VERSION = 1
_TOKEN_BYTES = 9
_TOKEN = re.compile(r"[A-Za-z0-9_-]{12}")
_MAX_TEXT_CHARS = 1_000
_MAX_REMEMBERED = 1_000_000
"""Places of all lists in memory: some 10 MB."""
_EXPIRED_AT_A_TIME = 1_000
_MAX_PURGES = 10_000
_FIRST_EXPIRE_S = 60.0
_EXPIRE_EVERY_S = 3600.0
_DAY_NS = 24 * 3600 * 10**9
_SCORE_DIGITS = 6
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


class Shown(NamedTuple):
    """A list as it was logged.

    Attributes:
        item_ids: best first.
        first_rank: of the first of them: more than 1 on later pages.
        propensities: probability of each to be on the page.
        variant: of the trial that the user was part of.
    """

    item_ids: Sequence[str]
    first_rank: int
    propensities: Sequence[float]
    variant: Variant = NO_VARIANT


class Remembered(NamedTuple):
    """What a token stands for.

    Attributes:
        user_id: who the list was for.
        item_ids: what it showed.
        variant: of the trial that the user was part of.
    """

    user_id: str
    item_ids: Collection[str]
    variant: Variant


_NOTHING = Remembered("", (), NO_VARIANT)


class Impressions:
    """The log of what was shown.

    Args:
        store: where older lists are looked up.
        share: of the lists for users that are logged, 0 to 1.
        keep_days: how long they are kept.
        draw: gives numbers from 0 to 1.

    All methods are for the event loop's thread.
    """

    def __init__(
        self,
        store: Store,
        *,
        share: float = 1.0,
        keep_days: float = 90.0,
        draw: random.Random | None = None,
    ) -> None:
        self._store, self._share, self._keep_ns = store, share, int(keep_days * _DAY_NS)
        self._draw = random.Random() if draw is None else draw  # noqa: S311  # no secret
        self._journal: Journal | None = None
        self._recent: collections.OrderedDict[str, Remembered] = collections.OrderedDict()
        self._tokens_of: dict[str, list[str]] = {}
        self._remembered = 0
        self._silenced: collections.Counter[str] = collections.Counter()
        self._purged: collections.OrderedDict[int, int] = collections.OrderedDict()
        """The last purges: which of all it was, by the hash of the user's id, which must not be kept."""
        self._purge_count, self._oldest_purge = 0, 0
        self._worker = WorkerThread("impressions", niceness=8)
        self._expiring: asyncio.Task[None] | None = None

    def begin(self, journal: Journal) -> None:
        """From here on what is shown is logged, and what is too old is removed now and then."""
        self._journal = journal
        self._expiring = asyncio.create_task(self._keep_expiring(), name="impressions")

    async def close(self) -> None:
        """Logs nothing more."""
        self._journal = None
        self._worker.close()
        if self._expiring is not None:
            self._expiring.cancel()
            await asyncio.gather(self._expiring, return_exceptions=True)

    # What is shown

    @property
    def moment(self) -> int:
        """Stands for now: a list for a user who is purged after it is not logged."""
        return self._purge_count

    def log(self, query: RecommendQuery, answer: Recommendation, *, began: int) -> str:
        """Logs a list.

        Args:
            query: what was asked.
            answer: the list.
            began: the `moment` at which the call did.

        Returns:
            Its token; empty where it is not logged: it is empty or for nobody known, it was left out by the share, or
            there is no room.
        """
        journal, user_id = self._journal, query.user_id
        if journal is None or not user_id or not answer.page.positions or self._is_purged(user_id, began):
            return ""
        if self._share < 1.0 and self._draw.random() >= self._share:
            return ""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        ids = answer.generation.catalogue.ids
        item_ids = [ids[position] for position in answer.page.positions]
        impression = Impression(token, user_id, time.time_ns(), impression_bytes(query, answer, item_ids))
        if not journal.post(AddImpressions([impression])):
            return ""
        self._remember(token, Remembered(user_id, tuple(item_ids), answer.variant))
        return token

    def _remember(self, token: str, shown: Remembered) -> None:
        self._recent[token] = shown
        self._tokens_of.setdefault(shown.user_id, []).append(token)
        self._remembered += len(shown.item_ids)
        while self._remembered > _MAX_REMEMBERED:
            oldest, forgotten = self._recent.popitem(last=False)
            self._remembered -= len(forgotten.item_ids)
            tokens = self._tokens_of[forgotten.user_id]
            tokens.remove(oldest)  # the first of them
            if not tokens:
                del self._tokens_of[forgotten.user_id]

    def _is_purged(self, user_id: str, since: int) -> bool:
        # Where it is not known any more, it may have been.
        later = self._purged.get(hash(user_id), 0) > since or self._oldest_purge > since
        return later or user_id in self._silenced

    @contextlib.contextmanager
    def silence(self, user_id: str) -> Iterator[None]:
        """In the block nothing is logged of a user: who is being purged must not leave a new trace meanwhile."""
        self._silenced[user_id] += 1
        try:
            yield
        finally:
            self._silenced[user_id] -= 1
            if not self._silenced[user_id]:
                del self._silenced[user_id]

    def forget(self, user_id: str) -> None:
        """A user was purged."""
        self._purge_count += 1
        self._purged[hash(user_id)] = self._purge_count
        self._purged.move_to_end(hash(user_id))
        if len(self._purged) > _MAX_PURGES:
            self._oldest_purge = self._purged.popitem(last=False)[1]
        for token in self._tokens_of.pop(user_id, ()):
            self._remembered -= len(self._recent.pop(token).item_ids)

    # What comes of it

    async def shown_by(self, tokens: Collection[str]) -> Mapping[str, Remembered]:
        """What the list of each token showed: no items for what is no token of a list that is kept.

        Raises:
            StorageError: the store cannot be read.
        """
        found = dict.fromkeys(tokens, _NOTHING)
        older = []
        for token in found:
            if (recent := self._recent.get(token)) is not None:
                found[token] = recent
            elif _TOKEN.fullmatch(token):
                older.append(token)
        if older:
            found.update(await self._worker.run(self._look_up, older))
        return found

    def _look_up(self, tokens: Sequence[str]) -> dict[str, Remembered]:
        found: dict[str, Remembered] = {}
        for token in tokens:
            if (impression := self._store.lookup_impression(token)) is not None:
                shown = read_impression(impression.data)
                found[token] = Remembered(impression.user_id, frozenset(shown.item_ids), shown.variant)
        return found

    # What is too old

    async def expire(self, now_ns: int) -> int:
        """Removes what has been kept long enough, some of it at a time. Returns how many lists.

        Raises:
            OverloadedError: too much waits to be written.
            StorageError: the disk does not take it.
        """
        removed = 0
        while (journal := self._journal) is not None:
            (outcome,) = await journal.write(ExpireImpressions(now_ns - self._keep_ns, _EXPIRED_AT_A_TIME))
            removed += outcome.removed.impressions
            if outcome.removed.impressions < _EXPIRED_AT_A_TIME:
                break
        return removed

    async def _keep_expiring(self) -> None:
        await asyncio.sleep(_FIRST_EXPIRE_S)  # a start has enough to do
        while True:
            try:
                if removed := await self.expire(time.time_ns()):
                    _log.info("impressions expired", extra={"removed": removed})
            except ServerError as error:  # the next time may be better
                _log.warning("impressions could not be expired: %s", error)
            except Exception:
                _log.exception("impressions could not be expired")
            await asyncio.sleep(_EXPIRE_EVERY_S)


def impression_bytes(query: RecommendQuery, answer: Recommendation, item_ids: Sequence[str]) -> bytes:
    """A list, how it came about, and what of the request may tell why it was liked, as bytes."""
    page = answer.page
    asked = {
        "text": query.text[:_MAX_TEXT_CHARS],
        "context": dict(query.context),
        "profile": sorted(query.profile),
        "events": len(query.events.item_ids),
        "examples": len(query.examples.item_ids),
        "filter": query.filter,
        "source_domains": sorted(query.source_domains),
        "target_domains": sorted(query.target_domains),
    }
    record: dict[str, object] = {
        "version": _VERSION,
        "bundle": answer.generation.manifest.bundle_id,
        "strategy": answer.strategy.name,
        "degraded": answer.degraded,
        "request": {name: value for name, value in asked.items() if value},
        "first_rank": 1 + len(query.shown),
        "items": item_ids,
        "scores": [round(score, _SCORE_DIGITS) for score in page.scores],
        "sources": [_names(flags) for flags in page.sources],
    }
    if answer.variant.name:
        record["variant"], record["trial"] = answer.variant
    if page.propensities:
        record["propensities"] = page.propensities
    return _ENCODER.encode(record).encode()


def read_impression(data: bytes) -> Shown:
    """The list of `impression_bytes`."""
    record = json.loads(data)
    items = record["items"]
    propensities = record.get("propensities") or [1.0] * len(items)
    variant = Variant(record["variant"], record["trial"]) if "variant" in record else NO_VARIANT
    return Shown(items, record["first_rank"], propensities, variant)


@functools.lru_cache(1 << len(Source))
def _names(flags: int) -> str:
    return "+".join(source.name or "" for source in Source if source & flags)
