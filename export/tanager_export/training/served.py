"""A trained hybrid as the server reads it: sparse, and the blend in its form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tanager_export.bundle import Scores
from tanager_export.evaluation.cases import Cases, Histories
from tanager_export.training.hybrid import Hybrid, fit_head
from tanager_export.training.parts import PRIORS, Behaviour, Parts
from tanager_export.training.sequence_onnx import ServedSequence
from tanager_export.training.sparse import sparsest
from tanager_export.training.terms import HISTORY_LIMIT, total
from tanager_export.training.unseen import new_items
from tanager_export.training.windows import held_out
from tanager_server.bundle import Scoring

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tanager_export.dataset import Dataset
    from tanager_export.training.run import Run

_MAX_HALF_LIFE = 1e6
_WISH_PRIOR_SHARE = 0.25  # what priors move a list of wishes, against the wish itself
_SAMPLE = 512


def served_scores(hybrid: Hybrid, behaviour: Behaviour, cases: Cases) -> Scores:
    """Scores for a bundle.

    Nothing teaches how much a wish is to weigh: it is given as much spread over the catalogue as all else that is known
    of a typical user has.

    Args:
        hybrid: fitted.
        behaviour: that it was fitted to.
        cases: typical users, for the weight of a wish.
    """
    parts, blend, structure = hybrid.parts, hybrid.blend, hybrid.blend.structure
    weights = blend.weights
    little = parts.own < 0.5
    of_priors = np.array(
        [[weights[prior] for prior in PRIORS], [weights.get(f"{prior}, known", 0.0) for prior in PRIORS]], np.float32
    )
    priors = of_priors @ parts.priors
    neighbours = sparsest(parts.collaborative, little, used=weights["collaborative"] > 0)
    transitions = sparsest(parts.transitions, little, used=weights["transitions"] > 0)
    wish = _wish_weight(hybrid, cases)
    spread = float(np.std(priors[0]))
    return Scores(
        neighbours=neighbours,
        transitions=transitions,
        priors=priors,
        profile=parts.profiles.served(),
        scoring=Scoring(
            origin="learned",
            collaborative=weights["collaborative"],
            collaborative_half_life=min(structure.half_life, _MAX_HALF_LIFE),
            transitions=weights["transitions"],
            transitions_half_life=structure.transitions_half_life,
            history_text=weights["text"],
            history_text_half_life=structure.text_half_life,
            sequence=weights["sequence"] if parts.sequence is not None else 0.0,
            wish=wish,
            wish_prior=_WISH_PRIOR_SHARE * wish * _text_spread(parts.vectors) / max(spread, 1e-6),
            profile=weights["profile"],
            profile_text=wish / 2,
            context_text=wish / 4,
            history_limit=HISTORY_LIMIT,
            known_events=structure.known_events,
        ),
        fitted_to=len(behaviour.train),
        sequence=None if parts.sequence is None else ServedSequence(parts.sequence, cases.histories),
        new_items=new_items(
            behaviour,
            structure,
            neighbours=neighbours if weights["collaborative"] > 0 else None,
            transitions=transitions if weights["transitions"] > 0 else None,
            little=little,
            prior_weights=of_priors,
        ),
    )


def run_scores(run: Run, dataset: Dataset, vectors: NDArray[np.float32]) -> Scores:
    """Scores of a run for a bundle: its blend, with all parts fitted anew to all that the dataset holds.

    A run that leaves out a test has its parts fitted without it as well.

    Args:
        run: trained.
        dataset: catalogue and behaviour to serve.
        vectors: (items, dim) float32 of unit length, as they are served.
    """
    learned = dataset.interactions
    if run.manifest["hold_out"]:
        learned = held_out(dataset, protocol=run.protocol, seed=run.seed).train
    behaviour = Behaviour(dataset, learned, vectors)
    head = fit_head(learned, vectors, run.blend, seed=run.seed, progress=True)
    hybrid = Hybrid(Parts.fit(behaviour, run.blend.structure, head), run.blend)
    random = np.random.default_rng(run.seed)
    active = np.unique(learned.user)
    some = np.sort(random.permutation(active)[:_SAMPLE]).astype(np.int64)
    rows = Histories.of_users(learned, some)
    attributes = {user.id: user.attributes for user in dataset.users}
    nothing = Histories(np.zeros(len(some) + 1, np.int64), rows.item[:0], rows.timestamp[:0], rows.weight[:0])
    profiles = [attributes.get(learned.user_ids[user], {}) for user in some.tolist()]
    at = np.full(len(some), int(learned.timestamp.max()), np.int64)
    return served_scores(hybrid, behaviour, Cases(some.astype(np.int32), rows, nothing, profiles, at))


def _wish_weight(hybrid: Hybrid, cases: Cases) -> float:
    some = cases.take(np.arange(min(len(cases), _SAMPLE)))
    scores = total([hybrid.blend.weights[name] for name in hybrid.blend.weights], hybrid.parts, some,
                   hybrid.blend.structure)  # fmt: skip
    return float(np.median(scores.std(axis=1))) / _text_spread(hybrid.parts.vectors)


def _text_spread(vectors: NDArray[np.float32]) -> float:
    """The standard deviation over the catalogue of the cosine with one text."""
    some = vectors[:: max(1, len(vectors) // _SAMPLE)]
    return max(float(np.median((some @ vectors.T).std(axis=1))), 1e-6)
