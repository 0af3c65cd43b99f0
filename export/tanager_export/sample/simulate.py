"""Simulated behaviour around real works: who takes up what, when, and on which device.

The model, for user u, work i and an event at time t:

Taste. θ_u is a sparse vector over categories: four themes (weights 1, .8, .6, .5), two forms in each domain (.6) and
one disliked theme (−.6). Each favourite is drawn with probability ∝ frequency_c·exp(8·Σ_k θ_uk·A_kc), the sum over the
favourites before it and A the cosine of categories by the works they share, so tastes are coherent; the dislike with
exp(−8·…). Themes occur in several domains, so a taste reaches across them. It drifts: at the end of the two years the
fourth theme has made way for a new one, which weighs 1, and one form in each domain has changed; in between, utilities
are interpolated linearly.

Fit. With x_i the categories of a work weighted by rarity, of unit length, and z the standard score over all works,

    fit_ui(t) = 1.6·z(θ_u(t)·x_i) + 1.2·[a favourite creator made i] − .3·min(|year_i − era_u| / 20, 2)

Three favourite creators are drawn by how their works suit the taste; era_u is the year the user was about 20, ± 15.

Utility. With d_u the user's leaning to domains (which depends on age) and rank_i the place of i in its domain's list,

    U_ui(t) = fit_ui(t) − .8·log rank_i + d_u[domain_i] + .4·[u reads Chinese and i has a Chinese title]
              + part[part of day, domain_i] + device[device, domain_i]                                       (context)
              + m·(cosine(x_i, x_j) + ½·[i and j share a creator]), j the work before                       (momentum)

with m = 2 within a session and ½ between sessions. The work taken up is a draw from the softmax of U over the works
the user has not taken up before (the argmax of U plus Gumbel noise). One event in 25 knows fame alone.

Time. A user joins within the first 80 % of two years and has exp(3.2 + .75·N(0, 1)) events, 3 to 180, in sessions of
2½ on average, minutes apart; sessions start more often at weekends and in the evening of the user's own country. The
device is drawn once a session, by part of day and habit.

Response. fit + N(0, 1) below its 55th percentile is a view, weight 1; below its 82nd a like, 2; above, a finish, 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tanager_export.sample.catalogue import Catalogue
from tanager_export.sample.draws import Draws
from tanager_export.sample.population import Population

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tanager_export.sample.works import Work

EVENTS = ("view", "like", "finish")
DEVICES = ("phone", "tablet", "desktop", "tv", "console")
PARTS_OF_DAY = ("night", "morning", "afternoon", "evening")

_START = 1_672_531_200  # 2023-01-01, a Sunday
_DAYS = 730
_DAY_S = 86_400
_HOURLY = np.array([3, 2, 1, 1, 1, 1, 2, 4, 5, 4, 4, 4, 5, 5, 4, 4, 5, 6, 8, 10, 12, 12, 9, 6], np.float64)
_WEEKEND_SHIFT = 0.15

_LOG_EVENTS, _LOG_EVENTS_SPREAD, _MIN_EVENTS, _MAX_EVENTS = 3.2, 0.75, 3, 180
_JOIN_BEFORE = 0.8
_SESSION_START = 0.4
_LOG_GAP_S, _LOG_GAP_SPREAD = np.log(12 * 60), 0.8

# Logits of devices by part of day (phone, tablet, desktop, tv, console).
_DEVICE_BY_PART = np.array(
    [[1.0, 0.3, 0.3, 0.8, 0.3], [1.6, 0.0, 0.4, -1.0, -1.5], [1.0, 0.0, 1.0, -0.6, -0.3], [0.6, 0.4, 0.4, 0.9, 0.5]]
)
_DEVICE_HABIT = 0.8
# What a part of day and a device do to the utility of a domain (book, film, album, game).
_PART = np.array([[0.4, 0.5, 0.0, 0.2], [0.2, -0.8, 0.9, -0.8], [0.0, -0.2, 0.3, 0.1], [0.1, 0.6, -0.2, 0.5]])
_DEVICE = np.array(
    [
        [0.3, -0.6, 1.0, -0.7],
        [1.0, 0.4, -0.3, -0.5],
        [0.0, 0.0, 0.4, 0.7],
        [-2.5, 1.8, -0.5, -1.0],
        [-3.0, 0.2, -1.0, 2.2],
    ]
)

_TASTE, _CREATOR, _ERA, _ERA_YEARS, _CHINESE = 1.6, 1.2, 0.3, 20.0, 0.4
_MOMENTUM, _MOMENTUM_BETWEEN = 2.0, 0.5
_FAME_ONLY = 0.04
_RESPONSE_QUANTILES = (0.55, 0.82)


@dataclass(frozen=True, slots=True, eq=False)
class Simulation:
    """What happened, in order of time; `n` events.

    Attributes:
        population: The users.
        catalogue: The works as numbers.
        user: `(n,) int64`, index into the population's users.
        work: `(n,) int64`, index into the works.
        timestamp: `(n,) int64`, Unix seconds.
        event: `(n,) int64`, index into `EVENTS`; the weight of an event is one more.
        device: `(n,) int64`, index into `DEVICES`.
        part_of_day: `(n,) int64`, index into `PARTS_OF_DAY`, by the user's own clock.
    """

    population: Population
    catalogue: Catalogue
    user: NDArray[np.int64]
    work: NDArray[np.int64]
    timestamp: NDArray[np.int64]
    event: NDArray[np.int64]
    device: NDArray[np.int64]
    part_of_day: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Schedule:
    """When users act and on what: arrays `(u, longest)`, of which a user's first `count` columns mean something."""

    count: NDArray[np.int64]
    local_s: NDArray[np.int64]
    same_session: NDArray[np.bool_]
    device: NDArray[np.int64]
    part_of_day: NDArray[np.int64]


