"""The best change to a last layer, against scikit-learn's logistic regression and against every other change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from fraudfl.config import ModelConfig
from fraudfl.errors import TrainingError
from fraudfl.models.mlp import build_model, initial_vector, score_logits, set_vector
from fraudfl.training.last_layer import Rows, best_change, last_inputs, last_layer, row_loss, with_last_layer


def made(rows: int = 1500, width: int = 4, seed: int = 1) -> Rows:
    """Rows of a logistic model, with a column of ones last."""
    rng = np.random.default_rng(seed)
    inputs = np.column_stack((rng.normal(size=(rows, width)), np.ones(rows)))
    truth = np.append(rng.normal(size=width), -2.0)
    labels = (rng.random(rows) < 1 / (1 + np.exp(-inputs @ truth))).astype(np.float64)
    return Rows(inputs=inputs, offset=np.zeros(rows), labels=labels, weights=np.ones(rows))


def with_offset(rows: Rows, layer: np.ndarray) -> Rows:
    return Rows(inputs=rows.inputs, offset=rows.inputs @ layer, labels=rows.labels, weights=rows.weights)


@pytest.mark.parametrize("pull", [1.0, 0.01, 1e-4])
def test_from_no_weights_at_all_it_is_scikit_learns_logistic_regression(pull: float) -> None:
    rows = made()
    # Scikit-learn adds up losses where the mean is meant here, and C is the inverse of its penalty.
    peer = LogisticRegression(C=1 / (pull * len(rows.labels)), fit_intercept=False, tol=1e-10, max_iter=1000)
    expected = peer.fit(rows.inputs, rows.labels).coef_[0]
    assert best_change(rows, pull) == pytest.approx(expected, abs=2e-5)


def test_rows_that_count_more_often_are_scikit_learns_sample_weights() -> None:
    plain = made()
    weights = np.where(plain.labels == 1, 1.0, 7.0)
    rows = Rows(inputs=plain.inputs, offset=plain.offset, labels=plain.labels, weights=weights)
    peer = LogisticRegression(C=1 / (0.01 * weights.sum()), fit_intercept=False, tol=1e-10, max_iter=1000)
    expected = peer.fit(rows.inputs, rows.labels, sample_weight=weights).coef_[0]
    assert best_change(rows, 0.01) == pytest.approx(expected, abs=2e-5)


def test_scale_and_shift_are_scikit_learns_unpenalised_regression_on_the_logit() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(size=3000) - 1
    labels = (rng.random(3000) < 1 / (1 + np.exp(-(0.6 * logits + 0.8)))).astype(np.float64)
    peer = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logits[:, None], labels)
    inputs = np.column_stack((logits, np.ones(3000)))
    change = best_change(Rows(inputs=inputs, offset=logits, labels=labels, weights=np.ones(3000)), 1e-9)
    assert 1 + change[0] == pytest.approx(peer.coef_[0, 0], abs=1e-4)
    assert change[1] == pytest.approx(peer.intercept_[0], abs=1e-4)


@pytest.mark.parametrize("pull", [0.3, 0.01])
def test_around_given_weights_it_is_the_optimum_that_another_solver_finds(pull: float) -> None:
    layer = np.array([0.5, -1.0, 2.0, 0.0, -1.0])
    rows = with_offset(made(), layer)

    def objective(change: np.ndarray) -> float:
        return row_loss(rows.offset + rows.inputs @ change, rows.labels).mean() + pull / 2 * change @ change

    found = best_change(rows, pull)
    other = minimize(objective, np.zeros(5), method="BFGS", options={"gtol": 1e-8, "maxiter": 500}).x
    assert found == pytest.approx(other, abs=1e-4)
    assert objective(found) <= objective(np.zeros(5))


def test_the_firmer_the_pull_the_smaller_the_change() -> None:
    rows = with_offset(made(), np.ones(5))
    sizes = [float(np.linalg.norm(best_change(rows, pull))) for pull in (100.0, 1.0, 0.01, 1e-4)]
    assert sizes == sorted(sizes)
    assert sizes[0] < 0.02
    assert sizes[-1] > 1


def test_where_the_search_begins_changes_nothing_but_the_time() -> None:
    rows = made()
    start = best_change(rows, 0.03)
    assert best_change(rows, 0.01, start) == pytest.approx(best_change(rows, 0.01), abs=2e-5)


@pytest.mark.parametrize("hidden", [(6, 3), ()])
def test_inputs_and_layer_give_the_networks_own_logits(hidden: tuple[int, ...]) -> None:
    config = ModelConfig(hidden=hidden or (4,), kind="mlp" if hidden else "logistic")
    vector = initial_vector(config, 5, prior=0.1, seed=2) + np.float32(0.05)
    model = build_model(config, 5)
    set_vector(model, vector)
    features = np.random.default_rng(0).normal(size=(70, 5)).astype(np.float32)
    inputs = last_inputs(model, features)
    assert inputs.shape == (70, (hidden[-1] if hidden else 5) + 1)
    assert inputs @ last_layer(model, vector) == pytest.approx(score_logits(model, features), abs=1e-5)
    changed = with_last_layer(vector, last_layer(model, vector) * 2)
    set_vector(model, changed)
    assert score_logits(model, features) == pytest.approx(2 * (inputs @ last_layer(model, vector)), abs=1e-5)
    assert changed[: -inputs.shape[1]].tolist() == vector[: -inputs.shape[1]].tolist()


def test_more_rows_than_one_chunk_get_the_inputs_that_they_get_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ModelConfig(hidden=(8,))
    model = build_model(config, 3)
    set_vector(model, initial_vector(config, 3, prior=0.1, seed=2))
    features = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    whole = last_inputs(model, features)
    monkeypatch.setattr("fraudfl.training.last_layer._CHUNK_ROWS", 16)
    assert last_inputs(model, features) == pytest.approx(whole, abs=1e-6)
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("case", ["no rows", "no pull", "not finite"])
def test_what_has_no_best_change_is_refused(case: str) -> None:
    rows = made(rows=0 if case == "no rows" else 50)
    if case == "not finite":
        rows.inputs[3, 0] = np.inf
    with pytest.raises(TrainingError):
        best_change(rows, 0.0 if case == "no pull" else 0.1)
