"""Plain and proximal training, and the learning-rate schedule."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from fraudfl.config import ModelConfig, TrainingConfig
from fraudfl.errors import NonFiniteError, TrainingError
from fraudfl.models.mlp import build_model, initial_vector, score_logits, set_vector
from fraudfl.training.plain import LocalData, learning_rate_at, train_plain

MODEL = ModelConfig(hidden=(8,))
LOGISTIC = ModelConfig(kind="logistic")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_data(rows=400, seed=0):
    generator = np.random.default_rng(seed)
    features = generator.standard_normal((rows, 3)).astype(np.float32)
    labels = (features[:, 0] - features[:, 1] + generator.standard_normal(rows) > 1).astype(np.float32)
    return LocalData(features, labels)


def start(config=MODEL):
    return initial_vector(config, 3, prior=0.2, seed=1)


def weighted_loss(weights, data, positive_weight):
    logits = data.features.astype(float) @ weights[:3] + weights[3]
    positive, negative = np.logaddexp(0, -logits), np.logaddexp(0, logits)
    return np.mean(np.where(data.labels == 1, positive_weight * positive, negative))


def test_the_same_seed_gives_the_same_bits_whatever_torch_drew_before():
    config = TrainingConfig(batch_size=64, local_epochs=2)
    torch.manual_seed(1)
    first = train_plain(MODEL, start(), make_data(), config, learning_rate=0.01, seed=5)
    torch.manual_seed(2)
    second = train_plain(MODEL, start(), make_data(), config, learning_rate=0.01, seed=5)
    assert first.vector.tobytes() == second.vector.tobytes()
    assert first.loss == second.loss
    assert first.steps == 2 * 7


def test_another_seed_visits_rows_in_another_order():
    config = TrainingConfig(batch_size=64)
    first = train_plain(MODEL, start(), make_data(), config, learning_rate=0.01, seed=5)
    second = train_plain(MODEL, start(), make_data(), config, learning_rate=0.01, seed=6)
    assert not np.array_equal(first.vector, second.vector)


def test_training_leaves_the_start_weights_and_the_data_as_they_were():
    vector, data = start(), make_data()
    copies = vector.copy(), data.features.copy()
    train_plain(MODEL, vector, data, TrainingConfig(batch_size=64), learning_rate=0.01, seed=5)
    np.testing.assert_array_equal(vector, copies[0])
    np.testing.assert_array_equal(data.features, copies[1])


@pytest.mark.parametrize("positive_weight", [1.0, 5.0])
def test_full_batch_logistic_regression_reaches_the_minimum_that_scipy_finds(positive_weight):
    data = make_data()
    config = TrainingConfig(optimizer="sgd", batch_size=400, local_epochs=1000, positive_weight=positive_weight)
    trained = train_plain(LOGISTIC, start(LOGISTIC), data, config, learning_rate=0.5, seed=5)
    best = minimize(weighted_loss, np.zeros(4), args=(data, positive_weight))
    np.testing.assert_allclose(trained.vector, best.x, atol=2e-3)
    assert trained.loss == pytest.approx(best.fun, abs=1e-5)


def test_one_sgd_step_with_weight_decay_and_proximal_pull_follows_the_equation():
    data, vector = make_data(), start(LOGISTIC)
    plain = TrainingConfig(optimizer="sgd", batch_size=400)
    step = train_plain(LOGISTIC, vector, data, plain, learning_rate=0.1, seed=5).vector - vector
    decayed = plain.model_copy(update={"weight_decay": 0.3})
    got = train_plain(LOGISTIC, vector, data, decayed, learning_rate=0.1, seed=5).vector
    np.testing.assert_allclose(got, vector + step - 0.1 * 0.3 * vector, atol=1e-6)

    two = plain.model_copy(update={"local_epochs": 2})
    pulled = two.model_copy(update={"proximal_mu": 0.7})
    without = train_plain(LOGISTIC, vector, data, two, learning_rate=0.1, seed=5).vector
    with_pull = train_plain(LOGISTIC, vector, data, pulled, learning_rate=0.1, seed=5).vector
    # The pull is zero in the first step; in the second it is mu times the first step.
    np.testing.assert_allclose(with_pull, without - 0.1 * 0.7 * step, atol=1e-6)


def test_adam_lowers_the_loss_of_the_mlp_to_what_the_data_allow():
    config = TrainingConfig(batch_size=64, local_epochs=20)
    trained = train_plain(MODEL, start(), make_data(2000), config, learning_rate=0.01, seed=5)
    model = build_model(MODEL, 3)
    set_vector(model, trained.vector)
    test = make_data(2000, seed=9)
    right = ((score_logits(model, test.features) > 0) == (test.labels == 1)).mean()
    assert right > 0.8
    assert trained.loss < 0.45


def test_the_reported_loss_is_the_mean_over_rows_also_with_a_smaller_last_batch():
    data = make_data(100)
    config = TrainingConfig(optimizer="sgd", batch_size=64)
    trained = train_plain(LOGISTIC, start(LOGISTIC), data, config, learning_rate=1e-9, seed=5)
    assert trained.loss == pytest.approx(weighted_loss(start(LOGISTIC).astype(float), data, 1.0), rel=1e-5)


def test_a_bank_without_rows_returns_the_weights_it_was_given():
    empty = LocalData(np.zeros((0, 3), dtype=np.float32), np.zeros(0, dtype=np.float32))
    trained = train_plain(MODEL, start(), empty, TrainingConfig(), learning_rate=0.01, seed=5)
    np.testing.assert_array_equal(trained.vector, start())
    assert (trained.loss, trained.steps) == (None, 0)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_bank_with_one_class_only_trains(label):
    data = LocalData(make_data().features, np.full(400, label, dtype=np.float32))
    trained = train_plain(MODEL, start(), data, TrainingConfig(), learning_rate=0.01, seed=5)
    assert np.isfinite(trained.vector).all()
    assert trained.steps == 1


def test_read_only_features_are_accepted():
    data = make_data()
    data.features.flags.writeable = False
    train_plain(MODEL, start(), data, TrainingConfig(), learning_rate=0.01, seed=5)


def test_a_loss_that_is_not_finite_is_an_error_that_says_so():
    data = make_data()
    data.features[7, 1] = np.nan
    with pytest.raises(NonFiniteError, match="loss is nan"):
        train_plain(MODEL, start(), data, TrainingConfig(), learning_rate=0.01, seed=5)


def test_weights_that_overflow_are_an_error():
    data = make_data()
    data = LocalData(data.features * np.float32(1e30), data.labels)
    config = TrainingConfig(optimizer="sgd", batch_size=400)
    with pytest.raises(NonFiniteError, match="weights that are not finite"):
        train_plain(LOGISTIC, start(LOGISTIC), data, config, learning_rate=1e10, seed=5)


def test_features_and_labels_of_different_length_are_refused():
    with pytest.raises(TrainingError, match=r"\(2, 3\).*\(1,\)"):
        LocalData(np.zeros((2, 3), dtype=np.float32), np.zeros(1, dtype=np.float32))


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_the_learning_rate_starts_in_full_never_rises_and_never_reaches_zero(schedule):
    config = TrainingConfig(learning_rate=0.5, schedule=schedule)
    rates = [learning_rate_at(config, index, 100) for index in range(100)]
    assert rates[0] == 0.5
    assert all(later <= earlier for earlier, later in pairwise(rates))
    assert rates[-1] > 0


def test_cosine_and_linear_are_at_half_in_the_middle():
    for schedule in ("cosine", "linear"):
        config = TrainingConfig(learning_rate=0.5, schedule=schedule)
        assert learning_rate_at(config, 5, 10) == pytest.approx(0.25)


@pytest.mark.parametrize("index", [-1, 10])
def test_a_round_outside_the_plan_has_no_learning_rate(index):
    with pytest.raises(TrainingError, match="10 rounds"):
        learning_rate_at(TrainingConfig(), index, 10)
