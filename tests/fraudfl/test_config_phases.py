"""Phases of the YAML: who takes part, waves, the model to start from, and what does not go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fraudfl.config import BankSelection, FraudflConfig, MonitoringConfig, PhaseConfig
from fraudfl.config_file import load_config
from fraudfl.errors import ConfigError

BANKS = tuple(f"bank-{number:02}" for number in range(1, 13))
BASE: dict[str, Any] = {
    "consortium": {"name": "phases"},
    "split": {"by": "time", "origin": "2025-01-01", "train_days": [0, 50], "test_days": [60, 80]},
}


def config_of(*phases: dict[str, Any], **more: Any) -> FraudflConfig:
    return FraudflConfig.model_validate({**BASE, **more, "phases": list(phases)})


# Who takes part.


def test_all_banks_take_part_unless_something_else_is_said() -> None:
    assert BankSelection().choose(BANKS, 7) == BANKS
    assert BankSelection(names=("bank-03", "bank-01")).choose(BANKS, 7) == ("bank-01", "bank-03")
    assert BankSelection(without=("bank-05",)).choose(BANKS, 7) == tuple(bank for bank in BANKS if bank != "bank-05")


@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 12))
def test_a_larger_draw_holds_every_smaller_one_of_the_same_seed(seed: int, one: int, other: int) -> None:
    few, many = (set(BankSelection(count=count).choose(BANKS, seed)) for count in sorted((one, other)))
    assert few <= many
    assert len(few) == min(one, other)


def test_a_share_is_rounded_up_and_another_seed_draws_others() -> None:
    drawn = [BankSelection(share=0.3).choose(BANKS, seed) for seed in range(20)]
    assert {len(banks) for banks in drawn} == {4}
    assert len(set(drawn)) > 10
    assert BankSelection(share=0.25).choose(BANKS[::-1], 1) == BankSelection(count=3).choose(BANKS, 1)


def test_a_bank_that_left_does_not_change_who_else_is_drawn() -> None:
    drawn = BankSelection(count=5).choose(BANKS, 3)
    without = BankSelection(count=5, without=(drawn[0],)).choose(BANKS, 3)
    assert set(drawn[1:]) < set(without)
    assert drawn[0] not in without


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"names": ["bank-99"]}, "banks.names lists bank-99; the consortium has bank-01"),
        ({"count": 13}, "banks.count is 13; 12 banks are there"),
        ({"without": list(BANKS)}, "0 banks are there"),
    ],
)
def test_banks_that_are_not_there_are_refused_by_name(selection: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BankSelection.model_validate(selection).choose(BANKS, 7)


def test_only_one_way_to_choose_is_taken() -> None:
    with pytest.raises(ValidationError, match="give one of `names`, `count` and `share`"):
        BankSelection(count=3, share=0.5)


def test_a_selection_too_small_for_a_sum_is_refused_when_the_file_is_read() -> None:
    phase = {
        "name": "pilot",
        "banks": {"count": 2},
        "strategy": {"weighting": "equal"},
        "secure_aggregation": {"min_cohort": 3},
    }
    with pytest.raises(ValidationError, match="2 banks take part, and min_cohort is 3"):
        config_of(phase)


# Waves.

GATE = {"name": "there", "measure": "participation", "at_least": 0.9}
ROLLOUT: dict[str, Any] = {
    "name": "rollout",
    "kind": "rollout",
    "rounds": 20,
    "baselines": ["alone"],
    "waves": [
        {"name": "first", "banks": {"share": 0.5}, "rounds": 5, "baselines": []},
        {"name": "second", "banks": {"share": 0.8}, "gates": [GATE]},
        {"name": "all"},
    ],
}  # fmt: skip


def test_a_phase_in_waves_becomes_phases_that_go_on_from_each_other() -> None:
    phases = config_of(ROLLOUT).phases
    assert [phase.name for phase in phases] == ["rollout-first", "rollout-second", "rollout-all"]
    first, second, last = (phase for phase in phases if isinstance(phase, PhaseConfig))
    assert [phase.start for phase in (first, second, last)] == [None, "rollout-first", "rollout-second"]
    assert [phase.rounds for phase in (first, second, last)] == [5, 20, 20]
    assert [phase.baselines for phase in (first, second, last)] == [(), ("alone",), ("alone",)]
    assert [phase.banks.share for phase in (first, second, last)] == [0.5, 0.8, None]
    assert [len(phase.gates) for phase in (first, second, last)] == [0, 1, 0]
    assert {phase.kind for phase in (first, second, last)} == {"rollout"}


def test_phases_in_waves_are_the_same_when_they_are_read_again() -> None:
    config = config_of(ROLLOUT)
    assert FraudflConfig.model_validate(config.model_dump(mode="json")) == config


def test_a_wave_that_does_not_fit_its_phase_is_refused_with_the_phase_named() -> None:
    gate = {"name": "gain", "measure": "gain_over_xgboost.auprc", "at_least": 0}
    phase = ROLLOUT | {"waves": [{"name": "first", "gates": [gate]}]}
    with pytest.raises(ValidationError, match="a wave of phase 'rollout' does not fit: gate 'gain' compares with"):
        config_of(phase)


# The model to start from.


@pytest.mark.parametrize("start", ["champion", "challenger", "previous", "pilot", "7", 7])
def test_a_phase_may_go_on_from_an_alias_an_earlier_phase_or_a_version(start: str | int) -> None:
    phase = config_of({"name": "pilot"}, {"name": "next", "start": start}).phases[1]
    assert isinstance(phase, PhaseConfig)
    assert phase.start == str(start)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("last", "does not train before it"),
        ("next", "does not train before it"),
        ("look", "does not train before it"),
        ("nobody", "expected challenger, champion, pilot, previous, or a version's number"),
    ],
)
def test_what_is_no_model_to_start_from_is_refused(start: str, message: str) -> None:
    phases = [
        {"name": "pilot"},
        {"name": "look", "kind": "assessment"},
        {"name": "next", "start": start},
        {"name": "last"},
    ]
    with pytest.raises(ValidationError, match=message):
        config_of(*phases)


def test_a_given_start_and_a_released_prior_do_not_go_together() -> None:
    with pytest.raises(ValidationError, match=r"set `training\.prior` to a number"):
        config_of({"name": "pilot"}, {"name": "next", "start": "pilot"}, training={"prior": "released"})


# Kinds.


def test_a_phase_is_told_by_its_kind_and_trains_without_one() -> None:
    phases = config_of(
        {"name": "look", "kind": "assessment"}, {"name": "pilot"}, {"name": "watch", "kind": "monitoring", "windows": 6}
    ).phases
    assert [type(phase).__name__ for phase in phases] == ["AssessmentConfig", "PhaseConfig", "MonitoringConfig"]
    assert isinstance(phases[2], MonitoringConfig)


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        ("kind: pilto", "line 5: phases.0.kind: found 'pilto'"),
        ("kind: assessment\n    rounds: 3", "phases.0.rounds: found 3; no such key"),
        ("kind: monitoring\n    windows: 0", "line 6: phases.0.windows: found 0"),
        ("rounds: none", "line 5: phases.0.rounds: found 'none'"),
    ],
)
def test_errors_name_the_key_as_the_file_has_it(tmp_path: Path, phase: str, expected: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        "consortium: {name: bad}\n"
        "split: {by: time, origin: 2025-01-01, train_days: [0, 50], test_days: [60, 80]}\n"
        f"phases:\n  - name: one\n    {phase}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert expected in str(caught.value).replace(f"{file}, ", "")
