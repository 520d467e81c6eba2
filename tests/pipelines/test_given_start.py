"""A phase that goes on from a model: nothing is released for an encoder, and every bank works on what was sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from memory_fleet import DISTRIBUTED, SECURE, Consortium, tiny_config

from fraudfl.data.simulate import GENERATED_CONTRACT
from fraudfl.models.bundle import Bundle
from fraudfl.plan import Plan
from fraudfl.planning import make_plan
from fraudfl.privacy.ledger import Ledger
from fraudfl.protocols import Reply, Request
from pipelines.phase import run_phase

Make = Callable[..., Consortium]
LATE = "bank-06"


def going_on(**phase: object) -> Plan:
    config = tiny_config({"name": "next", "start": "champion", **phase})
    return make_plan(config, config.phases[0], GENERATED_CONTRACT)


@pytest.mark.parametrize("terms", [{}, SECURE, DISTRIBUTED], ids=["open", "summed", "private"])
def test_training_goes_on_from_the_model_it_is_given(consortium: Make, terms: dict[str, object]) -> None:
    one = consortium()
    run_phase(one.phase(), ())
    before = Bundle.load(one.place / "bundle")
    one.fleet.asked.clear()
    after = one.phase()
    after.plan, after.start = going_on(**terms), before
    after.terms = replace(after.terms, instance="next")
    after.world = replace(after.world, checkpoints=type(after.world.checkpoints)())  # type: ignore[call-arg]
    outcome = run_phase(after, ())
    assert outcome["status"] == "completed"
    kinds = {request.kind for request in one.fleet.asked}
    assert "sketch" not in kinds
    assert "train" in kinds
    first = next(request for request in one.fleet.asked if request.kind == "train")
    assert {"model", "encoder"} <= set(first.payloads)
    made = Bundle.load(one.place / "bundle")
    assert made.encoder == before.encoder
    step = float(np.abs(made.weights - before.weights).max())
    assert 0 < step < float(np.abs(before.weights).max())


def test_no_bank_is_charged_for_an_encoder_that_was_given(consortium: Make) -> None:
    private = {**DISTRIBUTED, "privacy": {**DISTRIBUTED["privacy"], "encoder_share": 0.2, "evaluation_share": 0.2}}
    first, second = tiny_config(private), tiny_config({**private, "start": "champion"})
    anew, given = (make_plan(config, config.phases[0], GENERATED_CONTRACT) for config in (first, second))
    assert anew.encoder_noise is not None
    assert given.encoder_noise is None
    # What the encoder would have cost is training's: less noise.
    assert (given.noise_multiplier or 0) < (anew.noise_multiplier or 0)
    assert "sketch" not in given.releases


def test_a_bank_that_comes_late_gets_the_model_of_the_day_whole(consortium: Make) -> None:
    one = consortium()

    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply | None:
        late = bank == LATE and request.kind in ("join", "sketch", "train") and request.round < 3
        return None if late else work()

    one.fleet.happening = happening
    outcome = run_phase(one.phase(), ())
    train = [request for bank, request in _asked(one) if bank == LATE and request.kind == "train"]
    assert "model" in train[-1].payloads
    assert train[-1].round == 3
    releases = [
        entry for entry in Ledger(one.fleet.folders / LATE / "ledger.db").entries(0) if entry.event == "released"
    ]
    assert [(entry.kind, entry.round) for entry in releases if entry.kind == "train"] == [("train", 3)]
    assert outcome["banks"] == 6


def _asked(one: Consortium) -> list[tuple[str, Request]]:
    return list(zip(one.fleet.asked_of, one.fleet.asked, strict=True))
