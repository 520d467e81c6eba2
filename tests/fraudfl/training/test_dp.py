"""DP-SGD: clipping against stock Opacus and plain autograd, sensitivity, noise, and what a reply may tell."""

import dataclasses

import numpy as np
import pytest
import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import nn
from torch.nn import functional

from fraudfl.config import ModelConfig, TrainingConfig
from fraudfl.errors import NonFiniteError, TrainingError
from fraudfl.models.mlp import build_model, initial_vector, set_vector
from fraudfl.privacy.mechanisms import DpSgd
from fraudfl.privacy.noise import NoiseSource
from fraudfl.training import dp as dp_module
from fraudfl.training.dp import clipped_gradient_sum, train_dp
from fraudfl.training.plain import LocalData

MODEL = ModelConfig(hidden=(16, 8))
LOGISTIC = ModelConfig(kind="logistic")
SGD = TrainingConfig(optimizer="sgd")
DP = DpSgd(sampling_rate=0.25, noise_multiplier=1.0, clip_norm=0.5, steps=3, expected_batch=50.0)


def make_model(config=MODEL, dtype=torch.float32):
    model = build_model(config, 5)
    vector = initial_vector(config, 5, prior=0.2, seed=1)
    set_vector(model, vector + np.random.default_rng(4).normal(0, 0.3, vector.shape).astype(np.float32))
    return model.to(dtype)


def make_batch(rows=64, dtype=torch.float32, seed=0):
    generator = np.random.default_rng(seed)
    features = torch.tensor(generator.standard_normal((rows, 5)) * 3, dtype=dtype)
    return features, torch.tensor(generator.random(rows) < 0.3, dtype=dtype)


def make_data(rows=200):
    features, labels = make_batch(rows)
    return LocalData(features.numpy(), labels.numpy())


def autograd_clipped_sum(model, features, labels, clip_norm, positive_weight=1.0):
    """One backward pass per row: the definition."""
    total = 0
    for row, label in zip(features, labels, strict=True):
        loss = functional.binary_cross_entropy_with_logits(
            model(row[None]), label[None], pos_weight=torch.tensor(positive_weight, dtype=row.dtype)
        )
        gradient = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(model.parameters()))])
        total = total + gradient * min(1.0, clip_norm / float(gradient.norm()))
    return total


def stock_clipped_sum(model, features, labels, clip_norm):
    """Opacus' documented way: per-sample gradients by hooks, clipped by its optimiser."""
    wrapped = GradSampleModule(model, loss_reduction="sum")
    optimizer = DPOptimizer(
        torch.optim.SGD(wrapped.parameters(), lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=clip_norm,
        expected_batch_size=None,
        loss_reduction="sum",
    )
    features = features.clone().requires_grad_()  # torch warns about hooks where no input needs a gradient
    functional.binary_cross_entropy_with_logits(wrapped(features), labels, reduction="sum").backward()
    optimizer.clip_and_accumulate()
    return torch.cat([p.summed_grad.reshape(-1) for p in wrapped.parameters()])


@pytest.mark.parametrize("config", [MODEL, LOGISTIC, ModelConfig(hidden=(8,), activation="gelu")])
@pytest.mark.parametrize("clip_norm", [0.01, 1.0, 1e4])
def test_the_clipped_sum_equals_stock_opacus_on_the_same_batch(config, clip_norm):
    features, labels = make_batch()
    got = clipped_gradient_sum(make_model(config), features, labels, clip_norm)
    expected = stock_clipped_sum(make_model(config), features, labels, clip_norm)
    assert float((got - expected).norm()) <= 1e-5 * max(1.0, float(expected.norm()))


@pytest.mark.parametrize("positive_weight", [1.0, 4.0])
def test_the_clipped_sum_equals_one_backward_pass_per_row(positive_weight):
    features, labels = make_batch(dtype=torch.float64)
    model = make_model(dtype=torch.float64)
    got = clipped_gradient_sum(model, features, labels, 0.7, positive_weight)
    expected = autograd_clipped_sum(model, features, labels, 0.7, positive_weight)
    # Opacus divides by norm + 1e-6, which is the whole difference.
    assert float((got - expected).norm()) <= 1e-5 * float(expected.norm())


@pytest.mark.parametrize("row", range(12))
def test_adding_or_removing_one_row_moves_the_sum_by_no_more_than_the_clip_norm(row):
    features, labels = make_batch(dtype=torch.float64)
    features[row] *= 10 ** (row - 4)
    model = make_model(dtype=torch.float64)
    keep = torch.arange(len(labels)) != row
    whole = clipped_gradient_sum(model, features, labels, 0.5)
    without = clipped_gradient_sum(model, features[keep], labels[keep], 0.5)
    assert float((whole - without).norm()) <= 0.5 * (1 + 1e-6)


def test_in_float32_rounding_over_thousands_of_rows_stays_within_the_noise_margin():
    features, labels = make_batch(12_000)
    features[3] *= 1000
    whole = clipped_gradient_sum(make_model(), features, labels, 0.5)
    without = clipped_gradient_sum(make_model(), features[4:], labels[4:], 0.5)
    first = clipped_gradient_sum(make_model(), features[:3], labels[:3], 0.5)
    assert float((whole - without - first).norm()) <= 0.5 * (1 + 2**-10)


def test_batches_larger_than_a_chunk_give_the_same_sum(monkeypatch):
    features, labels = make_batch(100)
    whole = clipped_gradient_sum(make_model(), features, labels, 0.5)
    monkeypatch.setattr(dp_module, "_CHUNK_ROWS", 7)
    torch.testing.assert_close(clipped_gradient_sum(make_model(), features, labels, 0.5), whole, rtol=1e-5, atol=1e-5)


def test_an_empty_batch_sums_to_zero_and_leaves_the_model_usable():
    model = make_model()
    features, labels = make_batch(0)
    assert torch.equal(clipped_gradient_sum(model, features, labels, 1.0), torch.zeros(5 * 16 + 16 + 128 + 8 + 9))
    features, labels = make_batch(4)
    first = clipped_gradient_sum(model, features, labels, 1.0)
    assert torch.equal(clipped_gradient_sum(model, features, labels, 1.0), first)


def test_a_gradient_that_is_not_finite_is_an_error():
    features, labels = make_batch()
    features[2, 0] = torch.inf
    with pytest.raises(NonFiniteError, match="Nothing was released"):
        clipped_gradient_sum(make_model(), features, labels, 1.0)


def test_a_layer_that_mixes_rows_or_has_other_parameters_is_refused():
    with pytest.raises(TrainingError, match="LayerNorm"):
        clipped_gradient_sum(nn.Sequential(nn.Linear(5, 1), nn.LayerNorm(1), nn.Flatten(0)), *make_batch(), 1.0)


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
    total = stock_clipped_sum(model, features[rows], labels[rows], DP.clip_norm).numpy()
    expected = vector - 0.1 * (total + 2.0 * DP.noise_multiplier * DP.clip_norm) / DP.expected_batch
    np.testing.assert_allclose(trained.vector, expected, atol=1e-5)
    assert noise.asked == [(200, 0.25)]


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
