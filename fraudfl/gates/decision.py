"""The operator's signed decision to release a hold: which gates, what they said, who decided, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from fraudfl.errors import FraudflError
from fraudfl.frozen import Frozen, Name
from fraudfl.protocols import INSTANCE
from fraudfl.trust.keys import PrivateKey, PublicText, Signed, UtcTime, now_text, public_text

_Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$")]


class GateError(FraudflError):
    """A gate's word stands: there is nothing to release, or it cannot be released."""


class HeldGate(Frozen):
    """A gate that said `hold`, and the reason it gave.

    The reason holds the figures, so that a decision about them is no decision about others.
    """

    name: Name
    reason: str = Field(min_length=1, max_length=4000)


class GateDecision(Signed):
    """A phase may go on although gates said `hold`.

    Attributes:
        phase: Its name.
        plan_hash: SHA-256 (hex) of the phase's plan.
        instance: The phase instance.
        gates: What is released.
        by: Who decided.
        reason: Why.
        at: When.
        operator: Public key of the consortium's operator, who signs.
    """

    purpose: ClassVar[str] = "gate-decision"

    version: Literal[1] = 1
    phase: Name
    plan_hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    instance: str = Field(pattern=f"^{INSTANCE.pattern}$")
    gates: tuple[HeldGate, ...] = Field(min_length=1)
    by: Annotated[_Line, Field(max_length=200)]
    reason: Annotated[_Line, Field(max_length=2000)]
    at: UtcTime
    operator: PublicText

    @model_validator(mode="after")
    def _gates_are_distinct(self) -> Self:
        names = [gate.name for gate in self.gates]
        if len(set(names)) != len(names):
            raise ValueError(f"a gate is released once; found {', '.join(names)}")
        return self

    @property
    def signer(self) -> str:
        """The operator."""
        return self.operator

    def covers(self, gate: Mapping[str, Any]) -> bool:
        """Whether it releases what an entry of an outcome's `gates` says."""
        return HeldGate(name=gate["name"], reason=gate["reason"]) in self.gates


def decide(
    key: PrivateKey,
    instance: str,
    outcome: Mapping[str, Any],
    *,
    by: str,
    reason: str,
    gates: Iterable[str] = (),
) -> GateDecision:
    """Make and sign the decision to release a phase's holds.

    Args:
        key: The operator's private key.
        instance: The phase instance.
        outcome: The phase's, as it was judged.
        by: Who decides.
        reason: Why.
        gates: Names of the gates to release; all that still hold when empty.

    Raises:
        GateError: when a gate said `fail`, one that is named does not hold, or none does.
        ValueError: when `by` or `reason` is empty, too long, or more than a line.
    """
    _refuse_failed(outcome)
    held = {gate["name"]: gate["reason"] for gate in outcome["gates"] if still_holds(gate)}
    wanted = tuple(gates) or tuple(held)
    unknown = [name for name in wanted if name not in held]
    if unknown or not wanted:
        named = f"no hold by gate {', '.join(unknown)}" if unknown else "nothing"
        raise GateError(
            f"phase {outcome['name']}: {named} to release; gates that hold: {', '.join(held) or 'none'}. "
            "Nothing was released"
        )
    return GateDecision(
        phase=outcome["name"],
        plan_hash=outcome["plan_hash"],
        instance=instance,
        gates=tuple(HeldGate(name=name, reason=held[name]) for name in wanted),
        by=by,
        reason=reason,
        at=now_text(),
        operator=public_text(key),
    ).signed_by(key)


def still_holds(gate: Mapping[str, Any]) -> bool:
    """Whether an entry of an outcome's `gates` says `hold` and nobody has released it."""
    return gate["outcome"] == "hold" and "released" not in gate


def _refuse_failed(outcome: Mapping[str, Any]) -> None:
    failed = [gate["name"] for gate in outcome["gates"] if gate["outcome"] == "fail"]
    if failed:
        raise GateError(
            f"phase {outcome['name']}: gate {', '.join(failed)} said `fail`, which nobody can release. Change what is "
            "wrong and run a new phase under a plan of its own"
        )
