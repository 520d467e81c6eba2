"""The classifier and its flat weight vector."""

import numpy as np
import pytest
import torch
from scipy.special import expit

from fraudfl.config import ModelConfig
from fraudfl.errors import TrainingError
from fraudfl.models.mlp import build_model, get_vector, initial_vector, layout, score_logits, set_vector

MODEL = ModelConfig(hidden=(8, 4))
LOGISTIC = ModelConfig(kind="logistic")


def test_the_flat_vector_keeps_torch_parameter_order_and_survives_a_round_trip():
    model = build_model(MODEL, 5)
    names_and_shapes = tuple((name, tuple(p.shape)) for name, p in model.named_parameters())
    assert layout(model) == names_and_shapes
    vector = np.random.default_rng(0).standard_normal(5 * 8 + 8 + 8 * 4 + 4 + 4 + 1).astype(np.float32)
    set_vector(model, vector)
    np.testing.assert_array_equal(get_vector(model), vector)
    first = next(model.parameters())
    np.testing.assert_array_equal(first.detach().numpy().ravel(), vector[:40])


def test_setting_a_vector_copies_it_so_later_changes_do_not_reach_the_model():
    model = build_model(LOGISTIC, 2)
    vector = np.ones(3, dtype=np.float32)
    set_vector(model, vector)
    vector[:] = 7
    np.testing.assert_array_equal(get_vector(model), np.ones(3, dtype=np.float32))


def test_a_vector_of_the_wrong_length_is_refused_with_both_sizes():
    with pytest.raises(TrainingError, match=r"\(4,\).*\(3,\)"):
        set_vector(build_model(LOGISTIC, 2), np.zeros(4, dtype=np.float32))


@pytest.mark.parametrize("config", [MODEL, LOGISTIC])
def test_first_weights_depend_on_the_seed_alone_and_leave_global_random_state_alone(config):
    np.random.seed(1)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = initial_vector(config, 6, prior=0.02, seed=3)
    build_model(config, 6)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    np.testing.assert_array_equal(first, initial_vector(config, 6, prior=0.02, seed=3))
    assert first.dtype == np.float32


def test_another_seed_draws_other_weights():
    assert not np.array_equal(
        initial_vector(MODEL, 6, prior=0.02, seed=3), initial_vector(MODEL, 6, prior=0.02, seed=4)
    )


@pytest.mark.parametrize("config", [MODEL, LOGISTIC])
def test_first_scores_lie_near_the_prior(config):
    model = build_model(config, 6)
    set_vector(model, initial_vector(config, 6, prior=0.02, seed=3))
    rows = np.random.default_rng(1).standard_normal((500, 6)).astype(np.float32)
    assert expit(score_logits(model, rows)).mean() == pytest.approx(0.02, rel=0.15)


def test_logistic_regression_scores_are_a_weighted_sum():
    model = build_model(LOGISTIC, 3)
    vector = np.array([1, -2, 0.5, 0.25], dtype=np.float32)
    set_vector(model, vector)
    rows = np.random.default_rng(1).standard_normal((7, 3)).astype(np.float32)
    np.testing.assert_allclose(score_logits(model, rows), rows @ vector[:3] + 0.25, rtol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_mlp_scores_equal_the_same_network_in_numpy(activation):
    config = ModelConfig(hidden=(4,), activation=activation)
    vector = np.random.default_rng(2).standard_normal(3 * 4 + 4 + 4 + 1).astype(np.float32)
    model = build_model(config, 3)
    set_vector(model, vector)
    rows = np.random.default_rng(1).standard_normal((9, 3)).astype(np.float32)
    inner = rows @ vector[:12].reshape(4, 3).T + vector[12:16]
    inner = np.tanh(inner) if activation == "tanh" else np.maximum(inner, 0)
    np.testing.assert_allclose(score_logits(model, rows), inner @ vector[16:20] + vector[20], rtol=1e-4, atol=1e-6)


def test_no_rows_give_no_scores():
    assert score_logits(build_model(MODEL, 3), np.zeros((0, 3), dtype=np.float32)).shape == (0,)
