"""What a report of results states, as frozen values: `report.json` is exactly this, and the pages are made from it."""

from __future__ import annotations

import hashlib
from typing import Any, Final, Literal, Self

from fraudfl.frozen import Frozen
from fraudfl.report.facts import Software, Subject
from fraudfl.results.kinds import Readiness, Watching
from fraudfl.results.measured import (
    Compared,
    Contender,
    Count,
    Estimate,
    GainBins,
    Round,
    Source,
    Spent,
    TookPart,
    Transfer,
)
from fraudfl.trust.keys import UtcTime, canonical

FORMAT: Final = "fraudfl-results-report/1"


class Released(Frozen):
    """The operator's signed word that a gate which held may be passed."""

    by: str
    reason: str
    at: UtcTime


class Gate(Frozen):
    """What a gate said; one that held and was released goes on saying so."""

    name: str
    outcome: Literal["pass", "hold", "fail"]
    reason: str
    released: Released | None


class Promotion(Frozen):
    """What became of the model at the phase's own end, where the phase says that a better one is promoted."""

    done: bool
    reason: str


class PhaseResult(Frozen):
    """One phase and what came of it.

    Attributes:
        within: The monitoring phase that started it; empty for one that stands by itself.
        start: What its training began at, in words; empty where nothing is trained.
        source: Where its figures come from; None without figures.
        ways: Ways to train, set side by side.
        compared: Federated against the better way to train alone; empty where nobody trained alone.
    """

    name: str
    kind: Literal["assessment", "pilot", "rollout", "monitoring"]
    within: str
    status: str
    plan_hash: str
    began: str
    ended: str
    seconds: float
    start: str
    rounds_planned: Count
    rounds: tuple[Round, ...]
    took_part: TookPart
    spent: Spent
    source: Source | None
    ways: tuple[Contender, ...]
    compared: tuple[Compared, ...]
    gains: GainBins | None
    transfer: Transfer
    gates: tuple[Gate, ...]
    version: Count | None
    promotion: Promotion | None
    readiness: Readiness | None
    watching: Watching | None


class Model(Frozen):
    """One registered version.

    Attributes:
        parent: Version that its training started from; None where it began anew.
        tested: First and last day of its test window; empty where the data set brought its split.
    """

    version: Count
    aliases: tuple[str, ...]
    phase: str
    parent: Count | None
    digest: str
    created: str
    tested: tuple[str, ...]
    auprc: Estimate | None
    epsilon: float | None
    banks: Count
    holds: tuple[str, ...]


class Decision(Frozen):
    """One signed decision about the champion.

    Attributes:
        figures: What both models showed, in words; empty where nothing was compared.
    """

    action: Literal["promote", "rollback"]
    at: UtcTime
    by: str
    reason: str
    champion: Count
    replaced: Count | None
    forced: bool
    figures: str


class Results(Frozen):
    """One report of results.

    Attributes:
        id: Names it: consortium, day, and the digest of everything else in it.
        signer: Fingerprint of the key that signs; empty when there is none.
        first, last: First and last record that it is about; empty when there are none.
        headline: The phase whose figures stand for the whole; empty where none compared federated with alone.
        problems: What is wrong with the records that it was made from.
    """

    format: Literal["fraudfl-results-report/1"] = FORMAT
    id: str
    made_at: UtcTime
    classification: Literal["Confidential"] = "Confidential"
    setting: Literal["deployment", "simulation"]
    subject: Subject
    signer: str
    first: str
    last: str
    software: Software
    headline: str
    phases: tuple[PhaseResult, ...]
    models: tuple[Model, ...]
    decisions: tuple[Decision, ...]
    problems: tuple[str, ...]

    @classmethod
    def named(cls, **facts: Any) -> Self:
        """Make a report with an id that follows from what it says."""
        unnamed = cls(id="", **facts)
        digest = hashlib.sha256(canonical(unnamed.model_dump(mode="json"))).hexdigest()
        day = unnamed.made_at[:10].replace("-", "")
        return unnamed.model_copy(update={"id": f"RR-{unnamed.subject.name}-{day}-{digest[:8]}"})

    @property
    def of_headline(self) -> PhaseResult | None:
        """The phase whose figures stand for the whole."""
        return next((phase for phase in self.phases if phase.name == self.headline), None)
