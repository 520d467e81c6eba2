"""Mechanisms and accounting, against dp-accounting called by itself."""

import contextlib
import json

import dp_accounting
import pytest
from dp_accounting import pld, rdp
from hypothesis import given
from hypothesis import strategies as st

from fraudfl.errors import PrivacyError
from fraudfl.privacy.accounting import Spent, calibrate_noise, epsilon
from fraudfl.privacy.mechanisms import DpSgd, gaussian_event, mechanism_from_dict
from fraudfl.privacy.pld import event_epsilon, steps_epsilon

ROUND = DpSgd(sampling_rate=0.05, noise_multiplier=1.1, clip_norm=1.0, steps=20, expected_batch=500.0)
OTHER = DpSgd(sampling_rate=0.01, noise_multiplier=2.0, clip_norm=0.5, steps=7, expected_batch=500.0)

positive = st.floats(1e-3, 1e3)
mechanisms = st.builds(
    DpSgd,
    sampling_rate=st.floats(1e-6, 1.0),
    noise_multiplier=positive,
    clip_norm=positive,
    steps=st.integers(1, 10_000),
    expected_batch=positive,
    unit=st.sampled_from(["transaction", "account"]),
)


def step(q, noise):
    return dp_accounting.PoissonSampledDpEvent(q, dp_accounting.GaussianDpEvent(noise))


def oracle(events, delta):
    accountant = pld.PLDAccountant()
    for event, count in events:
        accountant.compose(event, count)
    return accountant.get_epsilon(delta)


def test_epsilon_of_one_round_equals_dp_accounting():
    assert epsilon([ROUND], 1e-6) == pytest.approx(oracle([(step(0.05, 1.1), 20)], 1e-6), rel=1e-6)


def test_epsilon_of_many_rounds_and_two_kinds_equals_dp_accounting():
    expected = oracle([(step(0.05, 1.1), 200), (step(0.01, 2.0), 7)], 1e-6)
    assert epsilon([ROUND, OTHER] + [ROUND] * 9, 1e-6) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("full", [(), ((1.0, 9.0),)])
def test_epsilon_by_kept_distributions_is_that_of_the_accountant_to_the_last_bit(full):
    # The second number of the same steps is composed from the distribution that the first one left.
    for times in (3, 50):
        steps = (((0.03, 1.3), times), *((step, 2) for step in full))
        events = [gaussian_event(rate, noise, count) for (rate, noise), count in steps]
        assert steps_epsilon(steps, 1e-6) == event_epsilon(dp_accounting.ComposedDpEvent(events), 1e-6)


def test_pld_is_no_looser_than_renyi_accounting():
    accountant = rdp.RdpAccountant().compose(step(0.05, 1.1), 20)
    assert epsilon([ROUND], 1e-6) < accountant.get_epsilon(1e-6)


def test_full_batches_equal_the_gaussian_mechanism():
    full = DpSgd(sampling_rate=1.0, noise_multiplier=5.0, clip_norm=1.0, steps=4, expected_batch=1.0)
    expected = oracle([(dp_accounting.GaussianDpEvent(2.5), 1)], 1e-6)
    assert epsilon([full], 1e-6) == pytest.approx(expected, rel=1e-3)


def test_nothing_spent_costs_nothing():
    assert epsilon([], 1e-6) == 0
    assert Spent().epsilon(1e-6) == 0


def test_clip_norm_and_batch_do_not_change_epsilon():
    bigger = DpSgd(sampling_rate=0.05, noise_multiplier=1.1, clip_norm=9.0, steps=20, expected_batch=3.0)
    assert epsilon([bigger], 1e-6) == epsilon([ROUND], 1e-6)


def test_a_thousand_charges_compose_as_one_group():
    spent = Spent().add(ROUND, 999).add(ROUND)
    assert spent.entries == ((ROUND, 1000),)
    assert Spent.of([ROUND] * 1000) == spent
    assert spent.epsilon(1e-6) == epsilon([ROUND.with_steps(20_000)], 1e-6)


def test_adding_leaves_the_old_value_alone():
    before = Spent().add(ROUND)
    before.add(OTHER)
    assert before.entries == ((ROUND, 1),)


