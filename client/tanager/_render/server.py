"""A server and its bundles, for people."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from tanager._enums import TrialMode
from tanager._render.columns import columns, cut, plain

if TYPE_CHECKING:
    from tanager._status import (
        Activation,
        AvailableBundle,
        Backup,
        Bundle,
        BundleList,
        Runtime,
        State,
        Status,
        Trial,
        VariantCounts,
    )


def status(answer: Status) -> list[str]:
    """What a server is, what it serves and what it keeps."""
    bundle = answer.bundle
    uptime_s = max(0, int((dt.datetime.now(dt.UTC) - answer.start_time).total_seconds()))
    rows = [
        ("server", f"{answer.server_version}, up {dt.timedelta(seconds=uptime_s)}, {answer.queue_depth} texts waiting"),
        ("provider", f"{answer.execution_provider}, {_runtime(answer.runtime)}"),
        *_bundle_rows(bundle),
        *(_state_rows(answer.state) if answer.state is not None else [("state", "none kept")]),
        *(_trial_rows(answer.trial) if answer.trial is not None else []),
        *((name, f"{value:.4g}") for name, value in sorted(bundle.quality.items())),
    ]
    lines = columns([(plain(name), plain(value)) for name, value in rows])
    if bundle.simulated_behaviour:
        lines += ["", "NOTE: the behaviour in this dataset was simulated; nobody's taste is behind these items."]
    return lines


def bundle_list(answer: BundleList) -> list[str]:
    """The bundles that can be served."""
    if not answer:
        return ["no bundles"]
    head = ("", "name", "exported", "items", "precision", "model", "bundle")
    lines = columns([head, *(_bundle_row(found) for found in answer)], right=(3,))
    problems = [f"{plain(found.name)} cannot be served: {plain(found.problem)}" for found in answer if found.problem]
    return [*lines, "", *problems] if problems else lines


def activation(answer: Activation, elapsed_s: float) -> list[str]:
    """What is served now."""
    rows = [
        *_bundle_rows(answer.bundle),
        ("encoded", f"{answer.encoded_count:,} live items"),
        ("time", f"{elapsed_s:.1f} s"),
    ]
    return columns([(name, plain(value)) for name, value in rows])


def trial(answer: Trial | None, elapsed_s: float) -> list[str]:
    """A trial as it begins or as it ended."""
    took = f"{elapsed_s:.1f} s"
    if answer is None:
        return ["there was no trial"]
    return columns([*((plain(name), plain(value)) for name, value in _trial_rows(answer)), ("time", took)])


def _trial_rows(trial: Trial) -> list[tuple[str, str]]:
    of = "users" if trial.mode is not TrialMode.SHADOW else "users, in the shadow"
    rows = [
        ("trial", f"{trial.variant}: bundle {trial.bundle.bundle_id[:12]} for {trial.share:.1%} of the {of}"),
        ("counted", f"since {trial.count_start_time:%Y-%m-%d %H:%M} UTC"),
        ("control", _counts(trial.control)),
        (trial.variant, _counts(trial.candidate)),
    ]
    if trial.mode is TrialMode.SHADOW:
        skipped = f", {trial.skipped_count:,} skipped" if trial.skipped_count else ""
        rows.append(("overlap", f"{trial.mean_overlap:.1%} of {trial.compared_count:,} lists{skipped}"))
    return rows


def _counts(counts: VariantCounts) -> str:
    of = "".join(
        f", {count:,} {name}"
        for name, count in (
            ("failed", counts.failed_count),
            ("degraded", counts.degraded_count),
            ("short", counts.short_count),
        )
        if count
    )
    taken = f"{counts.attributed_event_count:,} events of {counts.shown_item_count:,} items shown"
    return f"{counts.list_count:,} lists in {counts.mean_us / 1e3:.2f} ms{of}; {taken}"


def backup(answer: Backup, elapsed_s: float) -> list[str]:
    """What was copied."""
    rows = [("backup", answer.name), ("size", f"{answer.size_bytes / 1e6:,.1f} MB"), ("time", f"{elapsed_s:.1f} s")]
    return columns([(name, plain(value)) for name, value in rows])


def _bundle_rows(bundle: Bundle) -> list[tuple[str, str]]:
    domains = ", ".join(f"{name or 'no domain'} {count:,}" for name, count in sorted(bundle.domain_item_counts.items()))
    return [
        ("bundle", f"{bundle.bundle_id}, exported {bundle.create_time:%Y-%m-%d %H:%M} UTC"),
        ("model", f"{bundle.model_name}, {bundle.dim} dimensions, {bundle.max_tokens} tokens"),
        ("precision", bundle.precision),
        ("dataset", bundle.dataset_name),
        ("items", f"{bundle.item_count:,}" + (f" ({domains})" if domains else "")),
    ]


def _bundle_row(found: AvailableBundle) -> tuple[str, ...]:
    mark, bundle = "*" if found.active else "", found.bundle
    if bundle is None:
        return (mark, plain(found.name), "-", "-", "-", "-", "-")
    exported = f"{bundle.create_time:%Y-%m-%d %H:%M}"
    model = cut(plain(bundle.model_name))
    return (
        mark,
        plain(found.name),
        exported,
        f"{bundle.item_count:,}",
        plain(bundle.precision),
        model,
        plain(bundle.bundle_id[:12]),
    )


def _state_rows(state: State) -> list[tuple[str, str]]:
    return [
        ("live", f"{state.item_count:,} items, {state.unindexed_item_count:,} of them not in the index yet"),
        ("users", f"{state.user_count:,} with {state.event_count:,} events"),
        ("token", state.consistency_token),
    ]


def _runtime(runtime: Runtime) -> str:
    batches = f"{runtime.workers} batches of up to {runtime.max_batch_tokens} tokens at a time"
    return f"{batches}, threads each: {runtime.threads}"
