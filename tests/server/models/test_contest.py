"""Challenger against champion: the same later rows for both, from the banks' folders or from sums over banks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from memory_fleet import PRIVATE, cached_plan, plan_of
from sklearn.metrics import balanced_accuracy_score

from fraudfl.config import SplitConfig
from fraudfl.data.split import split_rows
from fraudfl.errors import DataError
from fraudfl.folder import BankFolder, bank_paths
from fraudfl.metrics.bootstrap import Bootstrap
from fraudfl.metrics.compare import Difference, paired_difference
from fraudfl.metrics.histogram import ScoreBins, ScoreHistogram
from fraudfl.models.bundle import Bundle
from server.models.bundles import Models
from server.models.contest import Contest, WindowSums, keep_sums
from server.models.versions import Version
from server.store.workspace import Workspace

WINDOW = date(2025, 2, 12), date(2025, 3, 1)
BINS = ScoreBins(count=256)


@pytest.fixture
def models(workspace: Workspace) -> Models:
    return Models(workspace)


@pytest.fixture
def contest(workspace: Workspace, models: Models) -> Contest:
    return Contest(workspace, models)


def test_every_figure_is_compared_on_all_banks_test_rows(
    contest: Contest, models: Models, workspace: Workspace
) -> None:
    _, labels = scored(models.start_from(1), workspace)
    found = contest.compare(models.get(2), models.get(1), "recall_at_budget")
    assert (found.champion, found.challenger, found.window, found.banks) == (1, 2, WINDOW, 2)
    assert (found.difference.rows, found.difference.frauds) == (labels.size, labels.sum())
    assert found.difference.figure == "recall_at_budget"


def test_balanced_accuracy_is_that_of_each_models_own_threshold(
    contest: Contest, models: Models, workspace: Workspace, offer: Callable[[str, Bundle], int]
) -> None:
    trained = models.start_from(2)
    logits, labels = scored(trained, workspace)
    high = {"balanced_accuracy": float(np.quantile(logits, 0.97))}
    shifted = offer("shifted", replace(trained, thresholds=high))
    found = contest.compare(models.get(shifted), models.get(2), "balanced_accuracy").difference
    expected = [
        balanced_accuracy_score(labels, logits >= one["balanced_accuracy"]) for one in (trained.thresholds, high)
    ]
    assert expected[0] != pytest.approx(expected[1], abs=0.01)
    assert (found.champion, found.challenger) == pytest.approx(tuple(expected), abs=1e-9)


def test_a_version_is_never_judged_on_days_that_it_was_trained_on(contest: Contest, models: Models) -> None:
    assert models.get(1).split.train_days == (5, 34)
    later = models.get(1).split.model_copy(update={"train_days": (5, 45), "test_days": (53, 59)})
    champion = replace(models.get(1), split=later)
    with pytest.raises(DataError, match=r"version 1 was trained on 2025-01-06 to 2025-02-15, which reaches into"):
        contest.compare(models.get(2), champion)


def test_versions_with_and_without_days_are_not_compared(contest: Contest, models: Models) -> None:
    given = replace(models.get(1), split=SplitConfig(by="given"))
    with pytest.raises(DataError, match="were split in different ways"):
        contest.compare(models.get(2), given)


def test_where_banks_are_elsewhere_their_sums_are_compared(
    contest: Contest, models: Models, workspace: Workspace
) -> None:
    by_rows = contest.compare(models.get(2), models.get(1)).difference
    (weak, labels), (trained, _) = (scored(models.start_from(number), workspace) for number in (1, 2))
    apart = paired_difference(weak, trained, labels, None, Bootstrap())
    effect = (width(by_rows) / width(apart)) ** 2
    for number in (1, 2):
        keep_sums(models, models.get(number), sums(models, models.get(number), workspace, effect))
    workspace.banks.rename(workspace.path / "elsewhere")
    found = contest.compare(models.get(2), models.get(1))
    assert (found.banks, found.difference.source) == (2, "histograms")
    assert (found.difference.rows, found.difference.frauds) == (by_rows.rows, by_rows.frauds)
    assert found.difference.value == pytest.approx(by_rows.value, abs=0.02)
    # Frauds of one account come together, which sums alone do not show: the stated design effect does.
    assert effect > 2
    assert 0 < found.difference.interval[0] < by_rows.interval[0] + 0.02
    assert width(found.difference) > 0.85 * width(by_rows)


def test_sums_of_different_banks_or_none_are_not_compared(
    contest: Contest, models: Models, workspace: Workspace
) -> None:
    kept = sums(models, models.get(1), workspace)
    keep_sums(models, models.get(1), kept)
    workspace.banks.rename(workspace.path / "elsewhere")
    with pytest.raises(DataError, match="version 2 was not scored at the banks on 2025-02-12 to 2025-03-01"):
        contest.compare(models.get(2), models.get(1))
    keep_sums(models, models.get(2), kept.model_copy(update={"banks": ("bank-01",)}))
    with pytest.raises(DataError, match="scored at 2 banks and version 2 at 1, not the same ones"):
        contest.compare(models.get(2), models.get(1))
    with pytest.raises(DataError, match="compare sums by another figure"):
        contest.compare(models.get(2), models.get(1), "balanced_accuracy")


def test_sums_say_how_much_noise_the_banks_added_together() -> None:
    private = {**PRIVATE["privacy"], "evaluation_share": 0.2}
    plan = plan_of(**PRIVATE | {"privacy": private})
    found = WindowSums.of(plan, ["south", "north", "west", "east"], ScoreHistogram.empty(plan.score_bins), 2.0)
    assert plan.evaluation_noise is not None
    # In mode `local` each of four banks adds all of the noise: twice the deviation of one. A transaction counts once.
    assert found.noise == pytest.approx(2 * plan.evaluation_noise)
    assert (found.window, found.banks, found.inflation) == (WINDOW, ("east", "north", "south", "west"), 2.0)
    plain = plan_of()
    assert WindowSums.of(plain, ["north"], ScoreHistogram.empty(plain.score_bins), 1.0).noise == 0


def width(difference: Difference) -> float:
    return difference.interval[1] - difference.interval[0]


def sums(models: Models, version: Version, workspace: Workspace, effect: float = 1.0) -> WindowSums:
    """What the banks would release about a version, added up."""
    total = ScoreHistogram.empty(BINS)
    for path in bank_paths(workspace.banks):
        total += ScoreHistogram.from_logits(*scored_at(path, models.start_from(version.number), workspace), BINS)
    banks = tuple(path.name for path in bank_paths(workspace.banks))
    return WindowSums.of(cached_plan(workspace.config()), banks, total, effect)


def scored(bundle: Bundle, workspace: Workspace) -> list[np.ndarray[Any, Any]]:
    """All banks' test rows: logits, and labels."""
    banks = [scored_at(path, bundle, workspace) for path in bank_paths(workspace.banks)]
    return [np.concatenate(columns) for columns in zip(*banks, strict=True)]


def scored_at(path: Path, bundle: Bundle, workspace: Workspace) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    config, folder = workspace.config(), BankFolder(path)
    test = split_rows(folder.table(), config.split).test
    logits = bundle.score(folder.features(config.features).filter(pa.array(test)))
    return logits, folder.table()["label"].to_numpy()[test]
