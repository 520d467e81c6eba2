"""What phases that train nothing found: an assessment's readiness, and what monitoring saw and did."""

from __future__ import annotations

from typing import Literal

from fraudfl.frozen import Frozen
from fraudfl.results.measured import Count, Estimate


class Column(Frozen):
    """One column, as the assessment found it."""

    name: str
    banks: Estimate
    filled: Estimate
    kept: bool
    reason: str


class Ahead(Frozen):
    """What an assessment expected of a phase to come; ε is None where nothing is promised."""

    phase: str
    banks: Count
    rounds: Count
    up: Count
    down: Count
    seconds: float
    epsilon: float | None


class Readiness(Frozen):
    """What an assessment found.

    Attributes:
        ready: Banks with frauds enough to learn from.
        power: Whether there is fraud enough to see the gain that the pilot's gate asks for, in words.
        categories: Column to the values that the consortium agreed on.
    """

    banks: Count
    ready: Estimate
    rows: Estimate
    train_frauds: Estimate
    test_frauds: Estimate
    columns: tuple[Column, ...]
    categories: dict[str, tuple[str, ...]]
    power: str
    ahead: tuple[Ahead, ...]


class Moved(Frozen):
    """How far a feature, or `score`, moved: PSI, and the p-value after having looked at all of them."""

    name: str
    psi: float
    p: float


class WatchedWindow(Frozen):
    """One window of monitoring; figures come once labels are known.

    Attributes:
        model: Version in use.
        missed: Frauds per transaction that the alert budget misses, against quiet windows.
    """

    number: Count
    first: str
    model: Count
    rows: Count
    drifts: tuple[Moved, ...]
    alert_rate: Estimate | None
    auprc: Estimate | None
    recall_at_budget: Estimate | None
    missed: Estimate | None


class Alert(Frozen):
    """A rule that began to hold.

    Attributes:
        window: Number of the window that it is about.
        day: When it was raised.
    """

    rule: str
    severity: Literal["info", "warning", "critical"]
    window: Count
    day: str
    reason: str


class Action(Frozen):
    """What a rule did.

    Attributes:
        version: The challenger's, or the one gone back to; None where there was none.
        done: Whether another model is in use since.
    """

    action: Literal["retrain", "rollback"]
    day: str
    alert: str
    phase: str
    version: Count | None
    done: bool
    reason: str


class Watching(Frozen):
    """What monitoring saw and did.

    Attributes:
        quiet: How many of the first windows are the reference.
        planned: Windows planned.
    """

    quiet: Count
    planned: Count
    windows: tuple[WatchedWindow, ...]
    alerts: tuple[Alert, ...]
    actions: tuple[Action, ...]
