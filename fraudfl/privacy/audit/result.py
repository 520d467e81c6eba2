"""What an audit found, as one frozen value for reports."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["sound", "violated", "no claim"]


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """One audit and its verdict.

    Attributes:
        name: What was audited, and how, in a few words.
        mechanism: Kind of mechanism: `dp-sgd`, `gaussian`, `model` or `secure-aggregation`.
        claimed: ε that was claimed, from `fraudfl.privacy.accounting`; None where no ε is claimed.
        lower_bound: Lower bound of ε from what was observed; None for audits that do not bound ε.
        confidence: Probability with which a mechanism that keeps its claim passes, at least.
        trials: Independent observations behind it.
        verdict: `violated` when the observations contradict the claim at that confidence; `no claim` for audits that
            measure without one to contradict.
        detail: Figures in words, for a reader.
    """

    name: str
    mechanism: str
    claimed: float | None
    lower_bound: float | None
    confidence: float
    trials: int
    verdict: Verdict
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)
