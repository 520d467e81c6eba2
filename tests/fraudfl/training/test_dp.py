"""DP-SGD at one bank: its step, noise, and what a reply may tell. Clipping has tests of its own."""

import dataclasses

import numpy as np
import pytest
import torch

from fraudfl.config import ModelConfig, TrainingConfig
from fraudfl.errors import PrivacyError, TrainingError
from fraudfl.models.mlp import build_model, initial_vector, set_vector
from fraudfl.privacy.mechanisms import DpSgd
from fraudfl.privacy.noise import NoiseSource
from fraudfl.training.clipping import clipped_gradient_sum
from fraudfl.training.dp import train_dp
from fraudfl.training.plain import LocalData

MODEL = ModelConfig(hidden=(16, 8))
LOGISTIC = ModelConfig(kind="logistic")
SGD = TrainingConfig(optimizer="sgd")
DP = DpSgd(sampling_rate=0.25, noise_multiplier=1.0, clip_norm=0.5, steps=3, expected_batch=50.0)


def make_data(rows=200, accounts=None):
    generator = np.random.default_rng(0)
    features = (generator.standard_normal((rows, 5)) * 3).astype(np.float32)
    return LocalData(features, (generator.random(rows) < 0.3).astype(np.float32), accounts)


class RecordedNoise(NoiseSource):
    """Takes all rows and adds a chosen constant, so that a step can be computed by hand."""

    def __init__(self, draws, value):
        super().__init__()
        self.draws, self.value, self.asked = list(draws), value, []

    def poisson_draw(self, rows, rate):
        self.asked.append((rows, rate))
        return self.draws.pop(0)

    def gaussian(self, shape):
        return np.full(shape, self.value)


def test_one_step_is_the_noisy_clipped_sum_over_the_public_batch_size():
    data, rows = make_data(), np.array([3, 5, 11], dtype=np.int64)
    vector = initial_vector(MODEL, 5, prior=0.2, seed=1)
    noise = RecordedNoise([rows], 2.0)
    trained = train_dp(MODEL, vector, data, SGD, DP.with_steps(1), learning_rate=0.1, noise=noise)
    model = build_model(MODEL, 5)
    set_vector(model, vector)
    features, labels = data.tensors()
    total = clipped_gradient_sum(model, features[rows], labels[rows], DP.clip_norm).numpy()
    expected = vector - 0.1 * (total + 2.0 * DP.noise_multiplier * DP.clip_norm) / DP.expected_batch
    np.testing.assert_allclose(trained.vector, expected, atol=1e-5)
    assert noise.asked == [(200, 0.25)]


