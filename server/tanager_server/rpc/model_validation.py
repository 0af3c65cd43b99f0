"""Requests about bundles and the state, as plain values."""

from __future__ import annotations

import re

from tanager.v1 import model_pb2
from tanager_server.errors import FieldViolation, InvalidRequestError
from tanager_server.live import CONTROL, TrialMode, TrialPlan
from tanager_server.rpc.checks import Violations, check_id

MAX_VARIANT_CHARS = 100
_MODES = {model_pb2.TRIAL_MODE_SPLIT: TrialMode.SPLIT, model_pb2.TRIAL_MODE_SHADOW: TrialMode.SHADOW}
_BACKUP_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


def trial_plan(request: model_pb2.StartTrialRequest) -> TrialPlan:
    """Checks and converts a StartTrialRequest.

    Raises:
        InvalidRequestError: fields are out of their bounds.
    """
    violations = Violations()
    check_id("name", request.name, violations)
    mode = _MODES.get(request.mode)
    if mode is None:
        violations.add("mode", "must be TRIAL_MODE_SPLIT or TRIAL_MODE_SHADOW")
    if not 0.0 < request.share <= 1.0:  # nor NaN
        violations.add("share", f"must be more than 0, up to 1, is {request.share:g}")
    variant = request.variant or request.name
    if len(variant) > MAX_VARIANT_CHARS or not variant.isprintable():
        violations.add("variant", f"must be up to {MAX_VARIANT_CHARS} printable characters")
    elif variant == CONTROL:
        violations.add("variant", f"must not be {CONTROL!r}: that is who is answered from the bundle that is served")
    violations.check()
    assert mode is not None
    return TrialPlan.new(request.name, variant=variant, mode=mode, share=request.share)


def backup_name(request: model_pb2.BackUpStateRequest) -> str:
    """The name of a backup.

    Raises:
        InvalidRequestError: no directory can have it.
    """
    if not _BACKUP_NAME.fullmatch(request.name):
        wanted = "must be 1 to 100 letters, digits, dots, hyphens and underscores, and not begin with a dot"
        raise InvalidRequestError(FieldViolation("name", wanted))
    return request.name
