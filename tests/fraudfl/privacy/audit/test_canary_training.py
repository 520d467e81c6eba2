from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fraudfl.config import ModelConfig, TrainingConfig
from fraudfl.models.mlp import build_model, score_logits, set_vector
from fraudfl.privacy.audit.canary_training import CanaryTraining, LocalRounds, Setting, SummedRounds
from fraudfl.privacy.audit.circle import Circle
from fraudfl.privacy.audit.one_run import audit_one_run
from fraudfl.privacy.mechanisms import DpSgd
from fraudfl.privacy.noise import NoiseSource
from fraudfl.secagg.fixed_point import FixedPoint
from fraudfl.training.batches import LocalData

DELTA = 1e-6
MODELS = [ModelConfig(kind="logistic"), ModelConfig(hidden=(8, 4), activation="tanh"), ModelConfig(hidden=(8,))]


class Silent(NoiseSource):
    def gaussian(self, shape: int | tuple[int, ...]) -> np.ndarray:
        return np.zeros(shape)


def bank(seed: int) -> LocalData:
    generator = np.random.default_rng(seed)
    features = generator.standard_normal((600, 4), dtype=np.float32)
    return LocalData(features, (features[:, 0] + features[:, 1] > 1.2).astype(np.float32), np.arange(600) // 3)


def setting(model: ModelConfig, **changes: object) -> Setting:
    claimed = DpSgd(sampling_rate=0.3, noise_multiplier=1.5, clip_norm=0.8, steps=25, expected_batch=180)
    return Setting(
        model=model,
        training=TrainingConfig(learning_rate=0.5),
        claimed=replace(claimed, **changes),  # type: ignore[arg-type]
        real=(bank(1), bank(2), bank(3)),
        canaries=200,
        account_rows=2 if changes.get("unit") == "account" else None,
    )


def summed(one: Setting, training: CanaryTraining) -> SummedRounds:
    grid = FixedPoint.for_sums(256.0, 3, 5.0, 2**30, 2.0**-8)
    return SummedRounds(one, training.data, Circle(3, grid), 256.0)


@pytest.mark.parametrize(
    ("model", "lost"), list(zip(MODELS, (0.001, 0.02, 0.1), strict=True)), ids=["logistic", "tanh", "relu"]
)
def test_every_canary_shows_with_nearly_its_whole_norm_in_a_real_training(model: ModelConfig, lost: float) -> None:
    one = setting(model, sampling_rate=1.0)
    training = CanaryTraining(one, seed=3)
    scores = training.scores(LocalRounds(one, training.data, [Silent() for _ in one.real]))
    # Without noise, each of 25 rounds gives (x - 1/2) / 1.5² with x = 1 for canaries that are in, 0 for the others.
    expected = 25 * (training.included - 0.5) / 1.5**2
    assert scores == pytest.approx(expected, rel=lost)


@pytest.mark.parametrize("unit", ["transaction", "account"])
def test_a_private_training_keeps_its_claim(unit: str) -> None:
    one = setting(MODELS[2], unit=unit)
    training = CanaryTraining(one, seed=4)
    result = audit_one_run(
        "local", training.scores(LocalRounds(one, training.data)), training.included, one.claimed, DELTA
    )
    assert result.verdict == "sound"
    assert result.trials == 200


def test_a_summed_training_keeps_its_claim_and_learns() -> None:
    one = setting(MODELS[2], parties=3, expected_batch=540.0)
    training = CanaryTraining(one, seed=5)
    scores = training.scores(summed(one, training))
    assert audit_one_run("summed", scores, training.included, one.claimed, DELTA).verdict == "sound"
    model = build_model(one.model, one.width)
    set_vector(model, training.vector)
    held_out = bank(9)
    room = np.zeros((600, one.canaries), dtype=np.float32)
    logits = score_logits(model, np.concatenate([held_out.features, room], axis=1))
    assert roc_auc_score(held_out.labels, logits) > 0.8


def test_a_training_without_noise_is_caught() -> None:
    one = setting(MODELS[1], noise_multiplier=4.0)
    training = CanaryTraining(one, seed=6)
    scores = training.scores(LocalRounds(one, training.data, [Silent() for _ in one.real]))
    result = audit_one_run("silent", scores, training.included, one.claimed, DELTA)
    assert result.verdict == "violated"


def test_the_coins_are_fair_and_only_canaries_that_are_in_are_in_the_data() -> None:
    one = setting(MODELS[0])
    training = CanaryTraining(one, seed=7)
    assert 70 < training.included.sum() < 130
    canaries = training.data[0].features[600:, 4:]
    assert (canaries.any(axis=0) == training.included).all()
    assert not training.data[0].features[:600, 4:].any()
    assert len(training.data[1].labels) == 600
