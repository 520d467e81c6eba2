"""Mechanisms over several banks: their noise, what colluders take off, how they are written, and joint calibration."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import dp_accounting
import pytest
from dp_accounting import pld
from scipy.optimize import brentq
from scipy.stats import norm

from fraudfl.errors import PrivacyError
from fraudfl.privacy.accounting import Spent, calibrate_jointly, epsilon
from fraudfl.privacy.mechanisms import DpSgd, GaussianSum, mechanism_from_dict

ROUND = DpSgd(
    sampling_rate=0.1, noise_multiplier=3.0, clip_norm=0.5, steps=1, expected_batch=100.0, parties=8, colluding=2
)
SKETCH = GaussianSum(noise_multiplier=20.0, sensitivity=6.0, unit="account", parties=8, colluding=2, releases=2)


def test_the_banks_shares_add_up_to_the_noise_of_the_sum() -> None:
    for event, total in ((ROUND, 3.0 * 0.5), (SKETCH, 20.0 * 6.0)):
        assert 8 * event.share_deviation**2 == pytest.approx(total**2)
        assert replace(event, parties=1, colluding=0).share_deviation == pytest.approx(total)


def test_colluders_take_off_their_own_noise_and_no_more() -> None:
    for event in (ROUND, SKETCH):
        left = event.against_colluders()
        assert left.noise_multiplier == pytest.approx(event.noise_multiplier * math.sqrt(6 / 8))
        assert left.share_deviation == pytest.approx(event.share_deviation)
        assert left.against_colluders() == left
    assert replace(ROUND, colluding=0).against_colluders() == replace(ROUND, colluding=0)


def test_a_spend_is_read_against_colluders_mechanism_by_mechanism() -> None:
    spent = Spent().add(ROUND, 50).add(replace(ROUND, colluding=0), 10).against_colluders()
    weaker = replace(ROUND, noise_multiplier=3.0 * math.sqrt(6 / 8), parties=6, colluding=0)
    assert spent.epsilon(1e-6) == epsilon([weaker] * 50 + [replace(ROUND, colluding=0)] * 10, 1e-6)


def test_both_kinds_are_written_and_read_by_kind() -> None:
    for event in (ROUND, SKETCH):
        facts = json.loads(json.dumps(event.to_dict()))
        assert mechanism_from_dict(facts) == event
        assert {"kind", "noise_multiplier", "unit", "parties", "colluding"} < set(facts)
    assert {"sampling_rate", "clip_norm", "steps"} < set(ROUND.to_dict())
    assert {"sensitivity", "releases"} < set(SKETCH.to_dict())


def test_an_entry_from_before_there_were_parties_still_reads() -> None:
    old = {
        **{"kind": "dp-sgd", "sampling_rate": 0.05, "noise_multiplier": 1.1, "clip_norm": 1.0, "steps": 3},
        **{"expected_batch": 250.0, "unit": "transaction"},
    }
    read = mechanism_from_dict(old)
    assert (read.parties, read.colluding, read.share_deviation) == (1, 0, 1.1)


@pytest.mark.parametrize(
    ("event", "change"),
    [
        (ROUND, {"parties": 0}),
        (ROUND, {"parties": 2.0}),
        (ROUND, {"colluding": 8}),
        (ROUND, {"colluding": -1}),
        (SKETCH, {"sensitivity": 0.0}),
        (SKETCH, {"sensitivity": math.inf}),
        (SKETCH, {"releases": 0}),
        (SKETCH, {"noise_multiplier": math.nan}),
        (SKETCH, {"unit": "customer"}),
    ],
)
def test_what_no_accountant_could_vouch_for_is_refused(event: DpSgd | GaussianSum, change: dict[str, Any]) -> None:
    (name,) = change
    with pytest.raises(PrivacyError, match=f"{name} is .*; expected"):
        replace(event, **change)


@pytest.mark.parametrize(
    "facts",
    [{}, {"kind": "laplace"}, {"kind": None}, SKETCH.to_dict() | {"steps": 3}, SKETCH.to_dict() | {"sensitivity": "6"}],
)
def test_a_mechanism_that_cannot_be_read_is_an_error(facts: dict[str, Any]) -> None:
    with pytest.raises(PrivacyError, match="mechanism"):
        mechanism_from_dict(facts)


def test_a_gaussian_sum_is_calibrated_as_the_closed_form_says() -> None:
    """Oracle: the exact δ of one Gaussian, Balle and Wang 2018, theorem 8."""

    def delta(noise: float) -> float:
        a, b = 1 / (2 * noise), 0.3 * noise
        return float(norm.cdf(a - b) - math.exp(0.3) * norm.cdf(-a - b))

    exact = brentq(lambda noise: delta(noise) - 1e-6, 1, 100)
    one = replace(SKETCH, releases=1).calibrate(0.3, 1e-6)
    assert one.noise_multiplier == pytest.approx(exact, rel=1e-3)
    assert one.noise_multiplier >= exact * (1 - 1e-6)
    # Two releases are one with noise smaller by the square root of two.
    two = SKETCH.calibrate(0.3, 1e-6)
    assert two.noise_multiplier == pytest.approx(exact * math.sqrt(2), rel=1e-3)


def test_joint_calibration_spends_the_whole_of_epsilon_and_no_more() -> None:
    """Oracle: dp-accounting composes both by itself."""
    sketch = replace(SKETCH, unit="transaction")
    training = replace(ROUND, steps=200)
    noise = calibrate_jointly([sketch], training, 3.0, 1e-6)

    def both(value: float) -> float:
        accountant = pld.PLDAccountant(value_discretization_interval=1e-4)
        step = dp_accounting.PoissonSampledDpEvent(0.1, dp_accounting.GaussianDpEvent(value))
        accountant.compose(step, 200).compose(dp_accounting.GaussianDpEvent(20.0), 2)
        return float(accountant.get_epsilon(1e-6))

    assert both(noise) <= 3.0 * (1 + 1e-6)
    assert both(0.998 * noise) > 3.0
    # Adding up separate parts of ε would take more noise.
    assert noise < training.calibrate(3.0 - epsilon([sketch], 1e-6), 1e-6).noise_multiplier


def test_joint_calibration_without_fixed_parts_is_calibration() -> None:
    training = replace(ROUND, steps=100)
    assert calibrate_jointly([], training, 3.0, 1e-6) == pytest.approx(
        training.calibrate(3.0, 1e-6).noise_multiplier, rel=1e-4
    )


def test_joint_calibration_refuses_what_is_spent_already_and_mixed_units() -> None:
    loud = replace(SKETCH, unit="transaction", noise_multiplier=1.0)
    with pytest.raises(PrivacyError, match="nothing is left for training"):
        calibrate_jointly([loud], ROUND, 2.0, 1e-6)
    with pytest.raises(PrivacyError, match="different units"):
        calibrate_jointly([SKETCH], ROUND, 3.0, 1e-6)
