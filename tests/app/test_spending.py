"""The pages about privacy and banks over a workspace that a real private run left."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from looking import opened, words, workspace_of

from fraudfl.plan import Plan
from server.phases.budgeting import what_if

CONFIG = """
consortium: {name: private, seed: 5}
data:
  generator: {banks: 3, transactions: 3000, days: 60, fraud_rate: 0.04}
split: {origin: 2025-01-01, train_days: [5, 34], test_days: [42, 59]}
features: {windows_days: [1, 7]}
model: {hidden: [8]}
training: {batch_size: 64, local_epochs: 1}
phases:
  - name: first
    rounds: 3
    baselines: []
    strategy: {weighting: equal}
    privacy: {mode: local, epsilon: 4, units: 10000}
  - name: second
    rounds: 2
    baselines: []
    strategy: {weighting: equal}
    privacy: {mode: local, epsilon: 3, units: 10000}
"""


@pytest.fixture(scope="module")
def spent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that two private phases left."""
    return workspace_of(CONFIG, tmp_path_factory.mktemp("spent"))


@pytest.fixture(scope="module")
def summary(spent: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((spent / "summary.json").read_text())
    return found


def tables(page: Any, *columns: str) -> Any:
    """The first table that has these columns."""
    return next(one.value for one in page.dataframe if {*columns} <= {*one.value.columns})


def test_epsilon_in_the_course_of_a_phase_ends_where_the_summary_says(
    spent: Path, summary: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = opened("privacy", spent, monkeypatch)
    assert not page.exception
    assert not page.error
    course = tables(page, "when", "after round", "ε")
    last = summary["phases"][1]
    assert {*course["bank"]} == {"bank-01", "bank-02", "bank-03"}
    for _, one in course.groupby("bank"):
        assert one["ε"].is_monotonic_increasing
    assert course["ε"].max() == pytest.approx(last["privacy"]["epsilon_max"])
    assert course["ε"].max() <= 3


def test_all_phases_together_are_the_sums_of_the_phases(
    spent: Path, summary: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = opened("privacy", spent, monkeypatch)
    total = tables(page, "δ", "phases")
    assert total["ε"].max() == pytest.approx(sum(one["privacy"]["epsilon_max"] for one in summary["phases"]))
    assert {*total["phases"]} == {2}
    assert {*total["δ"]} == {"2·10⁻⁶"}


def test_what_if_answers_with_the_accounting_of_the_ledgers(spent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = opened("privacy", spent, monkeypatch)
    page.selectbox(key="phase").select("first").run()
    page.toggle(key="what-if").set_value(True).run()
    plan = Plan.from_json((spent / "coordinator" / "phases" / "first" / "plan.json").read_bytes())
    assert plan.noise_multiplier is not None
    shown = {one.label: one.value for one in page.metric}
    assert shown["ε at one bank"] == f"{what_if(plan, 3, plan.noise_multiplier).epsilon:.3f}"
    page.number_input(key="rounds").set_value(30).run()
    shown = {one.label: one.value for one in page.metric}
    assert shown["ε at one bank"] == f"{what_if(plan, 30, plan.noise_multiplier).epsilon:.3f}"
    assert not page.exception


def test_each_bank_stands_with_its_release_its_hours_and_when_it_was_heard(
    spent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = opened("banks", spent, monkeypatch)
    banks = tables(page, "bank", "last heard", "runs fraudfl", "works")
    assert {*banks["runs fraudfl"]} == {version("fraudfl")}
    assert {*banks["works"]} == {"always (UTC)"}
    assert banks["last heard"].str.endswith(" UTC").all()
    assert "different releases" not in words(page)
