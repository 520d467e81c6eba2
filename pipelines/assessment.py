"""Assessment: banks count their data, the sum is made public to them, and later phases are planned by it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fraudfl.assessment.estimates import Ahead, Envelopes, Estimate, Rows, expected_inputs, traffic
from fraudfl.assessment.negotiated import Schema, negotiate
from fraudfl.assessment.pace import Pace, phase_seconds
from fraudfl.assessment.profile import Floats, Profile
from fraudfl.assessment.published import PAYLOAD, Published
from fraudfl.assessment.report import READINESS, consortium_readiness, power_check
from fraudfl.assessment.spec import COLUMNS, ProfileSpec
from fraudfl.config import AssessmentConfig
from fraudfl.folder import write_bytes
from fraudfl.protocols import Reply
from fraudfl.transfer.squeeze import squeeze
from pipelines.asking import Asked, Enclosed, addresses, ask, cohort_digest, one_attempt, read_counts
from pipelines.counts import sum_counts
from pipelines.phase import continued, meet, outcome_so_far
from pipelines.world import Phase

Plans = Callable[[Schema], Sequence[Ahead]]
"""The training phases to come, planned under the schema that was negotiated."""


def run_assessment(
    phase: Phase, settings: AssessmentConfig, plans: Plans, *, lanes: int | None = None
) -> dict[str, Any]:
    """Run an assessment, or go on with one that a checkpoint holds; returns its outcome for `summary.json`.

    Args:
        settings: What columns, values and power must reach.
        plans: Makes the plans of the phases to come.
        lanes: Banks that work at the same time, where they share a machine; all by default.

    Raises:
        QuorumError: when too few banks answer, after all attempts.
    """
    started = time.monotonic()
    if not continued(phase):
        meet(phase)
        phase.save()
    profile, lacking = _profiled(phase)
    schema = negotiate(profile, settings)
    pace = Pace(_publish(phase, Published.of(profile, schema)), lanes or profile.banks)
    ahead = plans(schema)
    asked = next((coming.asked for coming in ahead if coming.asked is not None), None)
    readiness = consortium_readiness(
        profile,
        schema,
        lacking,
        power_check(profile, settings.hope, asked),
        [_estimate(phase, coming, profile, Published.of(profile, schema), pace) for coming in ahead],
    )
    write_bytes(phase.world.folder / READINESS, json.dumps(readiness, indent=1, allow_nan=False).encode() + b"\n")
    phase.state.seconds = time.monotonic() - started
    phase.save()
    phase.world.progress.event("assessed", banks=profile.banks, left_out=[entry.column for entry in schema.left_out])
    return outcome_so_far(phase) | {"status": "completed", "assessment": readiness}


def _profiled(phase: Phase) -> tuple[Profile, Mapping[str, Sequence[str]] | None]:
    """The sum of the banks' profiles, and who lacks which column where that is seen; asked once in the phase."""
    spec = _spec(phase)
    notes = phase.state.notes
    if "profile" not in notes:
        vector, heard, lacking = _summed(phase, spec)
        notes["profile"] = {"sums": vector.tolist(), "banks": heard, "lacking": lacking}
        phase.save()
    found = notes["profile"]
    banks = len(found["banks"])
    profile = Profile(spec, np.array(found["sums"], dtype=np.float64), banks, _deviation(phase, banks))
    return profile, found["lacking"]


def _summed(phase: Phase, spec: ProfileSpec) -> tuple[Floats, list[str], dict[str, list[str]] | None]:
    if phase.plan.secure_aggregation is not None:
        summed = sum_counts(phase, "profile")
        return summed.vectors["profile"], sorted(summed.banks), None
    own: dict[str, Floats] = {}

    def take(reply: Reply) -> None:
        own[reply.bank] = read_counts(phase.plan, reply, "profile", spec.size).astype(np.float64)

    heard = ask(phase, "profile", 0, lambda _bank: Enclosed(), take, own.clear)
    total: Floats = np.sum([own[bank] for bank in sorted(heard)], axis=0)
    if phase.plan.mechanism("profile") is not None:
        # One bank's entry is mostly noise: it would name the wrong ones.
        return total, sorted(heard), None
    lacking = {
        column: [bank for bank in sorted(heard) if own[bank][spec.blocks[COLUMNS]][place] < 1]
        for place, column in enumerate(spec.optional)
    }
    return total, sorted(heard), lacking


def _deviation(phase: Phase, banks: int) -> float:
    """Standard deviation of the noise in each sum: every bank adds its share, or all of it."""
    mechanism = phase.plan.mechanism("profile")
    return 0.0 if mechanism is None else float(mechanism.share_deviation * np.sqrt(banks))


def _publish(phase: Phase, published: Published) -> float:
    """Send every bank the sums, so that each can report its own readiness to itself; returns the seconds it took.

    Banks that cannot be reached go without: nothing of theirs is asked for.
    """
    banks = phase.world.fleet.banks()
    enclosed = Enclosed(payloads={PAYLOAD: published.to_bytes()})
    started = time.monotonic()
    requests = addresses(phase, Asked("readiness", 0, 1, cohort_digest(banks)), banks, lambda _bank: enclosed)
    told = one_attempt(phase, requests, lambda _reply: None, 0)
    phase.world.progress.event("told", banks=sorted(told))
    return time.monotonic() - started


def _estimate(phase: Phase, coming: Ahead, profile: Profile, published: Published, pace: Pace) -> Estimate:
    plan = coming.plan
    envelopes = Envelopes.measured(phase.state.meter, len(squeeze(published.to_bytes())[1]))
    inputs = expected_inputs(plan, profile)
    rows = Rows.of(profile)
    up, down = traffic(coming, inputs, rows, envelopes)
    asked = min(coming.banks, coming.cohort or coming.banks)
    return Estimate(
        phase=plan.phase,
        kind=plan.kind,
        banks=coming.banks,
        rounds=plan.rounds,
        inputs=inputs,
        weights=plan.model.size(inputs),
        bytes_up=up,
        bytes_down=down,
        seconds=phase_seconds(plan, coming.banks, asked, rows.train, inputs, pace),
        epsilon=coming.epsilon,
        delta=plan.privacy.delta if plan.private else None,
    )


def _spec(phase: Phase) -> ProfileSpec:
    assert phase.plan.profile is not None  # an assessment's plan
    return phase.plan.profile
