"""What is fixed before a phase begins: plan, banks and the model it starts from; a resumed phase keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fraudfl.config import FraudflConfig, PhaseConfig
from fraudfl.data.simulate import GENERATED_CONTRACT
from fraudfl.errors import CheckpointError, ConfigError
from fraudfl.plan import Plan
from server.phases.preparing import prepare, start_of
from server.store.workspace import Workspace

BANKS = tuple(f"bank-{number}" for number in range(1, 9))


def config_of(*phases: dict[str, Any]) -> FraudflConfig:
    facts = {
        "consortium": {"name": "small"},
        "split": {"origin": "2025-01-01", "train_days": [5, 40], "test_days": [48, 59]},
        "phases": list(phases),
    }
    return FraudflConfig.model_validate(facts)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "co")
    made.open(config_of({"name": "pilot", "banks": {"count": 3}}, {"name": "rollout"}), resume=False)
    return made


def ready(workspace: Workspace, name: str, banks: tuple[str, ...] = BANKS) -> tuple[Plan, tuple[str, ...] | None]:
    folder = prepare(workspace, workspace.settings(name), GENERATED_CONTRACT, banks)
    return Plan.from_json((folder.path / "plan.json").read_bytes()), folder.roster()


def test_a_phase_keeps_its_banks_although_others_come_and_go(workspace: Workspace) -> None:
    plan, chosen = ready(workspace, "pilot")
    assert chosen is not None
    assert len(chosen) == 3
    assert ready(workspace, "pilot", (*BANKS, "bank-9")) == (plan, chosen)
    assert ready(workspace, "pilot", BANKS[:1]) == (plan, chosen)
    assert ready(workspace, "rollout")[1] == BANKS


def test_nothing_is_begun_where_a_bank_or_a_model_is_not_there(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match=r"banks\.count is 3; 2 banks"):
        ready(workspace, "pilot", BANKS[:2])
    assert workspace.phase("pilot").roster() is None
    workspace.add_phase(PhaseConfig(name="more", start="pilot"))
    with pytest.raises(ConfigError, match="phase more starts from the model of phase 'pilot'"):
        ready(workspace, "more")
    assert workspace.phase("more").roster() is None


def test_a_phase_that_was_begun_is_not_gone_on_with_under_another_plan(workspace: Workspace) -> None:
    ready(workspace, "pilot")
    settings = workspace.settings("pilot")
    changed = settings.model_copy(update={"score_bins": 64})
    with pytest.raises(CheckpointError, match=r"plan\.json: another plan was begun here"):
        prepare(workspace, changed, GENERATED_CONTRACT, BANKS)


def test_phases_can_be_added_once_each(workspace: Workspace) -> None:
    extra = PhaseConfig(name="extra", rounds=2)
    workspace.add_phase(extra)
    workspace.add_phase(extra)
    assert [phase.name for phase in workspace.phases()] == ["pilot", "rollout", "extra"]
    assert workspace.settings("extra") == extra
    assert Workspace(workspace.path).settings("extra") == extra
    with pytest.raises(ConfigError, match="'extra' is there already, with other settings"):
        workspace.add_phase(PhaseConfig(name="extra", rounds=3))
    with pytest.raises(ConfigError, match="there is no phase 'last'; the consortium has pilot, rollout, extra"):
        workspace.settings("last")


def test_a_phase_that_starts_anew_has_no_model_to_start_from(workspace: Workspace) -> None:
    ready(workspace, "pilot")
    assert start_of(workspace, workspace.phase("pilot")) is None


def test_nothing_is_begun_where_the_banks_are_too_few_for_the_rounds(tmp_path: Path) -> None:
    privacy = {"mode": "local", "epsilon": 3, "units": 1000, "delta": 1e-6, "rounds_per_bank": 4}
    phase = {"name": "pilot", "rounds": 8, "cohort": 4, "privacy": privacy, "strategy": {"weighting": "equal"}}
    workspace = Workspace(tmp_path / "co")
    workspace.open(config_of(phase), resume=False)
    with pytest.raises(ConfigError, match="8 rounds that each ask 4 of 7 banks take 5 rounds of a bank"):
        ready(workspace, "pilot", BANKS[:7])
    assert workspace.phase("pilot").roster() is None
    assert ready(workspace, "pilot", BANKS)[1] == BANKS
