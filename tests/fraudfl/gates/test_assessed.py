"""Gates of an assessment: power, banks that are ready, columns that nobody will use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bank_tables import CONTRACT, LISTS, SPLIT, bank_table

from fraudfl.assessment.counting import count_profile
from fraudfl.assessment.demands import Demands, HopeConfig
from fraudfl.assessment.negotiated import negotiate
from fraudfl.assessment.profile import Profile
from fraudfl.assessment.report import consortium_readiness, power_check
from fraudfl.assessment.spec import profile_spec
from fraudfl.gates.judging import GateOutcome
from fraudfl.metrics.power import Hope, Window, power_of

Says = Callable[..., GateOutcome]
HOPE = HopeConfig(alone=0.3, gain=0.2)


def assessed(outcome: dict[str, Any], *, deviation: float = 0.0, roster: int = 5, hope: HopeConfig = HOPE) -> Any:
    """Four banks' assessment, of which one has a score, and one hardly a fraud."""
    spec = profile_spec(CONTRACT, SPLIT, LISTS, private=deviation > 0)
    tables = [bank_table(seed=1), *(bank_table(seed=seed, score=[None] * 400) for seed in (2, 3))]
    tables.append(bank_table(400, seed=4, score=[None] * 400, label=[1, *[0] * 399]))
    total = np.sum([count_profile(table, spec, SPLIT) for table in tables], axis=0).astype(np.float64)
    profile = Profile(spec, total, 4, deviation)
    schema = negotiate(profile, Demands())
    readiness = consortium_readiness(profile, schema, None, power_check(profile, hope, 0.05), [])
    return outcome | {"kind": "assessment", "metrics": None, "roster": roster, "assessment": readiness}


def test_power_is_that_of_the_test_windows_frauds(outcome: dict[str, Any], says: Says) -> None:
    found = assessed(outcome)
    window = found["assessment"]["windows"]["test"]
    frauds, rows = window["frauds"]["value"], window["rows"]["value"]
    expected = power_of(Window(frauds=frauds, others=rows - frauds), Hope(alone=0.3, gain=0.2, asked=0.05)).power
    said = says(found, measure="power", at_least=0.99)
    assert said.value == pytest.approx(expected)
    assert (said.outcome, f"{frauds:,.0f} frauds to test on; " in said.reason) == ("fail", True)
    assert says(found, measure="power", at_least=expected / 2).outcome == "pass"


def test_noise_in_the_count_of_frauds_makes_power_doubtful(outcome: dict[str, Any], says: Says) -> None:
    found = assessed(outcome, deviation=8.0)
    power = found["assessment"]["power"]
    assert power["power_low"] < power["power"]
    assert says(found, measure="power", at_least=(power["power_low"] + power["power"]) / 2).outcome == "hold"


def test_a_hope_that_cannot_be_judged_is_missing_with_its_reason(outcome: dict[str, Any], says: Says) -> None:
    said = says(assessed(outcome, hope=HopeConfig(alone=0.05, gain=0.1)), measure="power", at_least=0.5)
    assert said.outcome == "hold"
    assert "Nothing can be said of the power: alone is an AUPRC of 0.05; expected one between" in said.reason
    assert ".." not in said.reason


def test_banks_with_frauds_enough_are_counted_against_all_that_were_asked(outcome: dict[str, Any], says: Says) -> None:
    assert says(assessed(outcome), measure="ready_banks", at_least=0.6).value == pytest.approx(3 / 5)
    noisy = says(assessed(outcome, deviation=8.0), measure="ready_banks", at_least=0.6)
    assert noisy.interval is not None
    assert noisy.interval[0] < 3 / 5 <= noisy.interval[1]


def test_columns_left_out_are_counted_and_named(outcome: dict[str, Any], says: Says) -> None:
    said = says(assessed(outcome), measure="columns_left_out", at_most=0)
    assert (said.outcome, said.value, "(score)" in said.reason) == ("fail", 1, True)


@pytest.mark.parametrize("measure", ["power", "ready_banks", "columns_left_out"])
def test_a_phase_that_assessed_nothing_holds(outcome: dict[str, Any], says: Says, measure: str) -> None:
    said = says(outcome, measure=measure, at_least=0)
    assert (said.outcome, "the outcome holds no assessment" in said.reason) == ("hold", True)
