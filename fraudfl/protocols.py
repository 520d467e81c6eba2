"""What pipelines ask of the world: requests and answers, and the protocols that carry them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from fraudfl.transfer.savings import RawSizes

Refused = Literal["refused", "not-approved", "not-now", "away", "silent"]
REFUSED: tuple[Refused, ...] = ("refused", "not-approved", "not-now", "away", "silent")
"""Why there is no reply: a no for good; a no until somebody approves, a schedule opens or the bank is back; no word."""
Kind = Literal[
    "join", "peers", "profile", "readiness", "sketch", "train", "look", "evaluate", "alone", "gain", "watch", "outcome",
    "confirm", "reveal",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)
SUMMED: tuple[Kind, ...] = ("profile", "sketch", "train", "look", "evaluate", "alone", "gain", "watch", "outcome")
"""Kinds whose replies are added up over banks: masked, where the plan has secure aggregation."""
Scalar = int | float | str
INSTANCE = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What a phase instance may be called: banks name folders after it."""
Vector = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One question to one bank.

    Attributes:
        kind: What is asked for.
        plan_hash: SHA-256 (hex) of the plan that allows it.
        instance: The phase instance; stays the same when a phase is resumed.
        round: 0 for what happens once in a phase, else 1-based.
        attempt: 1-based; another attempt is a new release.
        cohort: Digest (hex) of the banks asked together.
        about: For `confirm` and `reveal`: the kind whose sum they open; else empty.
        acknowledged: Highest round whose replies the coordinator has stored for good.
        seen, seen_hash: Number and hash (hex) of the highest entry of this bank's ledger that the coordinator has seen
            in a reply: a ledger restored from an older copy may reach the number again, with another entry under it.
        values: Small named scalars.
        payloads: Named bytes (a plan, an encoder, a model delta).
    """

    kind: Kind
    plan_hash: str
    instance: str
    round: int
    attempt: int
    cohort: str
    about: Kind | Literal[""] = ""
    acknowledged: int = 0
    seen: int = 0
    seen_hash: str = ""
    values: Mapping[str, Scalar] = field(default_factory=dict)
    payloads: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What makes two deliveries the same request: never Flower's ids."""
        kind = f"{self.kind}-{self.about}" if self.about else self.kind
        return f"{self.plan_hash}/{self.instance}/{self.round}/{self.attempt}/{kind}/{self.cohort}"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What one bank released in answer to one request.

    Attributes:
        entry, entry_hash: Number and hash (hex) of the release in the bank's ledger.
    """

    bank: str
    kind: Kind
    key: str
    entry: int = 0
    entry_hash: str = ""
    values: Mapping[str, Scalar] = field(default_factory=dict)
    payloads: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a bank sends nothing.

    Attributes:
        opens_at: When its schedule opens (ISO 8601 with offset); empty when that is not the reason, or not known.
    """

    bank: str
    reason: str
    code: Refused = "refused"
    opens_at: str = ""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of asking one bank: a reply, or the reason why there is none.

    Attributes:
        code, opens_at: As in `Refusal`, where there is no reply.
        bytes_down, bytes_up: Serialised sizes of the request and of what came back.
    """

    bank: str
    reply: Reply | None
    reason: str = ""
    code: Refused = "refused"
    opens_at: str = ""
    bytes_down: int = 0
    bytes_up: int = 0


class Fleet(Protocol):
    """Who is there, and a way to ask them."""

    def banks(self) -> tuple[str, ...]:
        """Ids of the banks that can be asked, sorted."""
        ...

    def present(self) -> tuple[str, ...]:
        """Ids of those that are there now, as far as is known without asking, sorted."""
        ...

    def overhead(self) -> Mapping[str, tuple[int, int]]:
        """Bytes (down, up) per bank that finding out who is there has cost."""
        ...

    def ask(self, requests: Mapping[str, Request], *, deadline: float) -> Iterator[Answer]:
        """Ask each bank its request; yield one answer per bank, as they come.

        Args:
            requests: Bank id to request.
            deadline: Seconds to wait; banks silent by then are answered for, with the reason.
        """
        ...

    def late(self) -> Sequence[tuple[Request, Answer]]:
        """Earlier questions whose answers came after their deadline, each once."""
        ...

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        ...


class Aggregator(Protocol):
    """Turns the round's updates into the next model."""

    def start(self, round_number: int, current: Vector) -> None:
        """Begin a round at the model `current`."""
        ...

    def add(self, bank: str, update: Vector, weight: float) -> None:
        """Take one bank's update (its model minus `current`), or what a cohort's sum came to, under its name."""
        ...

    def finish(self) -> Vector:
        """The next model. Raises RoundError when nothing was added."""
        ...

    def state(self) -> dict[str, NDArray[Any]]:
        """Arrays to keep in a checkpoint."""
        ...

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what `state` gave."""
        ...


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything that a phase needs to go on after `round` rounds."""

    round: int
    arrays: Mapping[str, NDArray[Any]]
    facts: Mapping[str, Any]


class Notary(Protocol):
    """Signs for what the coordinator has received, so that a bank can prove its own record by it."""

    def receipt(self, reply: Reply) -> bytes:
        """A signed receipt for one release, kept for good before it is given."""
        ...


class Checkpoints(Protocol):
    """Durable, atomic checkpoints of one phase."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Store it; after a crash either the old or the new one is found whole."""
        ...

    def keep(self, round_number: int) -> None:
        """Never clear away this round's checkpoint, if there is one now."""
        ...

    def latest(self) -> Checkpoint | None:
        """The newest one, or None."""
        ...

    def note_attempt(self, kind: Kind, round_number: int, attempt: int) -> None:
        """Remember that an attempt began, before anybody is asked."""
        ...

    def attempt(self, kind: Kind, round_number: int) -> int:
        """The attempt that was under way; 1 when none was noted."""
        ...


class Registry(Protocol):
    """Tracks runs and versions bundles."""

    def log_round(self, round_number: int, figures: Mapping[str, float]) -> None:
        """Record one round's figures."""
        ...

    def register(self, outcome: Mapping[str, Any], bundle_folder: str) -> int:
        """Record the phase's outcome and register its bundle; returns the version."""
        ...

    def finish(self, outcome: Mapping[str, Any]) -> None:
        """Record the outcome of a phase that makes no model."""
        ...


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Test rows of all banks with one model's scores.

    Attributes:
        logits: float32, shape (rows,).
        labels: int8, shape (rows,).
        clusters: int64, shape (rows,); rows of one account share a number.
        banks: Bank id to its slice of rows.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int8]
    clusters: NDArray[np.int64]
    banks: Mapping[str, slice]


class PooledData(Protocol):
    """What only one machine that holds every bank's folder can do: simulation."""

    def only(self, banks: Collection[str]) -> PooledData:
        """The same, with these banks' rows alone."""
        ...

    def scored(self, name: str, part: str) -> Scored:
        """All banks' rows of one part with the scores that each bank kept under `name`."""
        ...

    def train_pooled(self) -> tuple[Scored, Scored]:
        """The plan's model and budget on all rows together: (validation, test)."""
        ...

    def train_trees(self, *, pooled: bool) -> tuple[Scored, Scored]:
        """XGBoost per bank or on all rows together: (validation, test)."""
        ...

    def raw_sizes(self) -> Mapping[str, RawSizes]:
        """Per bank: what its training window takes as CSV and as zstd Parquet."""
        ...


class Progress(Protocol):
    """Where a phase tells how it goes."""

    def event(self, name: str, **facts: Any) -> None:
        """Record that something happened."""
        ...
