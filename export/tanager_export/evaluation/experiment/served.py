"""The same cases asked of a running server, and what it loses against exact scores."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from tanager_export.bundle import FITTED_TO
from tanager_export.errors import ExportError
from tanager_export.evaluation.bootstrap import Interval
from tanager_export.evaluation.experiment.answers import Answers, with_lists
from tanager_export.evaluation.experiment.result import METRIC, Served
from tanager_export.evaluation.leaks import LeakError
from tanager_export.evaluation.ranking import TOP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tanager import Client
    from tanager_export.dataset import Dataset
    from tanager_export.evaluation.cases import Cases, Split
    from tanager_export.evaluation.evaluate import Outcome

_TIMEOUT_S = 60.0
_HISTORY_LIMIT = 10_000  # events of a request, and ids that it excludes
_SUSPICIOUS_OVERLAP = 0.8


def require_served(address: str, dataset: Dataset, splits: Sequence[Split]) -> None:
    """Looks, before any work is done, whether a server can be asked.

    Args:
        address: host:port of a server.
        dataset: whose items the server has to have.
        splits: what is to be asked.

    Raises:
        LeakError: the bundle that is served was fitted to something else than what may be learned from in any of the
            splits, or does not say.
        ExportError: the server does not answer, or serves another catalogue.
    """
    from tanager import Client, TanagerError

    try:
        with Client(address, timeout_s=_TIMEOUT_S) as client:
            bundle = client.wait_until_ready(_TIMEOUT_S).bundle
    except (TanagerError, OSError, ValueError) as error:
        raise ExportError(f"{address}: {error}") from error
    if bundle.item_count != len(dataset.items):
        raise ExportError(
            f"{address}: serves {bundle.item_count:,} items, the dataset has {len(dataset.items):,}: "
            "serve a bundle of this dataset"
        )
    fitted_to = bundle.quality.get(FITTED_TO)
    if fitted_to not in {len(split.train) for split in splits}:
        told = "does not say what it knows" if fitted_to is None else f"was fitted to {fitted_to:,.0f} interactions"
        wanted = ", ".join(f"train of {split.name} has {len(split.train):,}" for split in splits)
        raise LeakError(
            f"{address}: its bundle {told}, and {wanted}: serve the bundle of a run that was trained with --hold-out"
        )


def ask_server(
    address: str, dataset: Dataset, split: Split, outcome: Outcome, *, learned: Sequence[str] = ()
) -> Served:
    """Asks for every case over gRPC, with the history and the profile, and compares the lists with the exact ones.

    What the history holds is not to come back. Dislikes are sent with weight 0: they were seen and say nothing, as in
    the exact score.

    Args:
        address: host:port of a server.
        dataset: whose items the server has to have.
        split: what is asked.
        outcome: of the exact scores.
        learned: attributes that the exact scores know, such as "gender=female"; other words of a profile are for the
            server's encoder alone, and the gap is that of reading them as well.

    Raises:
        ExportError: the server does not answer, refuses, or serves another catalogue, or a bundle that may know what is
            asked.
    """
    from tanager import Client, TanagerError

    require_served(address, dataset, [split])  # another bundle may have come since
    try:
        with Client(address, timeout_s=_TIMEOUT_S) as client:
            bundle = client.wait_until_ready(_TIMEOUT_S).bundle
            top, unknown = _ask(client, dataset, split.cases)
    except (TanagerError, OSError, ValueError) as error:
        raise ExportError(f"{address}: {error}") from error
    if unknown:
        raise ExportError(
            f"{address}: does not know {unknown:,} items of the histories: serve a bundle of this dataset"
        )
    # Both as lists: then neither has places that the other has not.
    exact = Answers([with_lists(outcome, outcome.ranks.top, histories=split.cases.histories)])
    served = Answers([with_lists(outcome, top, histories=split.cases.histories)])
    kept = served.compare(exact, METRIC).ratio
    overlap = _overlap(outcome.ranks.top, top)
    warnings = []
    if overlap < _SUSPICIOUS_OVERLAP:
        warnings.append(
            f"only {overlap:.0%} of the exact first {TOP} were answered: is the bundle of this model, this blend and "
            "this split's train?"
        )
    if read := words_to_encode(split.cases, learned):
        fields = ", ".join(f"{name}: {count:,}" for name, count in read.items())
        warnings.append(
            f"{sum(read.values()):,} values of profiles are of no attribute that the exact scores know; the server "
            f"reads them as words ({fields}), and that is in the gap"
        )
    return Served(
        address=address,
        bundle_id=bundle.bundle_id,
        model=f"{bundle.model_name}, {bundle.precision}",
        cases=len(split.cases),
        exact=exact.interval(METRIC),
        served=served.interval(METRIC),
        loss=Interval(1 - kept.value, 1 - kept.high, 1 - kept.low),
        overlap=overlap,
        warnings=tuple(warnings),
    )


def words_to_encode(cases: Cases, learned: Sequence[str]) -> dict[str, int]:
    """How many texts of the profiles are of no learned attribute, by field, the most first."""
    known = {name.casefold() for name in learned}
    found: Counter[str] = Counter()
    for profile in cases.profiles:
        for field, value in profile.items():
            texts = (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ()
            found[field] += sum(f"{field}={text}".casefold() not in known for text in texts)
    return {field: count for field, count in found.most_common() if count}


def _ask(client: Client, dataset: Dataset, cases: Cases) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.int32]], int]:
    from tanager import Event

    ids = [item.id for item in dataset.items]
    position = {name: at for at, name in enumerate(ids)}
    top = np.full((len(cases), TOP), -1, np.int32)
    unknown = 0
    for case in tqdm(range(len(cases)), desc="asking the server", unit="case", leave=False, disable=None):
        part = slice(cases.histories.indptr[case], cases.histories.indptr[case + 1])
        item, weight = cases.histories.item[part], cases.histories.weight[part]
        events = [
            Event(ids[at], weight=1.0 if liked else 0.0)
            for at, liked in zip(item[-_HISTORY_LIMIT:].tolist(), (weight[-_HISTORY_LIMIT:] > 0).tolist(), strict=True)
        ]
        older: Sequence[str] = [ids[at] for at in item[:-_HISTORY_LIMIT].tolist()]
        answer = client.recommend(history=events, profile=cases.profiles[case], page_size=TOP, exclude_item_ids=older)
        unknown += answer.unknown_item_count
        for result in answer:
            if result.item_id not in position:
                raise ExportError(f"the server answered {result.item_id!r}: serve a bundle of this dataset")
            top[case, result.rank - 1] = position[result.item_id]
    return top, unknown


def _overlap(
    exact: np.ndarray[tuple[int, int], np.dtype[np.int32]], top: np.ndarray[tuple[int, int], np.dtype[np.int32]]
) -> float:
    same = ((exact[:, :, None] == top[:, None, :]) & (exact[:, :, None] >= 0)).sum()
    return float(same / max(1, int((exact >= 0).sum())))
