"""What an assessment changes for the phases after it, and how the operator sees what it found."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bank_tables import CONTRACT, LISTS, SPLIT, bank_table

from fraudfl.assessment.counting import count_profile
from fraudfl.assessment.demands import Demands, HopeConfig
from fraudfl.assessment.negotiated import Schema, negotiate
from fraudfl.assessment.profile import Profile
from fraudfl.assessment.report import READINESS, consortium_readiness, power_check
from fraudfl.assessment.spec import profile_spec
from fraudfl.config import ConsortiumConfig, EncoderConfig, FraudflConfig
from fraudfl.plan import Plan
from server import cli
from server.phases.assessing import agreed_config, plans_ahead
from server.phases.budgeting import forecast
from server.phases.preparing import prepare
from server.store.workspace import Workspace, write_json

BANKS = ("a", "b", "c", "d")
PRIVATE = {
    "privacy": {"mode": "local", "epsilon": 3.0, "units": 5000, "evaluation_share": 0.2},
    "strategy": {"weighting": "equal"},
    "baselines": [],
}
PHASES: list[dict[str, Any]] = [
    {"name": "early", "rounds": 2, "baselines": []},
    {"name": "look", "kind": "assessment"},
    {
        "name": "pilot",
        "rounds": 2,
        "baselines": ["alone"],
        "banks": {"share": 0.5},
        "gates": [{"name": "gain", "measure": "gain_over_alone.auprc", "at_least": 0.03}],
    },
    {"name": "rollout", "kind": "rollout", "rounds": 3, "baselines": []},
]


def profile(*, deviation: float = 0.0) -> Profile:
    """Four banks' tables; one alone has a score."""
    spec = profile_spec(CONTRACT, SPLIT, LISTS, private=deviation > 0)
    tables = [bank_table(seed=1), *(bank_table(seed=seed, score=[None] * 400) for seed in (2, 3, 4))]
    total = np.sum([count_profile(table, spec, SPLIT) for table in tables], axis=0).astype(np.float64)
    return Profile(spec, total + deviation * np.random.default_rng(1).normal(size=spec.size), 4, deviation)


def finished(workspace: Workspace, name: str, status: str = "completed", deviation: float = 0.0) -> Schema:
    """Let an assessment have come to its end."""
    found = profile(deviation=deviation)
    schema = negotiate(found, Demands())
    power = power_check(found, HopeConfig(alone=0.3, gain=0.2), 0.03)
    readiness = consortium_readiness(found, schema, {"score": ["b", "c", "d"]}, power, [])
    folder = workspace.phase(name)
    write_json(folder.path / READINESS, readiness)
    folder.set_result({"name": name, "status": status, "gates": [], "assessment": readiness})
    return schema


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return opened(tmp_path, PHASES)


def opened(folder: Path, phases: list[dict[str, Any]]) -> Workspace:
    found = Workspace(folder / "work")
    config = FraudflConfig.model_validate(
        {
            "consortium": ConsortiumConfig(name="test"),
            "split": SPLIT,
            "encoder": EncoderConfig(categories={**LISTS}),
            "phases": phases,
        }
    )
    found.open(config, resume=False)
    return found


def numbers(workspace: Workspace, name: str) -> tuple[str, ...]:
    plan = Plan.from_json((workspace.phase(name).path / "plan.json").read_bytes())
    return plan.encoder.numeric


def begin(workspace: Workspace, name: str) -> None:
    prepare(workspace, workspace.settings(name), CONTRACT, BANKS)


def test_phases_after_an_assessment_do_without_what_it_left_out(workspace: Workspace) -> None:
    schema = finished(workspace, "look")
    assert [entry.column for entry in schema.left_out] == ["score"]
    for name, uses in (("early", True), ("pilot", False), ("rollout", False)):
        begin(workspace, name)
        assert ("score" in numbers(workspace, name)) == uses


def test_a_phase_that_began_before_keeps_its_plan_when_it_goes_on(workspace: Workspace) -> None:
    begin(workspace, "pilot")
    finished(workspace, "look")
    begin(workspace, "pilot")
    assert "score" in numbers(workspace, "pilot")
    assert agreed_config(workspace, workspace.phase("pilot")) == workspace.config()


@pytest.mark.parametrize("status", ["held", "gated", "failed", "interrupted"])
def test_an_assessment_that_did_not_pass_changes_nothing(workspace: Workspace, status: str) -> None:
    finished(workspace, "look", status)
    begin(workspace, "rollout")
    assert "score" in numbers(workspace, "rollout")


def test_the_phases_to_come_are_planned_under_its_schema_with_their_banks_gates_and_cost(tmp_path: Path) -> None:
    workspace = opened(tmp_path, [*PHASES[:3], PHASES[3] | PRIVATE])
    pilot, rollout = plans_ahead(workspace, "look", CONTRACT, BANKS, negotiate(profile(), Demands()))
    assert (pilot.plan.phase, pilot.banks, pilot.asked, pilot.epsilon) == ("pilot", 2, 0.03, None)
    assert "score" not in pilot.plan.encoder.numeric
    assert (rollout.plan.phase, rollout.banks, rollout.asked) == ("rollout", 4, None)
    assert rollout.epsilon is not None
    assert 2.5 < rollout.epsilon <= 3.0
    # What a plan does not release costs nothing.
    assert rollout.plan.evaluation_noise is not None
    assert "gain" not in rollout.plan.releases
    found = forecast(workspace.config(), workspace.settings("rollout"), CONTRACT)
    assert "bins of gain" not in {part.name for part in found.parts}


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fraudfl", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def test_the_operator_sees_columns_months_banks_and_power(workspace: Workspace, command: Any) -> None:
    finished(workspace, "look")
    code, out, _ = command("assessment", "show", "-w", workspace.path)
    assert code == 0
    for said in (
        "look: 4 banks, 1,600 transactions",
        "leave it out: 25% of the banks have it; at least 50% are asked for; lacking at b, c, d",
        "currency: EUR, USD",
        "2025-03",
        "for 0.03 passes with a chance of",
    ):
        assert said in out


def test_under_noise_the_operator_sees_between_which_numbers_the_truth_lies(workspace: Workspace, command: Any) -> None:
    finished(workspace, "look", deviation=20.0)
    code, out, _ = command("assessment", "show", "look", "-w", workspace.path)
    assert code == 0
    assert "(noise of 20.0 in each sum)" in out
    rows = profile(deviation=20.0).rows
    assert f"{rows.value:,.0f} ({rows.low:,.0f}–{rows.high:,.0f}) transactions" in out


def test_it_is_there_as_json_too(workspace: Workspace, command: Any) -> None:
    finished(workspace, "look")
    code, out, _ = command("assessment", "show", "-w", workspace.path, "--json")
    facts = json.loads(out)
    assert (code, facts["phase"], facts["banks"], facts["rows"]["value"]) == (0, "look", 4, 1600)


def test_an_assessment_that_is_not_there_is_a_named_error(workspace: Workspace, command: Any) -> None:
    assert "no assessment has come to its end here" in command("assessment", "show", "-w", workspace.path)[2]
    code, _, err = command("assessment", "show", "pilot", "-w", workspace.path)
    assert (code, "there is no assessment 'pilot'; the consortium has look" in err) == (2, True)
