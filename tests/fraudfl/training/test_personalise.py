"""A bank's own model: better where its customers differ, the same where they do not, and none where fraud is rare."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, log_loss

from fraudfl.config import ModelConfig
from fraudfl.folder import Rows
from fraudfl.models.mlp import build_model, initial_vector, score_logits, set_vector
from fraudfl.training.personalise import Personal, Personalising, personalise

CONFIG = ModelConfig(hidden=(12,), activation="tanh")
WIDTH = 5
GLOBAL = initial_vector(CONFIG, WIDTH, prior=0.05, seed=4)
# An output layer that tells something: the start's is nearly silent.
GLOBAL[-13:-1] *= 15


def scored(vector: np.ndarray, features: np.ndarray) -> np.ndarray:
    model = build_model(CONFIG, WIDTH)
    set_vector(model, vector)
    return score_logits(model, features)


def bank(count: int, seed: int, *, other: float = 0.0, scale: float = 1.0, shift: float = 0.0) -> Rows:
    """Rows that follow the global model: with an output layer moved by `other`, and logits scaled and shifted."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, WIDTH)).astype(np.float32)
    truth = GLOBAL.copy()
    truth[-13:-1] += other * np.random.default_rng(99).normal(size=12).astype(np.float32)
    chance = 1 / (1 + np.exp(-(scale * scored(truth, features) + shift)))
    labels = (rng.random(count) < chance).astype(np.float32)
    return Rows(features, labels, np.arange(count, dtype=np.int64) // 3)


def losses_on(found: Personal, test: Rows) -> tuple[float, float]:
    """Loss of the global model and of the bank's own, by scikit-learn."""
    return tuple(
        log_loss(test.labels, 1 / (1 + np.exp(-scored(vector, test.features).astype(np.float64))))
        for vector in (GLOBAL, found.vector)
    )


def test_a_bank_with_customers_of_its_own_kind_gets_a_model_that_ranks_and_predicts_better() -> None:
    found = personalise(CONFIG, GLOBAL, bank(8000, 1, other=0.8), bank(3000, 2, other=0.8))
    assert found.choice.startswith("fine-tuned")
    test = bank(20_000, 3, other=0.8)
    before, after = losses_on(found, test)
    assert after < before - 0.01
    ranked = [average_precision_score(test.labels, scored(one, test.features)) for one in (GLOBAL, found.vector)]
    assert ranked[1] > ranked[0] + 0.02
    # Nothing but the last layer was touched.
    assert found.vector[:-13].tobytes() == GLOBAL[:-13].tobytes()


def test_a_bank_like_all_others_keeps_very_nearly_the_global_model() -> None:
    found = personalise(CONFIG, GLOBAL, bank(8000, 1), bank(3000, 2))
    before, after = losses_on(found, bank(20_000, 3))
    assert abs(after - before) < 1e-3


def test_scores_that_promise_too_much_are_calibrated_and_keep_their_order() -> None:
    few = Personalising(least_frauds=5, pulls=(1e6,))  # so firm that fine-tuning changes nothing
    validation = bank(6000, 2, scale=0.4, shift=-1.0)
    found = personalise(CONFIG, GLOBAL, bank(3000, 1, scale=0.4, shift=-1.0), validation, few)
    assert found.calibration == pytest.approx((0.4, -1.0), abs=0.25)
    test = bank(10_000, 3, scale=0.4, shift=-1.0)
    before, after = losses_on(found, test)
    assert after < before - 0.01
    first, second = (scored(one, test.features) for one in (GLOBAL, found.vector))
    assert np.diff(second[np.argsort(first)]).min() > -1e-5
    assert {"global", "fine-tuned", "calibrated"} == set(found.losses)


def test_calibration_waits_for_the_frauds_that_it_takes() -> None:
    validation = bank(6000, 2, scale=0.4, shift=-1.0)
    frauds = int(validation.labels.sum())
    settings = Personalising(pulls=(1e6,), least_frauds_to_calibrate=frauds + 1)
    found = personalise(CONFIG, GLOBAL, bank(3000, 1), validation, settings)
    assert found.calibration is None
    assert "calibrated" not in found.losses
    assert f"calibration takes {frauds + 1} frauds" in found.reason


NONE = Rows(np.zeros((0, WIDTH), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


def quiet(rows: Rows, frauds: int = 0) -> Rows:
    """The same rows with no more than so many frauds."""
    labels = np.zeros_like(rows.labels)
    labels[np.flatnonzero(rows.labels)[:frauds]] = 1
    return Rows(rows.features, labels, rows.clusters)


@pytest.mark.parametrize(
    ("train", "validation", "said"),
    [
        (NONE, NONE, "0 frauds to train on and 0"),
        (quiet(bank(900, 1)), quiet(bank(300, 2)), "0 frauds to train on and 0"),
        (bank(900, 1), quiet(bank(300, 2), 4), "and 4 to validate with"),
        (quiet(bank(900, 1), 4), bank(900, 2), "4 frauds to train on"),
        (bank(900, 1), NONE, "and 0 to validate with"),
    ],
)
def test_with_too_few_frauds_the_global_model_stays_as_it_is(train: Rows, validation: Rows, said: str) -> None:
    found = personalise(CONFIG, GLOBAL, train, validation)
    assert (found.choice, found.pull, found.calibration) == ("global", None, None)
    assert found.vector.tobytes() == GLOBAL.tobytes()
    assert found.vector is not GLOBAL
    assert said in found.reason
    assert "at least 5 of each" in found.reason


def test_fraud_only_rows_are_rows_like_others() -> None:
    frauds = Rows(bank(50, 1).features, np.ones(50, np.float32), np.arange(50, dtype=np.int64))
    found = personalise(CONFIG, GLOBAL, frauds, bank(2000, 2))
    assert np.isfinite(found.vector).all()


def test_a_model_without_finite_scores_is_left_alone() -> None:
    broken = GLOBAL.copy()
    broken[-5] = np.inf
    found = personalise(CONFIG, broken, bank(900, 1), bank(900, 2))
    assert found.choice == "global"
    assert "no finite score" in found.reason


def test_same_rows_and_seed_give_the_same_bits_also_where_rows_are_drawn() -> None:
    train, validation = bank(4000, 1, other=0.8), bank(1500, 2, other=0.8)
    settings = Personalising(most_rows=500, seed=11)
    first, second = (personalise(CONFIG, GLOBAL, train, validation, settings) for _ in range(2))
    assert first.vector.tobytes() == second.vector.tobytes()
    other = personalise(CONFIG, GLOBAL, train, validation, Personalising(most_rows=500, seed=12))
    assert other.vector.tobytes() != first.vector.tobytes()


def test_a_draw_of_the_rows_stands_for_all_of_them() -> None:
    train, validation = bank(20_000, 1, other=0.8), bank(3000, 2, other=0.8)
    whole = personalise(CONFIG, GLOBAL, train, validation, Personalising(pulls=(0.01,)))
    drawn = personalise(CONFIG, GLOBAL, train, validation, Personalising(pulls=(0.01,), most_rows=9000))
    rows = bank(5000, 3).features
    # Were the drawn rows not weighed up, twice as many frauds would show as log 2 in every logit.
    assert abs(float((scored(drawn.vector, rows) - scored(whole.vector, rows)).mean())) < 0.1
