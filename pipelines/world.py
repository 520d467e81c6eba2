"""What a phase needs from outside, and what it carries from round to round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fraudfl.models.bundle import Bundle
from fraudfl.plan import Plan
from fraudfl.protocols import (
    Aggregator,
    Checkpoint,
    Checkpoints,
    Fleet,
    Notary,
    PooledData,
    Progress,
    Refused,
    Registry,
    Vector,
)
from fraudfl.transfer.meter import ByteMeter, Direction, Traffic
from fraudfl.transfer.savings import WeightTraffic
from fraudfl.trust.roster import Roster
from pipelines.circle import Circle


@dataclass(frozen=True, kw_only=True)
class World:
    """The coordinator's means; `pooled` exists in simulation only, and secure aggregation needs the `roster`."""

    fleet: Fleet
    aggregator: Aggregator
    checkpoints: Checkpoints
    registry: Registry
    progress: Progress
    notary: Notary | None
    roster: Callable[[], Roster | None]
    pooled: PooledData | None
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How long and how often to ask; procedure of the coordinator, not of a bank.

    Attributes:
        instance: Names this phase instance; a resumed phase keeps it.
        quorum: Share of the asked banks that must answer.
        deadline: Seconds to wait for the replies to one question.
        patience: Seconds to wait for banks that cannot answer yet, while the quorum is not there.
        fold_late: Whether an update that comes a round too late takes the place of one that does not come.
        cohort: Banks asked in one round of training, in turns; None asks all that are there.
    """

    instance: str
    quorum: float
    deadline: float
    patience: float = 0.0
    fold_late: bool = False
    cohort: int | None = None


@dataclass
class State:
    """What a phase knows after `round` rounds; all of it is in the checkpoint.

    Attributes:
        model: The published model: what every bank that keeps up holds.
        lag: What the down codec has not published yet, added to the next model.
        delta: The encoded step from the model before to `model`, where all banks are asked in each round.
        whole: `model` as it is sent, where they take turns.
        best: The best model that looks have seen, where the phase looks.
        held: Bank to the model version it holds.
        joined: Banks that have the plan.
        seen: Bank to number and hash of the highest entry of its ledger that came with a reply.
        receipts: Bank to the receipt for its newest release, which goes with the next request; not in the checkpoint.
        refusals: Bank to why it was left out last; not in the checkpoint.
        released: Banks from which something came that depends on data.
        next_look: When, on the monotonic clock, newcomers are looked for again; not in the checkpoint.
        circle: Who can be asked together, and whose turn it is.
        late: Updates that came after their round.
        notes: What a phase of some kind has to remember beside all this, as JSON.
        told: What each bank had moved when events last told of it; not in the checkpoint.
        weights: Weight vectors sent and received, by direction.
    """

    round: int = 0
    encoder: bytes = b""
    prior: float | None = None
    model: Vector = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    lag: Vector = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    delta: bytes = b""
    whole: bytes = b""
    best: Vector = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    held: dict[str, int] = field(default_factory=dict)
    joined: set[str] = field(default_factory=set)
    seen: dict[str, tuple[int, str]] = field(default_factory=dict)
    receipts: dict[str, bytes] = field(default_factory=dict)
    refusals: dict[str, Refused] = field(default_factory=dict)
    released: set[str] = field(default_factory=set)
    next_look: float = 0.0
    circle: Circle = field(default_factory=Circle)
    late: int = 0
    notes: dict[str, Any] = field(default_factory=dict)
    excluded: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    took_part: set[str] = field(default_factory=set)
    meter: ByteMeter = field(default_factory=ByteMeter)
    told: dict[str, Traffic] = field(default_factory=dict)
    weights: dict[Direction, WeightTraffic] = field(default_factory=dict)
    seconds: float = 0.0

    def newly_moved(self) -> dict[str, Any]:
        """Bytes since the phase began, for an event: in all, and up and down of each bank whose have changed since."""
        moved = self.meter.by_bank()
        new = {bank: [one.up, one.down] for bank, one in moved.items() if self.told.get(bank) != one}
        self.told = moved
        return {"bytes_up": self.meter.bytes_up, "bytes_down": self.meter.bytes_down, "by_bank": new}

    def to_checkpoint(self, aggregator: Mapping[str, Any]) -> Checkpoint:
        """Everything, as arrays and JSON facts."""
        arrays = {f"aggregator/{name}": array for name, array in aggregator.items()}
        arrays |= {"model": self.model, "lag": self.lag, "best": self.best}
        sent = {"encoder": self.encoder, "delta": self.delta, "whole": self.whole}
        arrays |= {name: _as_array(data) for name, data in sent.items()}
        facts = {
            "prior": self.prior,
            "held": self.held,
            "joined": sorted(self.joined),
            "seen": self.seen,
            "circle": self.circle.to_facts(),
            "late": self.late,
            "notes": self.notes,
            "excluded": self.excluded,
            "history": self.history,
            "took_part": sorted(self.took_part),
            "released": sorted(self.released),
            "meter": self.meter.to_rows(),
            "weights": {direction: [one.vectors, one.bytes] for direction, one in self.weights.items()},
            "seconds": self.seconds,
        }
        return Checkpoint(round=self.round, arrays=arrays, facts=facts)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> tuple[State, dict[str, Any]]:
        """The state, and the aggregator's own arrays."""
        arrays, facts = checkpoint.arrays, checkpoint.facts
        state = cls(
            round=checkpoint.round,
            encoder=bytes(arrays["encoder"]),
            prior=facts["prior"],
            model=np.array(arrays["model"], dtype=np.float32),
            lag=np.array(arrays["lag"], dtype=np.float32),
            delta=bytes(arrays["delta"]),
            whole=bytes(arrays["whole"]),
            best=np.array(arrays["best"], dtype=np.float32),
            held=dict(facts["held"]),
            joined=set(facts["joined"]),
            seen={bank: (int(entry), str(digest)) for bank, (entry, digest) in facts["seen"].items()},
            circle=Circle.from_facts(facts["circle"]),
            late=int(facts["late"]),
            notes=dict(facts["notes"]),
            excluded=list(facts["excluded"]),
            history=list(facts["history"]),
            took_part=set(facts["took_part"]),
            released=set(facts.get("released", ())),
            meter=ByteMeter.from_rows(facts["meter"]),
            weights={direction: WeightTraffic(*one) for direction, one in facts.get("weights", {}).items()},
            seconds=float(facts["seconds"]),
        )
        prefix = "aggregator/"
        own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        return state, own


@dataclass(kw_only=True)
class Phase:
    """One phase under way.

    Attributes:
        start: The model that it begins with, where its plan says that it is given one.
        before: Where that model is another phase's after some round: that checkpoint, from whose round on it goes on.
    """

    world: World
    plan: Plan
    terms: Terms
    state: State = field(default_factory=State)
    start: Bundle | None = None
    before: Checkpoint | None = None

    def save(self) -> None:
        """Write the checkpoint of the current round."""
        self.world.checkpoints.save(self.state.to_checkpoint(self.world.aggregator.state()))


def _as_array(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.frombuffer(data, dtype=np.uint8).copy()