def test_units_are_not_mixed():
    accounts = DpSgd(
        sampling_rate=0.05, noise_multiplier=1.1, clip_norm=1.0, steps=20, expected_batch=500.0, unit="account"
    )
    with pytest.raises(PrivacyError, match=r"account.*transaction"):
        epsilon([ROUND, accounts], 1e-6)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-6])
def test_a_delta_outside_zero_to_one_is_refused(delta):
    with pytest.raises(PrivacyError, match="delta"):
        epsilon([ROUND], delta)


@pytest.mark.parametrize(
    ("target", "q", "steps"), [(0.5, 0.05, 200), (8.0, 0.05, 200), (1.0, 0.01, 3000), (3.0, 1.0, 20)]
)
def test_calibration_finds_the_smallest_noise_that_keeps_the_budget(target, q, steps):
    plan = DpSgd(sampling_rate=q, noise_multiplier=1.0, clip_norm=1.0, steps=steps, expected_batch=1.0)
    calibrated = plan.calibrate(target, 1e-6)
    assert oracle([(step(q, calibrated.noise_multiplier), steps)], 1e-6) <= target
    assert oracle([(step(q, 0.998 * calibrated.noise_multiplier), steps)], 1e-6) > target
    assert (plan.noise_multiplier, calibrated.steps) == (1.0, steps)


def test_a_phase_calibrated_whole_and_spent_by_rounds_ends_within_its_budget():
    noise = calibrate_noise(ROUND.with_steps(10 * 20), 8.0, 1e-6)
    one = DpSgd(sampling_rate=0.05, noise_multiplier=noise, clip_norm=1.0, steps=20, expected_batch=500.0)
    spent = Spent()
    for _ in range(10):
        spent = spent.add(one)
    assert 7.9 < spent.epsilon(1e-6) <= 8.0


def test_a_large_budget_is_calibrated_too():
    calibrated = ROUND.calibrate(60.0, 1e-6)
    assert 59 < epsilon([calibrated], 1e-6) <= 60


def test_a_budget_that_is_not_positive_is_refused():
    with pytest.raises(PrivacyError, match="epsilon is 0"):
        ROUND.calibrate(0, 1e-6)


@given(st.lists(st.tuples(mechanisms, st.integers(1, 1000)), unique_by=lambda entry: entry[0], max_size=4))
def test_a_spend_survives_json(entries):
    spent = Spent(tuple(entries))
    assert Spent.from_json(spent.to_json()) == spent
    assert Spent.from_json(spent.to_json()).to_json() == spent.to_json()


@given(mechanisms)
def test_a_mechanism_survives_its_dictionary(mechanism):
    assert mechanism_from_dict(json.loads(json.dumps(mechanism.to_dict()))) == mechanism


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_damaged_text_is_a_privacy_error_or_an_empty_spend(text):
    with contextlib.suppress(PrivacyError):
        assert Spent.from_json(text) == Spent()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '""',
        "null",
        '[{"event": {"kind": "dp-sgd"}, "count": 1}]',
        Spent().add(ROUND).to_json().replace('"count":1', '"count":0'),
        Spent().add(ROUND).to_json().replace('"count":1', '"count":true'),
        Spent().add(ROUND).to_json().replace("dp-sgd", "dp-sgx"),
        Spent().add(ROUND).to_json().replace("0.05", "-0.05"),
        Spent().add(ROUND).to_json().replace("0.05", '"0.05"'),
        Spent().add(ROUND).to_json()[:-4],
        "[" + ",".join([Spent().add(ROUND).to_json()[1:-1]] * 2) + "]",
    ],
)
def test_a_damaged_record_stops_the_bank_instead_of_resetting_its_spend(text):
    with pytest.raises(PrivacyError):
        Spent.from_json(text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sampling_rate", 0.0),
        ("sampling_rate", 1.5),
        ("noise_multiplier", 0.0),
        ("noise_multiplier", float("nan")),
        ("clip_norm", float("inf")),
        ("steps", 0),
        ("steps", 2.5),
        ("expected_batch", -1.0),
        ("unit", "customer"),
    ],
)
def test_a_mechanism_with_an_impossible_field_is_refused_by_name(field, value):
    with pytest.raises(PrivacyError, match=field):
        DpSgd(
            **{
                **{"clip_norm": 1.0, "expected_batch": 1.0, "steps": 1},
                "sampling_rate": 0.1,
                "noise_multiplier": 1.0,
                field: value,
            }
        )
