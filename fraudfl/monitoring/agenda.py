"""What monitoring does next, and on which day: windows as they end, outcomes as labels become known, challengers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import Literal

from fraudfl.monitoring.spec import WatchSpec

Step = Literal["watch", "outcome", "retrain"]
_ORDER: tuple[Step, ...] = ("watch", "outcome", "retrain")


@dataclass(frozen=True)
class Due:
    """One step.

    Attributes:
        day: Not before this day.
        step: On one day windows are watched before outcomes are asked for, and models change last: a window belongs to
            the model that was in use in it.
        window: Its number; 0 for a challenger.
    """

    day: date
    step: Step
    window: int = 0


def next_due(
    spec: WatchSpec, watched: Collection[int], judged: Collection[int], retrain: date | None = None
) -> Due | None:
    """The next step; None when there is none left.

    Args:
        spec: The windows.
        watched: Those that were watched, or given up.
        judged: Those whose outcome was asked for, or given up.
        retrain: When a challenger is to be trained, where one is waited for.
    """
    steps = [Due(retrain, "retrain")] if retrain is not None else []
    windows = range(1, spec.windows + 1)
    steps += [Due(spec.ends(window), "watch", window) for window in windows if window not in watched][:1]
    steps += [Due(spec.labels_known(window), "outcome", window) for window in windows if window not in judged][:1]
    return min(steps, key=lambda due: (due.day, _ORDER.index(due.step)), default=None)
