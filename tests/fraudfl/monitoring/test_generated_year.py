"""A generated history: quiet months are quiet, drift is seen at once, and a new kind of fraud costs recall."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraudfl.config import FeaturesConfig, GeneratorConfig
from fraudfl.config_changes import UNCHANGED, ChangesConfig, DriftConfig, NewFraudConfig
from fraudfl.data.simulate import CASH_OUT, GENERATED_CONTRACT, generate_with_kinds
from fraudfl.features.declaration import declare
from fraudfl.features.sketch import EncoderSpec, sketch_table
from fraudfl.features.windows import compute_features
from fraudfl.metrics.histogram import ScoreBins, ScoreHistogram
from fraudfl.models.trees import train_trees
from fraudfl.monitoring.baseline import Baseline, Window
from fraudfl.monitoring.performance import QuietScores
from fraudfl.monitoring.report import WindowReport, report_window, with_labels
from fraudfl.monitoring.rules import alerts
from fraudfl.monitoring.scores import Scored
from fraudfl.monitoring.settings import AlertRule, ScoringConfig

FEATURES = FeaturesConfig(windows_days=(1, 7))
NUMERIC = declare(FEATURES, GENERATED_CONTRACT)
CATEGORIES = {"currency": ("EUR", "USD", "GBP", "CHF", "SEK"), "channel": ("pos", "online", "atm", "transfer"),
              "merchant_category": ("grocery", "fuel", "restaurant", "clothing", "electronics", "travel", "gaming",
                                    "pharmacy", "cash", "transfer")}  # fmt: skip
SPEC = EncoderSpec(numeric=tuple(feature.name for feature in NUMERIC), categorical=CATEGORIES)
BINS = ScoreBins()
DRIFT = AlertRule(name="drift", measure="psi_max", at_least=0.1)
CHANGED = AlertRule(name="anything", measure="drifted_features", at_least=1)
WORSE = AlertRule(name="worse", measure="missed_ratio", at_least=1.5, action="retrain")


@dataclass(frozen=True)
class History:
    """Feature rows, with the simulated month, label and kind of each."""

    features: pa.Table
    month: np.ndarray
    label: np.ndarray
    kind: np.ndarray

    def window(self, month: int, scores: np.ndarray | None = None) -> Window:
        here = self.month == month
        sketch = sketch_table(self.features.filter(pa.array(here)), self.label[here], SPEC)
        if scores is None:
            return Window(f"m{month}", sketch)
        counted = self.scored(month, scores).histogram
        return Window(f"m{month}", sketch, counted.positive + counted.negative, BINS)

    def scored(self, month: int, scores: np.ndarray) -> Scored:
        here = self.month == month
        return Scored(ScoreHistogram.from_logits(scores[here], self.label[here], BINS))

    def inputs(self) -> np.ndarray:
        columns = [self.features[name].to_numpy() for name in SPEC.numeric]
        for name, values in SPEC.categorical.items():
            column = np.asarray(self.features[name])
            columns += [column == value for value in values]
        return np.column_stack(columns).astype(np.float32)


def history(folder: Path, seed: int, months: int, rows: int, changes: ChangesConfig = UNCHANGED) -> History:
    config = GeneratorConfig(transactions=rows * months, days=30 * months, banks=3)
    table, kinds = generate_with_kinds(config, seed, changes)
    source, computed = folder / "transactions.parquet", folder / "features.parquet"
    pq.write_table(table, source)
    compute_features(source, NUMERIC, computed, contract=GENERATED_CONTRACT)
    elapsed = table["time"].to_numpy() - np.datetime64(config.start, "us")
    month = (elapsed / np.timedelta64(30, "D")).astype(int) + 1
    return History(pq.read_table(computed), month, table["label"].to_numpy(), kinds)


def watched(past: History, reference: range, months: range) -> list[WindowReport]:
    """Reports of months after quiet ones; the first month is left out, because its histories begin empty."""
    baseline = Baseline(tuple(past.window(month) for month in reference))
    return [report_window(past.window(month), baseline, ScoringConfig()) for month in months]


@pytest.mark.parametrize("seed", range(5))
def test_eight_quiet_months_raise_no_alert(tmp_path, seed):
    reports = watched(history(tmp_path, seed, 13, 2500), range(2, 6), range(6, 14))
    assert len(reports) == 8
    assert alerts([DRIFT], reports) == ()


@pytest.mark.parametrize(
    ("kind", "strength", "feature"),
    [("amounts", 0.5, "amount"), ("merchants", 0.3, "merchant_category"), ("channel", 0.3, "channel")],
)
def test_a_drift_is_seen_by_psi_and_test_in_its_first_month_and_not_before(tmp_path, kind, strength, feature):
    changes = ChangesConfig(drifts=(DriftConfig(month=7, kind=kind, strength=strength),))
    quiet, first = watched(history(tmp_path, 1, 7, 4000, changes), range(2, 6), range(6, 8))
    assert [alert.window for alert in alerts([DRIFT, CHANGED], [quiet, first])] == ["m7", "m7"]
    found = next(drift for drift in first.drifts if drift.name == feature)
    assert found.p_adjusted < 1e-3
    assert found.psi > 5 * found.psi_by_chance


def test_a_new_kind_of_fraud_is_missed_by_the_old_model_reported_and_found_by_the_next(tmp_path):
    changes = ChangesConfig(new_frauds=(NewFraudConfig(month=9, kind="cash_out", rate=0.01),))
    past = history(tmp_path, 1, 11, 6000, changes)
    inputs = past.inputs()

    def scores_of_a_model_trained_on(*months: int) -> np.ndarray:
        rows = np.isin(past.month, months)
        return np.clip(train_trees(inputs[rows], past.label[rows], rounds=60).score(inputs), -15, 15)

    def recall(scores: np.ndarray, kinds: np.ndarray) -> float:
        here = past.month == 11
        alerted = scores >= np.quantile(scores[here], 1 - 0.03)
        return float(alerted[here & kinds].mean())

    old, new = scores_of_a_model_trained_on(1, 2, 3, 4), scores_of_a_model_trained_on(*range(1, 11))
    of_new_kind, of_known_kinds = past.kind == CASH_OUT, (past.kind > 0) & (past.kind != CASH_OUT)
    assert recall(old, of_new_kind) < 0.4
    assert recall(new, of_new_kind) > 0.65
    assert recall(old, of_known_kinds) > 0.4

    baseline = Baseline(tuple(past.window(month, old) for month in range(5, 9)))
    quiet = QuietScores(tuple(past.scored(month, old) for month in range(5, 9)), ScoringConfig(budget=0.03))
    reports = [
        with_labels(report_window(past.window(month, old), baseline, quiet.config), past.scored(month, old), quiet)
        for month in (9, 10)
    ]
    found = alerts([WORSE], reports)
    assert [(alert.window, alert.action) for alert in found] == [("m9", "retrain")]
    challenger = with_labels(report_window(past.window(11), baseline, quiet.config), past.scored(11, new), quiet)
    assert alerts([WORSE], [challenger]) == ()