def test_a_step_over_accounts_clips_each_account_once():
    data = make_data(200, np.arange(200) // 3)
    vector = initial_vector(MODEL, 5, prior=0.2, seed=1)
    dp = dataclasses.replace(DP, unit="account", steps=1)
    noise = RecordedNoise([np.array([4, 9])], 2.0)
    trained = train_dp(MODEL, vector, data, SGD, dp, learning_rate=0.1, noise=noise, account_rows=3)
    model = build_model(MODEL, 5)
    set_vector(model, vector)
    picks = np.array([[12, 13, 14], [27, 28, 29]])
    total = clipped_gradient_sum(model, *data.tensors(), DP.clip_norm, picks=picks).numpy()
    expected = vector - 0.1 * (total + 2.0 * DP.noise_multiplier * DP.clip_norm) / DP.expected_batch
    np.testing.assert_allclose(trained.vector, expected, atol=1e-5)
    assert noise.asked == [(67, 0.25)]


@pytest.mark.parametrize(("accounts", "most"), [(None, 3), (np.arange(200), None)])
def test_accounts_as_unit_need_accounts_and_a_bound(accounts, most):
    vector = initial_vector(MODEL, 5, prior=0.2, seed=1)
    dp = dataclasses.replace(DP, unit="account")
    with pytest.raises(TrainingError, match=r"privacy\.account_rows"):
        train_dp(
            MODEL, vector, make_data(200, accounts), SGD, dp, learning_rate=0.1, noise=NoiseSource(), account_rows=most
        )


def test_local_steps_with_a_share_of_the_noise_are_refused():
    vector = initial_vector(MODEL, 5, prior=0.2, seed=1)
    dp = dataclasses.replace(DP, parties=5)
    with pytest.raises(PrivacyError, match="shared by 5 banks"):
        train_dp(MODEL, vector, make_data(), SGD, dp, learning_rate=0.1, noise=NoiseSource())


def test_an_empty_draw_still_adds_noise_and_counts_as_a_step():
    vector = initial_vector(MODEL, 5, prior=0.2, seed=1)
    none = np.zeros(0, dtype=np.int64)
    trained = train_dp(MODEL, vector, make_data(), SGD, DP, learning_rate=0.1, noise=RecordedNoise([none] * 3, 1.0))
    np.testing.assert_allclose(vector - trained.vector, 3 * 0.1 * 0.5 / 50, rtol=0.01, atol=1e-6)
    assert trained.steps == 3


@pytest.mark.parametrize("rows", [0, 1, 200])
def test_the_reply_has_no_loss_and_the_same_steps_whatever_the_number_of_rows(rows):
    vector = initial_vector(MODEL, 5, prior=0.2, seed=1)
    trained = train_dp(MODEL, vector, make_data(rows), SGD, DP, learning_rate=0.1, noise=NoiseSource())
    assert (trained.loss, trained.steps) == (None, 3)
    assert not np.array_equal(trained.vector, vector)


def test_the_added_noise_has_the_promised_deviation():
    vector = initial_vector(MODEL, 5, prior=0.2, seed=1)
    empty = make_data(0)
    dp = dataclasses.replace(DP, noise_multiplier=3.0, steps=40)
    trained = train_dp(MODEL, vector, empty, SGD, dp, learning_rate=1.0, noise=NoiseSource.for_tests(1))
    deviation = (trained.vector - vector).std() * 50 / np.sqrt(40)
    assert deviation == pytest.approx(3.0 * 0.5, rel=0.15)


def test_seeds_of_torch_and_numpy_do_not_repeat_a_private_run():
    vector = initial_vector(MODEL, 5, prior=0.2, seed=1)
    results = []
    for _ in range(2):
        torch.manual_seed(0)
        np.random.seed(0)
        results.append(train_dp(MODEL, vector, make_data(), SGD, DP, learning_rate=0.1, noise=NoiseSource()).vector)
    assert not np.array_equal(*results)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_weights_that_a_step_makes_overflow_stay_as_they_were_and_nothing_is_refused(optimizer):
    vector = initial_vector(MODEL, 5, prior=0.2, seed=1)
    vector[7] = 3.3e38
    config = TrainingConfig(optimizer=optimizer)
    noise = RecordedNoise([np.arange(200)] * 3, -1e4)
    trained = train_dp(MODEL, vector, make_data(), config, DP, learning_rate=3e37, noise=noise)
    assert np.isfinite(trained.vector).all()
    assert trained.vector[7] == vector[7]
    assert trained.steps == 3


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_rows_that_are_not_finite_count_for_nothing(value):
    vector = initial_vector(MODEL, 5, prior=0.2, seed=1)
    data = make_data()
    data.features[50:] = value
    rows = [np.arange(200)], [np.arange(50)]
    with_them, without = (
        train_dp(MODEL, vector, data, SGD, DP.with_steps(1), learning_rate=0.1, noise=RecordedNoise(draws, 1.0))
        for draws in rows
    )
    np.testing.assert_array_equal(with_them.vector, without.vector)


def test_the_proximal_pull_applies_after_the_noise():
    vector = initial_vector(LOGISTIC, 5, prior=0.2, seed=1)
    none = np.zeros(0, dtype=np.int64)
    pulled = SGD.model_copy(update={"proximal_mu": 2.0})
    dp = DP.with_steps(2)
    free = train_dp(LOGISTIC, vector, make_data(), SGD, dp, learning_rate=0.1, noise=RecordedNoise([none] * 2, 1.0))
    held = train_dp(LOGISTIC, vector, make_data(), pulled, dp, learning_rate=0.1, noise=RecordedNoise([none] * 2, 1.0))
    step = (free.vector - vector) / 2
    np.testing.assert_allclose(held.vector, free.vector - 0.1 * 2.0 * step, atol=1e-6)


def test_private_training_learns_when_noise_is_small_against_the_batch():
    generator = np.random.default_rng(0)
    features = generator.standard_normal((4000, 5)).astype(np.float32)
    data = LocalData(features, (features[:, 0] > 0).astype(np.float32))
    dp = DpSgd(sampling_rate=0.25, noise_multiplier=1.0, clip_norm=1.0, steps=60, expected_batch=1000.0)
    vector = initial_vector(LOGISTIC, 5, prior=0.5, seed=1)
    trained = train_dp(LOGISTIC, vector, data, TrainingConfig(), dp, learning_rate=0.05, noise=NoiseSource.for_tests(2))
    right = ((features @ trained.vector[:5] + trained.vector[5] > 0) == (data.labels == 1)).mean()
    assert right > 0.95
