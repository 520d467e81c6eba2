"""What a gate in the YAML may say, and what is refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from fraudfl.config_file import load_yaml
from fraudfl.errors import ConfigError
from fraudfl.frozen import Frozen
from fraudfl.gates.config import GateConfig, Gates
from fraudfl.gates.measures import MEASURES
from fraudfl.metrics.gain_bins import GAIN_EDGES


class Section(Frozen):
    """Stands for the phase that has gates."""

    gates: Gates = ()


def load(folder: Path, text: str) -> Gates:
    (folder / "phase.yaml").write_text(text)
    return load_yaml(folder / "phase.yaml", Section).gates


def test_gates_read_as_people_write_them(tmp_path: Path) -> None:
    gain, budget, losers = load(
        tmp_path,
        """
gates:
  - {name: gain, measure: gain_over_alone.auprc, at_least: 0.02}
  - {name: budget, measure: epsilon_max, at_most: 3}
  - {name: losers, measure: banks_losing, more_than: 0.01, at_most: 0.05, missing: fail}
""",
    )
    assert (gain.threshold, gain.deciding, gain.unsure, gain.baselines) == (0.02, "lower", None, ("alone",))
    assert GateConfig.model_validate_json(gain.model_dump_json()) == gain
    assert (budget.threshold, budget.deciding, budget.missing, budget.baselines) == (3, "upper", "hold", ())
    assert (losers.more_than, losers.missing) == (0.01, "fail")


def test_an_unknown_measure_is_refused_with_the_line_the_known_ones_and_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"line 2: gates\.0\.measure.*did you mean `gain_over_alone\.auprc`") as told:
        load(tmp_path, "gates:\n  - {name: gain, measure: gain_over_alone.aucpr, at_least: 0.02}\n")
    assert all(name in str(told.value) for name in MEASURES)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "exactly one of"),
        ({"at_least": 0.1, "at_most": 0.2}, "exactly one of"),
        ({"at_least": 70}, "between 0 and 1; shares are written as"),
        ({"at_least": float("nan")}, "finite"),
        ({"at_least": 0.7, "more_than": 0.01}, "`more_than` belongs to measure `banks_losing`"),
        ({"at_least": 0.7, "bound": "point", "unsure": "fail"}, "`unsure` has no meaning"),
        ({"at_least": 0.7, "bound": "upper", "unsure": "pass"}, "`unsure` has no meaning"),
        ({"at_least": 0.7, "threshold": 0.5}, "Extra inputs"),
        ({"measure": "banks_losing", "at_most": 0.1}, "which needs it"),
        ({"measure": "banks_losing", "at_most": 0.1, "more_than": 0.03}, "losses over 0.01, 0.02, 0.05, 0.1, 0.2"),
        ({"measure": "banks_losing", "at_most": 0.1, "more_than": -0.01}, "losses over"),
        ({"measure": "gain_over_alone.auprc", "at_least": -1.5}, "between -1 and 1"),
        ({"measure": "epsilon_max", "at_most": -1}, "between 0 and inf"),
    ],
)
def test_a_gate_that_cannot_be_meant_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        GateConfig.model_validate({"name": "gate", "measure": "participation"} | wrong)


@pytest.mark.parametrize("edge", [edge for edge in GAIN_EDGES if edge < 0])
def test_every_edge_below_nothing_can_be_asked_for(edge: float) -> None:
    assert GateConfig(name="losers", measure="banks_losing", more_than=-edge, at_most=0.05).more_than == -edge


def test_two_gates_of_one_name_are_refused(tmp_path: Path) -> None:
    gate = "{name: who, measure: participation, at_least: 0.5}"
    with pytest.raises(ConfigError, match="gate names must be distinct; found who, who"):
        load(tmp_path, f"gates: [{gate}, {gate}]\n")
