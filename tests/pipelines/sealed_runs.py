"""Phases under secure aggregation that a test starts where it wants, with all that banks meant to add up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from memory_fleet import Consortium
from numpy.typing import NDArray

from bank_nodes.gate.sealing import Sealing
from fraudfl.folder import BankFolder
from fraudfl.protocols import Reply, Request
from fraudfl.transfer.frame import unframe
from pipelines.encoding import fit_shared_encoder, join
from pipelines.training import train_rounds
from pipelines.world import Phase, State


@dataclass
class Meant:
    """What banks handed to their gates to be masked: bank and request key to plain vectors."""

    vectors: dict[tuple[str, str], dict[str, NDArray[np.float64]]] = field(default_factory=dict)

    def of(self, kind: str, number: int, attempt: int, part: str) -> dict[str, NDArray[np.float64]]:
        """Bank to plain vector."""
        place = f"/{number}/{attempt}/{kind}/"
        return {bank: found[part] for (bank, key), found in self.vectors.items() if place in key}

    def summed(self, kind: str, number: int, attempt: int, part: str, banks: Iterable[str]) -> NDArray[np.float64]:
        found = self.of(kind, number, attempt, part)
        return np.asarray(np.sum([found[bank] for bank in banks], axis=0))


def overhear(patch: pytest.MonkeyPatch) -> Meant:
    """Write down each plain vector on its way to be masked; it is masked all the same."""
    meant, seal = Meant(), Sealing.seal

    def seal_and_tell(self: Any, request: Request, vectors: Any, width: int) -> dict[str, bytes]:
        folder: BankFolder = self._folder
        meant.vectors[folder.bank, request.key] = {name: vector.copy() for name, vector in vectors.items()}
        return seal(self, request, vectors, width)

    patch.setattr(Sealing, "seal", seal_and_tell)
    return meant


def begin(one: Consortium) -> Consortium:
    """Join, fit the encoder, and stop before the first round."""
    phase = one.phase()
    join(phase)
    fit_shared_encoder(phase)
    phase.save()
    return one


def go_on(one: Consortium) -> Phase:
    """A freshly started coordinator runs the rounds that are left."""
    phase = one.phase()
    phase.state, own = State.from_checkpoint(one.checkpoints.latest())
    phase.world.aggregator.restore(own)
    train_rounds(phase)
    return phase


def openings(one: Consortium, kind: str) -> dict[str, dict[str, list[str]]]:
    """From all ledgers: attempt (by its request's key) to bank to the sets of banks it confirmed or revealed for."""
    found: dict[str, dict[str, list[str]]] = {}
    for bank in one.fleet.banks():
        ledger = one.ledger(bank)
        for entry in ledger.entries():
            if (entry.event, entry.kind) == ("released", kind):
                reply: Reply = unframe(ledger.kept(entry.key) or b"")
                found.setdefault(entry.key, {}).setdefault(bank, []).append(str(reply.values["survivors"]))
        ledger.verify()
    return found


def charged(one: Consortium, bank: str) -> list[dict[str, Any]]:
    return one.ledger(bank).mechanisms()