def simulate(works: Sequence[Work], *, users: int = 2400, seed: int = 0) -> Simulation:
    """Simulate behaviour; the same works, number of users and seed give the same behaviour on any machine.

    Args:
        works: In each domain the most widely known first.
        users: How many.
        seed: Any integer from 0.
    """
    draws = Draws(seed)
    catalogue = Catalogue.of(works)
    population = Population.draw(users, catalogue, draws)
    schedule = _draw_schedule(users, draws)
    fit = _fit(population, catalogue)
    chosen = _choose(schedule, population, catalogue, fit, draws)

    rows, columns = np.nonzero(np.arange(chosen.shape[1]) < schedule.count[:, None])
    work, local_s = chosen[rows, columns], schedule.local_s[rows, columns]
    late = _progress(local_s)
    felt = (1 - late) * fit[0, rows, work] + late * fit[1, rows, work] + draws.normal(len(rows))
    timestamp = local_s - population.utc_offset_s[rows]
    order = np.lexsort((columns, rows, timestamp))
    return Simulation(
        population=population,
        catalogue=catalogue,
        user=rows[order],
        work=work[order],
        timestamp=timestamp[order],
        event=np.searchsorted(np.quantile(felt, _RESPONSE_QUANTILES), felt)[order],
        device=schedule.device[rows, columns][order],
        part_of_day=schedule.part_of_day[rows, columns][order],
    )


