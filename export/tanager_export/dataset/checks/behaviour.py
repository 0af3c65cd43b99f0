"""What is odd about interactions, times aside: repeats, sparsity, imbalance, weights."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from tanager_export.dataset.checks.finding import Finding, Severity, gini, interaction_places, top_share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tanager_export.dataset.format import Dataset
    from tanager_export.dataset.reader import LocatedDataset

_FEW = 100  # below, a hundredth is one, and shares are chance
_STEEP = 0.5
_SMALL_DOMAIN = 0.05
_FOLLOWS = 0.7  # of a rank correlation


def popular_attributes(dataset: Dataset) -> list[tuple[str, float]]:
    """Numbers of items that follow how often these were taken up, each with its rank correlation (Spearman)."""
    uptakes = np.bincount(dataset.interactions.item[dataset.interactions.weight > 0], minlength=len(dataset.items))
    found = []
    names = {name for item in dataset.items for name, value in item.attributes.items() if _is_number(value)}
    for name in sorted(names):
        rows = [row for row, item in enumerate(dataset.items) if _is_number(item.attributes.get(name))]
        values = np.array([float(dataset.items[row].attributes[name]) for row in rows])  # type: ignore[arg-type]
        if len(rows) < _FEW or np.ptp(values) == 0 or np.ptp(uptakes[rows]) == 0:
            continue
        correlation = float(stats.spearmanr(values, uptakes[rows]).statistic)
        if abs(correlation) >= _FOLLOWS:
            found.append((name, correlation))
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_behaviour(located: LocatedDataset) -> Iterator[Finding]:
    """What is odd about the interactions, times aside."""
    dataset, columns = located.dataset, located.dataset.interactions
    if not len(columns):
        message = "no interactions: recommendations rest on texts alone"
        yield Finding(Severity.WARNING, "no-interactions", message, 0, (), "add interactions.csv")
        return
    n, n_users, n_items = len(columns), len(columns.user_ids), len(dataset.items)
    pair = columns.user.astype(np.int64) * n_items + columns.item
    order = np.lexsort((columns.timestamp, pair))
    same_pair = np.zeros(n, np.bool_)
    same_pair[order[1:]] = np.diff(pair[order]) == 0
    same_row = np.zeros(n, np.bool_)
    same_row[order[1:]] = np.diff(columns.timestamp[order]) == 0
    same_row &= same_pair
    if twice := int(same_row.sum()):
        message = f"{twice:,} interactions repeat another of the same user, item and time"
        places = interaction_places(located.interaction_lines, same_row)
        yield Finding(Severity.WARNING, "duplicate-interactions", message, twice, places, "drop them")
    if again := int(same_pair.sum()) - twice:
        message = f"{again:,} interactions are of a user with an item they had before"
        mend = (
            "nothing, unless things are taken up once only; an evaluation that masks what was seen cannot ask for them"
        )
        yield Finding(Severity.INFO, "repeated-interactions", message, again, (), mend)

    for name, correlation in popular_attributes(dataset):
        message = (
            f"attribute {name!r} of items follows how often these were taken up (rank correlation {correlation:.2f})"
        )
        mend = "if it was made from behaviour, leave it out of items.jsonl: it tells training what evaluation asks"
        yield Finding(Severity.WARNING, "popular-attributes", message, 1, (), mend)
    by_item = np.bincount(columns.item, minlength=n_items)
    by_user = np.bincount(columns.user, minlength=n_users)
    yield _density(n - int(same_pair.sum()), n, n_users, n_items)
    yield from _check_imbalance(dataset, by_item, by_user)
    if single := int((by_user == 1).sum()):
        severity = Severity.WARNING if single > n_users / 2 else Severity.INFO
        message = f"{single:,} of {n_users:,} users have one interaction: they show nothing of what goes with what"
        mend = "collect for longer, or join what is known of a person under one id"
        yield Finding(severity, "single-event-users", message, single, (), mend)
    if unseen := int((by_item == 0).sum()):
        severity = Severity.WARNING if unseen > n_items / 2 else Severity.INFO
        message = f"{unseen:,} of {n_items:,} items have no interactions: their text has to carry them"
        mend = "see that their texts are good, and drop what cannot be had any more"
        yield Finding(severity, "unseen-items", message, unseen, (), mend)
    if quiet := len({user.id for user in dataset.users}.difference(columns.user_ids)):
        message = f"{quiet:,} users have a profile and no interactions"
        yield Finding(Severity.INFO, "users-without-events", message, quiet)
    yield from _check_weights(located)


def _density(pairs: int, n: int, n_users: int, n_items: int) -> Finding:
    sparse = n < 2 * n_users or n < 2 * n_items
    message = (
        f"{pairs / (n_users * n_items):.3%} of all pairs of user and item occur; "
        f"{n / n_users:.1f} interactions a user, {n / n_items:.1f} an item"
    )
    mend = "expect more from texts than from behaviour" if sparse else ""
    return Finding(Severity.WARNING if sparse else Severity.INFO, "density", message, pairs, (), mend)


def _check_imbalance(dataset: Dataset, by_item: NDArray[np.int64], by_user: NDArray[np.int64]) -> Iterator[Finding]:
    share = top_share(by_item)
    steep = len(by_item) >= _FEW and share > _STEEP
    message = (
        f"popularity: Gini coefficient {gini(by_item):.2f}; {share:.0%} of interactions are with the top 1 % of items"
    )
    mend = "a recommender will repeat the charts unless diversity is asked for" if steep else ""
    top = max(1, len(by_item) // 100)
    yield Finding(Severity.WARNING if steep else Severity.INFO, "imbalance", message, top, (), mend)

    share = top_share(by_user)
    steep = len(by_user) >= _FEW and share > _STEEP
    message = f"activity: Gini coefficient {gini(by_user):.2f}; {share:.0%} of interactions are of the top 1 % of users"
    mend = (
        "drop those that are machines or shared, and cap or weigh down the rest: they decide what is learned"
        if steep
        else ""
    )
    top = max(1, len(by_user) // 100)
    yield Finding(Severity.WARNING if steep else Severity.INFO, "user-imbalance", message, top, (), mend)

    domains = [item.domain or "(none)" for item in dataset.items]
    size = Counter(domains)
    if len(size) > 1:
        events: Counter[str] = Counter(dict.fromkeys(size, 0))
        for domain, count in zip(domains, by_item.tolist(), strict=True):
            events[domain] += count
        listed = ", ".join(f"{domain} {count:,}" for domain, count in events.most_common(10))
        thin = [domain for domain, count in events.items() if count / events.total() < _SMALL_DOMAIN / len(size)]
        message = f"interactions by domain: {listed}"
        mend = (
            f"expect texts to carry {', '.join(thin[:5])}: there is next to no behaviour to learn from" if thin else ""
        )
        yield Finding(Severity.WARNING if thin else Severity.INFO, "domain-imbalance", message, len(thin), (), mend)


def _check_weights(located: LocatedDataset) -> Iterator[Finding]:
    weight = located.dataset.interactions.weight
    low = weight <= 0
    if count := int(low.sum()):
        message = f"{count:,} weights are zero or negative"
        mend = "a weight says how much an interaction speaks for the item: drop what speaks against it"
        places = interaction_places(located.interaction_lines, low)
        yield Finding(Severity.WARNING, "weight-not-positive", message, count, places, mend)
    message = f"weights from {weight.min():g} to {weight.max():g}, mean {weight.mean(dtype=np.float64):.3g}"
    yield Finding(Severity.INFO, "weight-range", message, len(weight))
