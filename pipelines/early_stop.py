"""Early stopping: looks at the banks' validation rows between rounds, and the model that a phase ends with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fraudfl.errors import QuorumError
from fraudfl.metrics.looks import Course, Look
from pipelines.asking import cohort_digest
from pipelines.counts import sum_counts
from pipelines.publishing import model_for, publish_again
from pipelines.world import Phase

_COURSE, _ENDED = "looks", "looks ended"


def course_of(phase: Phase) -> Course:
    """What was seen so far."""
    facts = phase.state.notes.get(_COURSE)
    return Course(planned=len(phase.plan.looks)) if facts is None else Course.from_facts(facts)


def take_look(phase: Phase) -> None:
    """Look at the newest model, where the plan has a look after its round and there was none yet.

    Without privacy the histograms are exact; under differential privacy each bank's carry noise that ε pays for; under
    secure aggregation their sum alone is seen. A look that too few banks answer is left out: training goes on.
    """
    rule, course, number = phase.plan.early_stop, course_of(phase), phase.state.round
    if rule is None or number not in phase.plan.looks or _ended(phase):
        return
    if any(look.round == number for look in course.looks):
        return
    try:
        summed = sum_counts(phase, "look", number, lambda bank: model_for(phase, bank))
    except QuorumError as error:
        phase.world.progress.event("look missed", round=number, reason=str(error))
        return
    phase.state.held |= dict.fromkeys(summed.banks, number)
    counts = summed.vectors["validation"].astype(np.int64)
    deviation = _noise_in_sum(phase, len(summed.banks))
    look = Look.at(number, counts, phase.plan.look_bins, deviation, cohort_digest(sorted(summed.banks)))
    course = course.after(look, rule)
    phase.state.notes[_COURSE] = course.to_facts()
    if course.kept == number:
        phase.state.best = phase.state.model.copy()
    figures = {} if look.auprc is None else {"auprc": look.auprc}
    if phase.state.history:
        phase.state.history[-1] |= figures
    phase.save()
    phase.world.registry.log_round(number, figures)
    phase.world.progress.event(
        "look", round=number, noise=look.noise, kept=course.kept, fruitless=len(course.fruitless), **figures
    )


def stopped(phase: Phase) -> bool:
    """Whether looks have shown that training should end."""
    rule = phase.plan.early_stop
    return rule is not None and (_ended(phase) or len(course_of(phase).fruitless) >= rule.patience)


def end_with_best(phase: Phase) -> None:
    """Make the best model seen the phase's; once."""
    course = course_of(phase)
    if phase.plan.early_stop is None or course.kept is None or _ended(phase):
        return
    if course.kept != phase.state.round:
        publish_again(phase, phase.state.best)
    phase.state.notes[_ENDED] = True
    phase.save()
    phase.world.progress.event("stopped" if _early(phase) else "looked", round=phase.state.round, reason=_reason(phase))


def rounds_of_model(phase: Phase) -> int:
    """The round after which the phase's model was made."""
    kept = course_of(phase).kept
    return phase.state.round if kept is None or not _ended(phase) else kept


def early_stop_outcome(phase: Phase) -> dict[str, Any]:
    """What the looks came to, as the phase's outcome says it; nothing without `early_stop`."""
    if phase.plan.early_stop is None:
        return {}
    course = course_of(phase)
    found = {
        "stopped": _early(phase),
        "round": phase.state.round,
        "planned": phase.plan.rounds,
        "kept": rounds_of_model(phase),
        "reason": _reason(phase),
        "looks": [{"round": look.round, "auprc": look.auprc, "noise": look.noise} for look in course.looks],
    }
    return {"early_stop": found}


def _ended(phase: Phase) -> bool:
    return bool(phase.state.notes.get(_ENDED, False))


def _early(phase: Phase) -> bool:
    return stopped(phase) and phase.state.round < phase.plan.rounds


def _noise_in_sum(phase: Phase, banks: int) -> float:
    mechanism = phase.plan.mechanism("look")
    return 0.0 if mechanism is None else mechanism.share_deviation * math.sqrt(banks)


def _reason(phase: Phase) -> str:
    course, rule = course_of(phase), phase.plan.early_stop
    assert rule is not None  # whoever asks has looked
    if course.kept is None:
        return "no look could be judged: no fraud is among the validation rows, or too few banks answered"
    noise = max(look.noise for look in course.looks)
    sure = f", with noise of standard deviation {noise:.2g} in the looks" if noise else ""
    kept = f"the model of round {course.kept} is kept (AUPRC {course.figure(course.kept):.4f} on validation rows{sure})"
    if len(course.fruitless) >= rule.patience:
        rounds = ", ".join(map(str, course.fruitless))
        return (
            f"{len(course.fruitless)} looks (after rounds {rounds}) surely gained less than {rule.least_gain:g} over "
            f"round {course.reference}: training ended after round {phase.state.round} of {phase.plan.rounds}; {kept}"
        )
    return f"all {phase.state.round} rounds were run, as looks went on to gain, or could not tell; {kept}"
