"""One bank's share of a distributed step: what is summed, clamped and added, and that nobody can foresee the noise."""

import dataclasses
import random

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional

from fraudfl.config import ModelConfig, TrainingConfig
from fraudfl.errors import TrainingError
from fraudfl.models.mlp import build_model, initial_vector, set_vector
from fraudfl.privacy.mechanisms import DpSgd
from fraudfl.privacy.noise import NoiseSource
from fraudfl.training.batches import LocalData
from fraudfl.training.noisy_sum import NoisySums, noisy_sum

MODEL = ModelConfig(hidden=(16, 8))
TRAINING = TrainingConfig(positive_weight=2.0)
SHARED = DpSgd(sampling_rate=1.0, noise_multiplier=2.0, clip_norm=0.5, steps=1, expected_batch=50.0, parties=4)
MARGIN = 1 + 2**-10


class Quiet(NoiseSource):
    """Real draws, and a constant in place of noise."""

    def __init__(self, value=0.0):
        super().__init__()
        self.value = value

    def gaussian(self, shape):
        return np.full(shape, self.value)


def make_data(rows=120, seed=0, accounts=None):
    generator = np.random.default_rng(seed)
    features = (generator.standard_normal((rows, 5)) * 3).astype(np.float32)
    return LocalData(features, (generator.random(rows) < 0.3).astype(np.float32), accounts)


def make_vector(seed=1):
    vector = initial_vector(MODEL, 5, prior=0.2, seed=seed)
    return vector + np.random.default_rng(seed).normal(0, 0.2, vector.shape).astype(np.float32)


def released(data, mechanism=SHARED, noise=None, vector=None, bound=1e6, account_rows=None):
    vector = make_vector() if vector is None else vector
    noise = Quiet() if noise is None else noise
    return noisy_sum(MODEL, vector, data, TRAINING, mechanism, account_rows=account_rows, bound=bound, noise=noise)


def definition(data, clip_norm, units):
    """One backward pass per unit, each clipped, in float64."""
    model = build_model(MODEL, 5)
    set_vector(model, make_vector())
    model.double()
    total = 0
    for rows in units:
        loss = functional.binary_cross_entropy_with_logits(
            model(torch.tensor(data.features[rows], dtype=torch.float64)),
            torch.tensor(data.labels[rows], dtype=torch.float64),
            pos_weight=torch.tensor(TRAINING.positive_weight, dtype=torch.float64),
            reduction="sum",
        )
        gradient = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(model.parameters()))]).numpy()
        total = total + gradient * min(1.0, clip_norm / np.linalg.norm(gradient))
    return total


def test_the_release_is_the_clipped_sum_plus_this_banks_share_of_the_noise():
    data = make_data()
    got = released(data, noise=Quiet(1.5))
    share = 2.0 * 0.5 / np.sqrt(4)
    expected = definition(data, 0.5, np.arange(120)[:, None]) + 1.5 * share * MARGIN
    np.testing.assert_allclose(got, expected, atol=1e-4)
    assert got.dtype == np.float64


def test_with_accounts_as_unit_each_account_is_clipped_once():
    accounts = np.arange(120) % 50
    data = make_data(accounts=accounts)
    mechanism = dataclasses.replace(SHARED, unit="account")
    units = [np.flatnonzero(accounts == account) for account in range(50)]
    got = released(data, mechanism, account_rows=3)
    np.testing.assert_allclose(got, definition(data, 0.5, units), atol=1e-4)


def test_sums_over_banks_are_one_step_of_dp_sgd_on_the_union_of_their_rows():
    banks = [make_data(rows, seed) for rows, seed in ((50, 1), (0, 2), (80, 3))]
    union = LocalData(np.concatenate([b.features for b in banks]), np.concatenate([b.labels for b in banks]))
    np.testing.assert_allclose(sum(released(bank) for bank in banks), released(union), atol=1e-4)


@pytest.mark.parametrize("gone", [0, 9, 70])
def test_one_transaction_more_or_less_moves_the_release_by_no_more_than_the_clip_norm(gone):
    data = make_data()
    data.features[:10] *= np.float32(1e4)
    rest = LocalData(np.delete(data.features, gone, axis=0), np.delete(data.labels, gone))
    assert 0 < np.linalg.norm(released(data) - released(rest)) <= 0.5 * MARGIN


