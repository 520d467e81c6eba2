"""Gates at the end of a real phase: its status, and what signed decisions make of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from memory_fleet import INSTANCE, Consortium

from fraudfl.gates.config import GateConfig
from fraudfl.gates.decision import decide
from fraudfl.trust.keys import new_key
from pipelines.gates import gated, released
from pipelines.phase import run_phase
from server.rounds.pooled import LocalBanks

KEY = new_key()
SURE = GateConfig(name="who", measure="participation", at_least=1)
DOUBT = GateConfig(name="rank", measure="auprc", at_least=0)
MISSED = GateConfig(name="spend", measure="epsilon_max", at_most=3)


@pytest.fixture(scope="module")
def outcome(shared: Callable[..., Consortium]) -> dict[str, Any]:
    """What a tiny pilot on one machine leaves."""
    one = shared()
    return run_phase(one.phase(LocalBanks(one.folders, one.plan, INSTANCE, one.place)), ("alone",))


def between(interval: list[float]) -> GateConfig:
    return DOUBT.model_copy(update={"at_least": sum(interval) / 2})


def hold_twice(outcome: dict[str, Any]) -> dict[str, Any]:
    gate = between(outcome["metrics"]["intervals"]["federated"]["auprc"])
    return gated(outcome, [SURE, gate, gate.model_copy(update={"name": "again"})])


def decision(outcome: dict[str, Any], *gates: str) -> Any:
    return decide(KEY, INSTANCE, outcome, by="Ada", reason="the next pilot has more data", gates=gates)


def test_a_phase_whose_gates_pass_is_completed_and_its_figures_stay(outcome: dict[str, Any]) -> None:
    judged = gated(outcome, [SURE, DOUBT])
    assert [gate["outcome"] for gate in judged["gates"]] == ["pass", "pass"]
    assert judged | {"gates": []} == outcome


def test_without_gates_nothing_changes(outcome: dict[str, Any]) -> None:
    assert gated(outcome, []) == outcome


def test_a_doubt_holds_a_phase_and_a_miss_gates_it(outcome: dict[str, Any]) -> None:
    held = hold_twice(outcome)
    assert (held["status"], [gate["outcome"] for gate in held["gates"]]) == ("held", ["pass", "hold", "hold"])
    missed = gated(outcome, [SURE, MISSED, between(outcome["metrics"]["intervals"]["federated"]["auprc"])])
    assert (missed["status"], missed["gates"][1]["outcome"]) == ("gated", "fail")
    assert json.loads(json.dumps(missed, allow_nan=False)) == missed


def test_the_pilot_itself_can_be_asked_how_many_banks_lose(outcome: dict[str, Any]) -> None:
    gate = GateConfig(name="losers", measure="banks_losing", more_than=0.01, at_most=1)
    own = outcome["metrics"]["per_bank"].values()
    gains = [row["federated"] - row["alone"] for row in own if row["alone"] is not None]
    share = sum(gain < -0.01 for gain in gains) / len(gains)
    assert f"more than 0.01 in AUPRC is {share:.4g}" in gated(outcome, [gate])["gates"][0]["reason"]


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_a_phase_that_did_not_come_to_its_end_is_not_judged(outcome: dict[str, Any], status: str) -> None:
    assert gated(outcome | {"status": status}, [MISSED]) == outcome | {"status": status}


def test_a_held_phase_goes_on_when_each_hold_is_released_and_says_by_whom(outcome: dict[str, Any]) -> None:
    held = hold_twice(outcome)
    half = released(held, [decision(held, "rank")])
    assert half["status"] == "held"
    whole = released(half, [decision(half)])
    assert whole["status"] == "completed"
    assert [gate["outcome"] for gate in whole["gates"]] == ["pass", "hold", "hold"]
    told = whole["gates"][2]["released"]
    assert (told["by"], told["reason"]) == ("Ada", "the next pilot has more data")
    assert "released" not in whole["gates"][0]
    assert released(whole, []) == whole


def test_a_decision_about_other_figures_or_another_plan_releases_nothing(outcome: dict[str, Any]) -> None:
    held = hold_twice(outcome)
    made = decision(held)
    assert released(held | {"plan_hash": "cd" * 32}, [made])["status"] == "held"
    again = held | {"gates": [gate | {"reason": gate["reason"] + "!"} for gate in held["gates"]]}
    assert released(again, [made]) == again
    assert released(held, []) == held


def test_no_decision_changes_a_phase_that_failed_a_gate(outcome: dict[str, Any]) -> None:
    held = hold_twice(outcome)
    failed = held | {"status": "gated", "gates": [*held["gates"], {"name": "x", "outcome": "fail", "reason": "no"}]}
    assert released(failed, [decision(held)]) == failed
