"""How long labels take, as the last assessment that counted it found."""

from __future__ import annotations

from dataclasses import dataclass

from fraudfl.assessment.report import READINESS
from fraudfl.errors import CheckpointError
from fraudfl.results.measured import Estimate
from server.store.workspace import Workspace, read_json


@dataclass(frozen=True)
class LabelDelays:
    """Share of labels known within so many days of their transaction.

    Attributes:
        phase: The assessment.
        within: Days to the share, by rising days.
    """

    phase: str
    within: dict[float, Estimate]


def label_delays(workspace: Workspace) -> LabelDelays | None:
    """What the last assessment with label times found; None without one.

    Raises:
        CheckpointError: naming the file that cannot be read.
    """
    for phase in reversed(workspace.phases()):
        path = workspace.coordinator / "phases" / phase.name / READINESS
        facts = read_json(path) or {}
        try:
            within = {
                float(days): Estimate(value=share["value"], low=share["low"], high=share["high"])
                for days, share in facts.get("labels_within_days", {}).items()
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path}: cannot be read ({error!r}); restore it, or assess anew") from error
        if within:
            return LabelDelays(phase.name, dict(sorted(within.items())))
    return None