def _draw_schedule(users: int, draws: Draws) -> _Schedule:
    count = np.exp(_LOG_EVENTS + _LOG_EVENTS_SPREAD * draws.normal(users))
    count = np.clip(np.rint(count), _MIN_EVENTS, _MAX_EVENTS).astype(np.int64)
    shape = (users, int(count.max()))
    column = np.arange(shape[1])
    used = column < count[:, None]
    begins = draws.uniform(*shape) < _SESSION_START
    begins[:, 0] = True
    first = np.maximum.accumulate(np.where(begins, column, 0), axis=1)  # of the session of each event

    joined = _JOIN_BEFORE * _DAYS * draws.uniform(users, 1)
    day = np.floor(joined + (_DAYS - joined) * draws.uniform(*shape))
    to_saturday = 6 - day % 7
    day += np.where((draws.uniform(*shape) < _WEEKEND_SHIFT) & (to_saturday < 6), to_saturday, 0)
    hour = np.searchsorted(np.cumsum(_HOURLY) / _HOURLY.sum(), draws.uniform(*shape))
    starts = day * _DAY_S + (hour + draws.uniform(*shape)) * 3600
    # The starts of sessions in order of time; the k-th belongs to the k-th session.
    starts = np.sort(np.where(begins & used, starts, np.inf), axis=1)
    starts = np.take_along_axis(starts, np.cumsum(begins, axis=1) - 1, axis=1)

    gaps = np.where(begins, 0, np.exp(_LOG_GAP_S + _LOG_GAP_SPREAD * draws.normal(*shape)))
    elapsed = np.cumsum(gaps, axis=1)
    elapsed -= np.take_along_axis(elapsed, first, axis=1)
    local_s = np.maximum.accumulate(starts + elapsed, axis=1)  # a session waits for the end of the one before
    local_s = _START + np.where(used, local_s, 0).astype(np.int64)

    part_of_day = _part_of_day(local_s)
    habit = _DEVICE_HABIT * draws.normal(users, 1, len(DEVICES))
    device = np.take_along_axis(draws.choice(_DEVICE_BY_PART[part_of_day] + habit), first, axis=1)
    return _Schedule(count, local_s, ~begins, device, part_of_day)


def _part_of_day(local_s: NDArray[np.int64]) -> NDArray[np.int64]:
    hour = local_s // 3600 % 24
    part: NDArray[np.int64] = np.searchsorted([6, 12, 18, 23], hour, side="right") % len(PARTS_OF_DAY)
    return part


def _progress(local_s: NDArray[np.int64]) -> NDArray[np.float64]:
    """How much of the simulated time has passed, 0 to 1."""
    return np.clip((local_s - _START) / (_DAYS * _DAY_S), 0, 1)


def _fit(population: Population, catalogue: Catalogue) -> NDArray[np.float64]:
    """`(2, u, n)`: how well each work suits each user, at the begin and at the end."""
    liking = population.taste @ catalogue.features.T
    score = (liking - liking.mean(axis=2, keepdims=True)) / liking.std(axis=2, keepdims=True)
    by_favourite = population.creators.astype(np.float64) @ catalogue.creators.T > 0
    years_off = np.abs(catalogue.year - population.era[:, None]) / _ERA_YEARS
    fit: NDArray[np.float64] = _TASTE * score + _CREATOR * by_favourite - _ERA * np.minimum(years_off, 2)
    return fit


def _choose(
    schedule: _Schedule,
    population: Population,
    catalogue: Catalogue,
    fit: NDArray[np.float64],
    draws: Draws,
) -> NDArray[np.int64]:
    """`(u, longest) int64`: the work each user takes up at each step."""
    order = np.argsort(-schedule.count, kind="stable")  # the busiest first: those still active are then a slice
    known = catalogue.fame + _CHINESE * (population.reads_chinese[:, None] & catalogue.chinese)
    early, late = (fit + known + population.domain[:, catalogue.domain])[:, order]
    open_to = np.zeros(early.shape)  # minus infinity once taken up
    chosen = np.zeros(schedule.local_s.shape, np.int64)
    before = np.zeros(len(order), np.int64)
    for step in range(schedule.local_s.shape[1]):
        active = int(np.searchsorted(-schedule.count[order], -step))
        who, now = order[:active], np.arange(active)
        passed = _progress(schedule.local_s[who, step])[:, None]
        context = _PART[schedule.part_of_day[who, step]] + _DEVICE[schedule.device[who, step]]
        utility = (1 - passed) * early[:active] + passed * late[:active] + context[:, catalogue.domain]
        if step:
            momentum = np.where(schedule.same_session[who, step], _MOMENTUM, _MOMENTUM_BETWEEN)
            utility += momentum[:, None] * catalogue.similarity[before[:active]]
        fame_only = draws.uniform(active) < _FAME_ONLY
        utility[fame_only] = catalogue.fame
        work = draws.choice(utility + open_to[:active])
        open_to[now, work] = -np.inf
        chosen[who, step] = before[:active] = work
    return chosen
