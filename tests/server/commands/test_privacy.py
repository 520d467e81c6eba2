"""`fraudfl privacy plan`: its figures against dp-accounting, and what a reader must not overlook."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dp_accounting
import pytest
import typer
import yaml
from click.testing import Result
from dp_accounting import pld
from rich.console import Console
from typer.testing import CliRunner

from fraudfl.errors import ConfigError
from server.commands import privacy
from server.commands.privacy import privacy_app

DISTRIBUTED: dict[str, Any] = {
    "consortium": {"name": "small"},
    "data": {"generator": {"banks": 10, "transactions": 5000}},
    "split": {"origin": "2025-01-01", "train_days": [5, 34], "test_days": [42, 59]},
    "model": {"hidden": [8]},
    "phases": [
        {
            "name": "pilot",
            "rounds": 40,
            "baselines": [],
            "strategy": {"name": "dpsgd", "weighting": "equal"},
            "privacy": {
                "mode": "distributed",
                "epsilon": 3,
                "delta": 1e-7,
                "units": 1_000_000,
                "expected_units": 5000,
                "sampling_rate": 0.2,
                "encoder_share": 0.1,
                "spare_attempts": 4,
            },
            "secure_aggregation": {"min_cohort": 6, "colluding": 2, "recover": False},
        }
    ],
}


def invoke(folder: Path, config: dict[str, Any], *words: str) -> Result:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    app = typer.Typer(pretty_exceptions_enable=False)
    app.add_typer(privacy_app, name="privacy")
    return CliRunner().invoke(app, ["privacy", "plan", str(path), *words])


def phase_with(**facts: Any) -> dict[str, Any]:
    return DISTRIBUTED | {"phases": [DISTRIBUTED["phases"][0] | facts]}


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The forecast of a phase whose cohorts are smaller than the consortium."""
    said = invoke(tmp_path_factory.mktemp("planned"), phase_with(cohort=8), "--json")
    assert said.exit_code == 0, said.output
    (one,) = json.loads(said.output)
    return dict(one)


def exact(rounds: int, round_noise: float, sketches: int, sketch_noise: float) -> float:
    """dp-accounting itself; the part of δ for whole numbers, a tenth, is left out."""
    accountant = pld.PLDAccountant(value_discretization_interval=1e-4)
    step = dp_accounting.PoissonSampledDpEvent(0.2, dp_accounting.GaussianDpEvent(round_noise))
    accountant.compose(step, rounds).compose(dp_accounting.GaussianDpEvent(sketch_noise), sketches)
    return float(accountant.get_epsilon(0.9e-7))


def test_each_point_is_what_dp_accounting_says_against_coordinator_and_colluders(planned: dict[str, Any]) -> None:
    noise = {part["name"]: part["mechanism"]["noise_multiplier"] for part in planned["parts"]}
    assert [point["rounds"] for point in planned["points"]] == [4, 10, 20, 30, 40]
    less = (4 / 6) ** 0.5
    for point in (planned["points"][0], planned["points"][-1], planned["worst"]):
        sketches = 2 if point is planned["worst"] else 1
        expected = exact(point["rounds"], noise["training"], sketches, noise["encoder"])
        assert point["epsilon"] == pytest.approx(expected, abs=1e-6)
        colluding = exact(point["rounds"], noise["training"] * less, sketches, noise["encoder"] * less)
        assert point["epsilon_colluding"] == pytest.approx(colluding, abs=1e-6)


def test_with_every_spare_attempt_the_phase_just_keeps_its_epsilon(planned: dict[str, Any]) -> None:
    assert planned["worst"]["rounds"] == 44
    assert 2.99 < planned["worst"]["epsilon"] <= 3.0 * (1 + 1e-6)
    assert 0 < planned["spare_cost"] < 0.2
    assert [part["name"] for part in planned["parts"]] == ["encoder", "training"]


def test_a_cohort_smaller_than_the_consortium_has_an_expected_and_a_worst_case(planned: dict[str, Any]) -> None:
    assert planned["participation"] == 0.8
    assert planned["expected"]["rounds"] == 32
    assert planned["expected"]["epsilon"] < planned["points"][-1]["epsilon"]


def test_what_whole_numbers_take_of_delta_is_bounded_and_within_what_is_set_aside(planned: dict[str, Any]) -> None:
    assert 0 < planned["discretisation"] < planned["set_aside"] == pytest.approx(1e-8)
    assert planned["delta"] <= planned["largest_delta"] == pytest.approx(1e-7)


def test_the_tables_name_unit_delta_and_in_red_what_is_not_covered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with privacy._out.capture() as captured:
        assert invoke(tmp_path, phase_with(cohort=8)).exit_code == 0
    said = captured.get()
    for text in (
        "ε = 3 at δ = 1e-07, for one transaction, at each bank; δ may be at most 1e-07 for 1,000,000 units",
        "ε against 2 colluding",
        "100% of the rounds",
        "with all 4 spare attempts",
        "at 80% of the rounds, as expected",
        "not covered by ε: score histograms",
    ):
        assert text in said
    coloured = Console(emoji=False, highlight=False, width=160, force_terminal=True, color_system="standard")
    monkeypatch.setattr(privacy, "_out", coloured)
    with coloured.capture() as captured:
        invoke(tmp_path, DISTRIBUTED)
    assert "\x1b[31mnot covered by ε: score histograms" in captured.get()


def test_a_phase_without_privacy_says_so(tmp_path: Path) -> None:
    open_phase = {"name": "pilot", "rounds": 3, "baselines": []}
    said = invoke(tmp_path, DISTRIBUTED | {"phases": [open_phase]}, "--json")
    (one,) = json.loads(said.output)
    assert (one["mode"], one["points"], one["discretisation"]) == ("none", [], None)


def test_a_delta_above_one_in_ten_units_is_refused(tmp_path: Path) -> None:
    privacy = DISTRIBUTED["phases"][0]["privacy"] | {"delta": 2e-7}
    said = invoke(tmp_path, phase_with(privacy=privacy))
    assert isinstance(said.exception, ConfigError)
    assert "delta 2e-07 is above 1/(10*units) = 1e-07" in str(said.exception)


def test_local_noise_is_stated_without_colluders_or_whole_numbers(tmp_path: Path) -> None:
    phase = {
        "name": "pilot",
        "rounds": 10,
        "baselines": [],
        "strategy": {"weighting": "equal"},
        "privacy": {"mode": "local", "epsilon": 8, "delta": 1e-6, "units": 1000, "steps_per_round": 4},
    }
    (one,) = json.loads(invoke(tmp_path, DISTRIBUTED | {"phases": [phase]}, "--json").output)
    assert (one["colluding"], one["discretisation"], one["set_aside"]) == (0, None, 0)
    assert all(point["epsilon"] == point["epsilon_colluding"] for point in one["points"])
    assert one["not_covered"] == ["encoder sketches", "score histograms", "what windows carry into other rows"]
