"""Leaving: what a bank's releases touched, and the newest state of the model that they did not.

An update cannot be taken out of a sum after the fact, so a model forgets a bank in one way only: it is trained again
from a state made before that bank's first release. What is decided here follows from the coordinator's record alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fraudfl.frozen import Frozen, Name

Reach = Literal["encoder", "weights", "thresholds", "figures"]
"""What a release became part of: figures are those that were published or decided by, and not the model."""

_NO_DATA = frozenset({"join", "peers", "confirm", "reveal", "readiness"})
# A look decides which round's model is kept, and when training ends.
_REACHES: Mapping[str, Reach] = {"sketch": "encoder", "train": "weights", "look": "weights", "evaluate": "thresholds"}


def reach_of(kind: str) -> Reach | None:
    """What a reply of this kind becomes part of; None where it holds nothing that depends on data."""
    return None if kind in _NO_DATA else _REACHES.get(kind, "figures")


def last_clean_round(kind: str, round_number: int) -> int | None:
    """The last round whose model knows nothing of a reply to such a request; -1 where not even the encoder is such.

    None where no model ever knows of it: the reply is in thresholds, in figures, or in nothing.
    """
    reach = reach_of(kind)
    if reach == "encoder":
        return -1
    return round_number - 1 if reach == "weights" else None


class Trace(Frozen):
    """What one bank released in one phase in answer to one kind of request.

    Attributes:
        first: Round of the first one; 0 for what happens once in a phase.
        rounds: In how many rounds or windows; 1 for what happens once in a phase.
        at: When the first came, ISO 8601.
    """

    kind: Annotated[str, Field(pattern=r"^[a-z]{1,32}$")]
    first: Annotated[int, Field(ge=0, lt=2**31)]
    rounds: Annotated[int, Field(ge=1, lt=2**31)]
    at: str

    @property
    def reach(self) -> Reach | None:
        """What these releases became part of."""
        return reach_of(self.kind)


class Point(Frozen):
    """A state of the model that training can begin at: the public start, a version, or a phase's after some rounds.

    Attributes:
        version: The registry's number.
        phase: A phase's name.
        round: Rounds that were done in it; 0 is the public start with that phase's encoder.
    """

    version: Annotated[int, Field(ge=1, lt=2**53)] | None = None
    phase: Name | None = None
    round: Annotated[int, Field(ge=0, lt=2**31)] | None = None

    @model_validator(mode="after")
    def _one_of_three(self) -> Self:
        if (self.phase is None) != (self.round is None) or (self.version is not None and self.phase is not None):
            raise ValueError("expected nothing, a version, or a phase with a round")
        return self

    @property
    def public(self) -> bool:
        """Whether it is the public start."""
        return self.version is None and self.phase is None

    def __str__(self) -> str:
        """Such as `the public start`, `version 3` or `pilot after round 4`."""
        if self.public:
            return "the public start"
        return f"version {self.version}" if self.phase is None else f"{self.phase} after round {self.round}"


PUBLIC = Point()


@dataclass(frozen=True, kw_only=True)
class PastPhase:
    """One phase as the coordinator's record has it.

    Attributes:
        began: When, ISO 8601; empty when it has not.
        trains: Whether it trains a model: pilot and rollout do.
        origin: What its training began at.
        begun_round: Rounds that were done where it began; not 0 only where it went on inside of another phase.
        traces: What the bank that leaves released in it, by kind.
        checkpoints: Rounds whose checkpoint is still there, ascending.
        versions: What it registered.
    """

    name: str
    instance: str
    began: str
    trains: bool
    origin: Point = PUBLIC
    begun_round: int = 0
    traces: Mapping[str, Trace] = field(default_factory=dict)
    checkpoints: Sequence[int] = ()
    versions: Sequence[int] = ()

    @property
    def last_clean_round(self) -> int | None:
        """The last round whose model holds nothing of the bank; -1 where none is such, None where all are."""
        found = [last_clean_round(trace.kind, trace.first) for trace in self.traces.values()]
        return min((number for number in found if number is not None), default=None)

    @property
    def reached(self) -> bool:
        """Whether the bank's releases are in this phase's encoder, weights or thresholds."""
        return any(trace.reach in ("encoder", "weights", "thresholds") for trace in self.traces.values())


class Past:
    """All phases so far, seen from one bank that leaves."""

    def __init__(self, phases: Sequence[PastPhase]) -> None:
        """Take the phases in the order in which they began."""
        self.phases = tuple(phases)
        self._named = {phase.name: phase for phase in self.phases}

    @cached_property
    def touched(self) -> tuple[PastPhase, ...]:
        """Phases that trained with the bank, or went on from what was trained with it."""
        return tuple(phase for phase in self.phases if phase.trains and self._is_touched(phase))

    @property
    def versions(self) -> tuple[int, ...]:
        """Versions that hold what the bank released, ascending."""
        return tuple(sorted(version for phase in self.touched for version in phase.versions))

    @property
    def newest(self) -> PastPhase | None:
        """The newest phase that made a model, or was to make one of what the bank released; None when there is none."""
        found = [phase for phase in self.phases if phase.trains and (phase.versions or self._is_touched(phase))]
        return found[-1] if found else None

    def holds(self, point: Point) -> bool:
        """Whether a state depends on what the bank released; one that no phase here made may, and counts as if."""
        if point.public:
            return False
        phase = self._made_by(point)
        if phase is None or self.holds(phase.origin):
            return True
        if point.version is not None:
            return phase.reached
        assert point.round is not None  # a point of a phase has a round
        last = phase.last_clean_round
        return last is not None and point.round > last

    def way_to(self, phase: PastPhase) -> tuple[PastPhase, ...]:
        """The touched phases that led to a phase's model, itself the last: all that must be run again, in order."""
        maker = self._made_by(phase.origin)
        if maker is None or phase.origin.phase is not None or not self.holds(phase.origin):
            # One that went on inside of another phase is the rest of that one: both are run again as one.
            return (phase,)
        return (*self.way_to(maker), phase)

    def clean_before(self, phase: PastPhase) -> Point:
        """The newest state on a phase's way that was made before the bank's first release.

        A checkpoint that is not there any more is passed over for one before it: what is older is as clean.
        """
        if self.holds(phase.origin):
            maker = self._made_by(phase.origin)
            return PUBLIC if maker is None else self.clean_before(maker)
        last = phase.last_clean_round
        rounds = [number for number in phase.checkpoints if last is None or number <= last]
        if not rounds or (rounds[-1] == phase.begun_round and not phase.origin.public):
            # The encoder of a phase that begins at a model came with it: its first checkpoint is where it began.
            return phase.origin
        return Point(phase=phase.name, round=rounds[-1])

    def _is_touched(self, phase: PastPhase) -> bool:
        return phase.reached or self.holds(phase.origin)

    def _made_by(self, point: Point) -> PastPhase | None:
        if point.public:
            return None
        if point.phase is not None:
            return self._named.get(point.phase)
        return next((phase for phase in self.phases if point.version in phase.versions), None)
