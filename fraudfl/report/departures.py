"""What a report states about banks that left and were unlearned, as frozen values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fraudfl.frozen import Frozen
from fraudfl.trust.keys import UtcTime
from fraudfl.unlearning import Trace

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]


class TouchedPhase(Frozen):
    """A phase that a bank's releases touched.

    Attributes:
        began_at: What its training began at, in words.
        traces: What the bank released in it; empty where the phase only went on from what it had touched.
    """

    name: str
    plan_hash: Digest
    trains: bool
    began_at: str
    traces: tuple[Trace, ...]


class TouchedModel(Frozen):
    """A registered model that holds what a bank released.

    Attributes:
        aliases: What it is now, among `champion`, `challenger` and `previous`.
        exported: When it was written for banks, as far as the coordinator wrote it down.
    """

    version: Count
    digest: Digest
    aliases: tuple[str, ...]
    exported: tuple[UtcTime, ...]


class Retraining(Frozen):
    """A phase that was run again without the bank.

    Attributes:
        replaces: The phase whose place it took.
        began_at: Where it began, in words.
        encoder: Whether it was fitted again, is one that the bank had no part in, or came with the model it began at.
        status: How the phase stands.
        rounds: Rounds of training that were run again.
        banks: Banks that took part.
        version, digest: What it registered; None and empty before.
        aliases: What that version is now.
        epsilon: The most that one bank paid for it; None where no ε is promised or nothing was spent.
        delta: What that ε is stated at.
    """

    phase: str
    replaces: str
    plan_hash: str
    began_at: str
    encoder: Literal["fitted anew", "kept", "of the phase before"]
    status: str
    rounds: Count
    banks: Count
    version: Count | None
    digest: str
    aliases: tuple[str, ...]
    epsilon: float | None
    delta: float | None


class Departed(Frozen):
    """One bank that left, and what was done about what it had released.

    Attributes:
        roster: Number of the roster then, which is without it.
        retraining: The phases that were run again, in order; none where no model had to be trained again.
    """

    bank: str
    at: UtcTime
    by: str
    reason: str
    roster: Count
    phases: tuple[TouchedPhase, ...]
    models: tuple[TouchedModel, ...]
    retraining: tuple[Retraining, ...]