@pytest.mark.parametrize("most", [1, 4, 40])
def test_one_account_more_or_less_moves_the_release_by_no_more_than_the_clip_norm(most):
    accounts = np.arange(120)
    accounts[:40] = 99_999  # with as many rows as may take part, or more; the others have no choice, with one row each
    data = make_data(accounts=accounts)
    data.features[:10] *= np.float32(1e4)
    rest = LocalData(data.features[40:], data.labels[40:], accounts[40:])
    mechanism = dataclasses.replace(SHARED, unit="account")
    whole, without = (released(rows, mechanism, account_rows=most) for rows in (data, rest))
    assert 0 < np.linalg.norm(whole - without) <= 0.5 * MARGIN


def test_entries_are_clamped_before_the_noise_and_not_after():
    sums = released(make_data())
    bound = float(np.median(np.abs(sums)))
    got = released(make_data(), noise=Quiet(30.0), bound=bound)
    np.testing.assert_allclose(got, np.clip(sums, -bound, bound) + 30 * 0.5 * MARGIN, atol=1e-4)
    assert got.min() > bound


@pytest.mark.parametrize("unit", ["transaction", "account"])
def test_a_bank_without_rows_answers_with_its_share_of_noise_alone(unit):
    empty = make_data(0, accounts=np.zeros(0, dtype=np.int64))
    mechanism = dataclasses.replace(SHARED, unit=unit)
    draws = [released(empty, mechanism, NoiseSource.for_tests(seed), account_rows=3) for seed in range(40)]
    assert stats.kstest(np.concatenate(draws), "norm", args=(0, mechanism.share_deviation)).pvalue > 1e-3


def test_shares_of_all_parties_make_up_the_noise_of_the_sum():
    total = sum(released(make_data(0), noise=NoiseSource.for_tests(bank)) for bank in range(SHARED.parties))
    assert total.std() == pytest.approx(2.0 * 0.5, rel=0.15)


def test_two_banks_noise_differs_and_no_seed_reaches_it():
    """Same data, same weights from the same seed, same seeds everywhere: all that is left is the noise."""
    draws = []
    for _ in range(2):
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        vector = initial_vector(MODEL, 5, prior=0.2, seed=7)
        draws.append(released(make_data(), noise=NoiseSource(), vector=vector) - released(make_data(), vector=vector))
    first, second = draws
    assert np.intersect1d(first, second).size == 0
    assert stats.pearsonr(first, second).pvalue > 1e-6
    assert first.std() == pytest.approx(SHARED.share_deviation, rel=0.25)


def test_who_is_drawn_differs_too_and_global_generators_stand_still():
    half = dataclasses.replace(SHARED, sampling_rate=0.5)
    torch.manual_seed(0)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    first, second = released(make_data(), half), released(make_data(), half)
    assert not np.allclose(first, second)
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]


def test_one_object_for_many_steps_gives_what_single_calls_give():
    data = make_data(accounts=np.arange(120) // 7)
    mechanism = dataclasses.replace(SHARED, sampling_rate=0.5, unit="account")
    noise, again = NoiseSource.for_tests(3), NoiseSource.for_tests(3)
    sums = NoisySums(MODEL, data, TRAINING, mechanism, account_rows=3, bound=1.0, noise=noise)
    for seed in (1, 2, 1):
        vector = make_vector(seed)
        single = released(data, mechanism, again, vector, bound=1.0, account_rows=3)
        np.testing.assert_array_equal(sums.draw(vector), single)
        np.testing.assert_array_equal(vector, make_vector(seed))


@pytest.mark.parametrize("scale", [1.0, 1e30, 3e38])
def test_a_release_is_finite_whatever_the_weights(scale):
    got = released(make_data(), vector=np.float32(scale) * np.sign(make_vector()), bound=10.0)
    assert np.isfinite(got).all()
    assert np.abs(got).max() <= 10.0


def test_among_many_nearly_equal_units_one_more_moves_the_release_by_the_margin_at_most():
    """Rounding errors of such rows point the same way, and would add up in float32."""
    rows = 60_001
    generator = np.random.default_rng(0)
    features = np.ones((rows, 5), np.float32) * (1 + 1e-3 * generator.random((rows, 1), dtype=np.float32))
    labels = np.zeros(rows, np.float32)
    parts = slice(None), slice(1, None), slice(0, 1)
    whole, rest, one = (released(LocalData(features[part], labels[part])) for part in parts)
    assert np.linalg.norm(whole) > 0.3 * rows
    assert np.linalg.norm(whole - rest - one) <= 0.5 * 1e-8


@pytest.mark.parametrize("bound", [0.0, -1.0, float("nan")])
def test_a_bound_that_is_not_positive_is_refused(bound):
    with pytest.raises(TrainingError, match="expected a positive number"):
        released(make_data(), bound=bound)


def test_weights_of_another_model_are_refused():
    with pytest.raises(TrainingError, match="weights have shape"):
        released(make_data(), vector=np.zeros(3, dtype=np.float32))
