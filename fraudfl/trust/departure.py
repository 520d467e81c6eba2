"""The operator's record of a bank that left and is to be unlearned: signed, and chained one to the next."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fraudfl.frozen import Frozen, Name
from fraudfl.trust.chain import ChainedRecord, Digest, Number
from fraudfl.unlearning import Point, Trace


class TouchedPhase(Frozen):
    """A phase that the bank released something in, or that went on from such a one.

    Attributes:
        trains: Whether the phase trains a model.
        origin: What its training began at.
        traces: What the bank released in it; empty where the phase only went on from what it had touched.
    """

    name: Name
    instance: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    plan_hash: Digest
    trains: bool
    origin: Point
    traces: tuple[Trace, ...]


class TouchedVersion(Frozen):
    """A registered model that holds what the bank released."""

    number: Number
    digest: Digest


class Replacement(Frozen):
    """A phase that is run again without the bank.

    Attributes:
        phase: The new one.
        replaces: The one whose place it takes.
    """

    phase: Name
    replaces: Name


class Departure(ChainedRecord):
    """A bank left, and what it released is to be unlearned.

    Attributes:
        roster: Number of the roster then, which is without it.
        phases: What it took part in, and what followed from that, in order.
        versions: The models that hold what it released.
        champion: Which of them was in use then; None where none of them was.
        clean: Where training begins again; None where no model has to be trained again.
        retraining: The phases that do it, in order, each going on from the model of the one before.
    """

    purpose: ClassVar[str] = "departure"

    version: Literal[1] = 1
    bank: Name
    roster: Number
    phases: tuple[TouchedPhase, ...]
    versions: tuple[TouchedVersion, ...]
    champion: Number | None
    clean: Point | None
    retraining: tuple[Replacement, ...]
