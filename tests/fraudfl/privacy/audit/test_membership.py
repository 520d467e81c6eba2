import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from fraudfl.config import ModelConfig, TrainingConfig
from fraudfl.errors import PrivacyError
from fraudfl.models.mlp import initial_vector
from fraudfl.privacy.audit.membership import (
    Suspects,
    audit_membership,
    lira_scores,
    membership_figures,
    true_class_logits,
)
from fraudfl.training.batches import LocalData
from fraudfl.training.plain import train_plain

MODEL = ModelConfig(hidden=(32,))


def rows(count: int, seed: int, flipped: float = 0.0) -> LocalData:
    generator = np.random.default_rng(seed)
    features = generator.standard_normal((count, 5), dtype=np.float32)
    labels = (features[:, 0] > 1) ^ (generator.random(count) < flipped)
    return LocalData(features, labels.astype(np.float32))


def fit(data: LocalData, seed: int, epochs: int) -> np.ndarray:
    start = initial_vector(MODEL, 5, prior=0.2, seed=seed)
    training = TrainingConfig(local_epochs=epochs, batch_size=25)
    return train_plain(MODEL, start, data, training, learning_rate=0.03, seed=seed).vector


def shadows_of(shift: float, models: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    inside = np.arange(models)[:, None] % 2 == np.zeros(count, dtype=int)
    base = generator.normal(0, 3, count)
    return base + shift * inside + generator.standard_normal((models, count)), inside


@pytest.mark.parametrize("online", [True, False])
def test_lira_finds_as_many_members_as_the_gaussians_allow(online: bool) -> None:
    generator = np.random.default_rng(5)
    everything, inside = shadows_of(4.0, 65, 20_000, seed=6)
    member = generator.random(20_000) < 0.5
    # The 65th model is the target: it saw those that are members.
    target = everything[64] - 4.0 * inside[64] + 4.0 * member
    scores = lira_scores(target, everything[:64], inside[:64], online=online)
    found = membership_figures(scores[member], scores[~member])
    ideal = float(norm.sf(norm.isf(0.001) - 4.0))
    assert found.true_positives == pytest.approx(ideal, abs=0.06)
    assert found.auc == pytest.approx(float(norm.cdf(4 / np.sqrt(2))), abs=0.005)
    assert found.interval[0] < found.true_positives < found.interval[1]


def test_without_a_trace_of_members_the_figures_are_those_of_guessing() -> None:
    generator = np.random.default_rng(7)
    members, outsiders = generator.standard_normal(5_000), generator.standard_normal(5_000)
    found = membership_figures(members, outsiders)
    assert found.auc == pytest.approx(0.5, abs=0.02)
    assert found.interval[0] < 0.001 < found.interval[1]
    assert found.false_positives >= 0.001


def test_the_area_is_that_of_scikit_learn_ties_included() -> None:
    generator = np.random.default_rng(9)
    members, outsiders = generator.integers(0, 6, 800) + 1.0, generator.integers(0, 6, 1_200) + 0.0
    truth = np.r_[np.ones(800), np.zeros(1_200)]
    expected = roc_auc_score(truth, np.r_[members, outsiders])
    assert membership_figures(members, outsiders).auc == pytest.approx(expected)


def test_no_more_than_one_outsider_in_a_thousand_is_taken_for_a_member() -> None:
    outsiders = np.arange(2_000.0)
    found = membership_figures(np.array([1_997.0, 1_997.5, 5_000.0]), outsiders)
    assert found.true_positives == pytest.approx(2 / 3)
    assert membership_figures(np.full(10, 7.0), np.full(1_000, 7.0)).true_positives == 0


def test_fewer_than_a_thousand_outsiders_are_refused() -> None:
    with pytest.raises(PrivacyError, match="at least 1000 outsiders"):
        membership_figures(np.zeros(5), np.zeros(999))


def test_a_row_that_every_shadow_model_saw_is_refused() -> None:
    inside = np.ones((6, 2), dtype=bool)
    with pytest.raises(PrivacyError, match="only 0 of 6 shadow models"):
        lira_scores(np.zeros(2), np.zeros((6, 2)), inside, online=True)


def test_an_odd_number_of_shadow_models_is_refused() -> None:
    suspects = Suspects(model=MODEL, vector=fit(rows(50, 1), 1, 1), members=rows(50, 1), outsiders=rows(1_000, 2))
    with pytest.raises(PrivacyError, match="even number"):
        audit_membership("odd", suspects, lambda data, seed: fit(data, seed, 1), shadows=5)


def test_log_odds_are_of_the_true_class() -> None:
    data = rows(200, 3)
    vector = fit(data, 1, 5)
    sure = true_class_logits(MODEL, vector, data)
    flipped = true_class_logits(MODEL, vector, LocalData(data.features, 1 - data.labels))
    assert sure == pytest.approx(-flipped)
    assert float((sure > 0).mean()) > 0.9


def test_members_of_a_model_that_learned_by_heart_are_found_and_of_an_untrained_one_are_not() -> None:
    members, outsiders = rows(300, 11, flipped=0.2), rows(1_000, 12, flipped=0.2)

    def audit(epochs: int) -> str:
        def train(data: LocalData, seed: int) -> np.ndarray:
            few = LocalData(data.features[:300], data.labels[:300])
            return fit(few, seed, epochs)

        suspects = Suspects(model=MODEL, vector=fit(members, 99, epochs), members=members, outsiders=outsiders)
        result = audit_membership("heart", suspects, train, shadows=4, online=False)
        assert result.verdict == "no claim"
        assert result.claimed is None
        assert result.lower_bound is None
        return result.detail

    def area(detail: str) -> float:
        return float(detail.split("ROC curve ")[1].split(";")[0])

    assert area(audit(60)) > 0.6
    assert area(audit(1)) < 0.58
