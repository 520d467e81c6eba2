"""What the accuracy and monitoring pages draw from score histograms: the figures, and what the reader may set."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from looking import opened, words
from streamlit.testing.v1 import AppTest

from app.place import WORKSPACE
from fraudfl.plan import Plan
from pipelines.way_scores import WayScores, read_way_scores
from server.local.fraud_amounts import fraud_amounts
from server.store.workspace import Workspace


def shown(page: AppTest, *headings: str) -> Any:
    """The first table with these headings."""
    return next(one.value for one in page.dataframe if {*headings} <= {*one.value.columns})


def metrics(page: AppTest) -> dict[str, str]:
    return {one.label: one.value for one in page.metric}


def scores_of(ran: Path) -> tuple[WayScores, Plan]:
    folder = ran / "coordinator" / "phases" / "pilot"
    plan = Plan.from_json((folder / "plan.json").read_bytes())
    found = read_way_scores(folder, plan)
    assert found is not None
    return found, plan


def test_curves_are_of_every_way_that_the_summary_compares(
    ran: Path, summary: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    curves = shown(opened("accuracy", ran, monkeypatch), "precision", "recall", "trained")
    compared = summary["phases"][0]["metrics"]
    for way in ("federated", "alone", "pooled"):
        own = curves[curves["trained"] == way].sort_values("recall")
        # The area below the curve, in steps, is the average precision but for what a bin hides.
        area = (own["precision"] * own["recall"].diff().fillna(own["recall"])).sum()
        assert area == pytest.approx(compared[way]["auprc"], abs=0.03)


def test_the_reliability_table_counts_every_test_transaction(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = opened("accuracy", ran, monkeypatch)
    scores, _ = scores_of(ran)
    found = shown(page, "promised, %", "came, %")
    assert found["transactions"].sum() == scores.federated.total
    assert found["frauds"].sum() == scores.federated.positive.sum()
    assert found["came, %"].to_list() == pytest.approx([*(100 * found["frauds"] / found["transactions"])], abs=1e-4)
    promised = (found["promised, %"] * found["transactions"]).sum() / 100
    assert float(metrics(page)["Frauds promised per fraud seen"]) == pytest.approx(
        promised / found["frauds"].sum(), abs=0.01
    )


def test_money_follows_what_the_reader_sets(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = opened("accuracy", ran, monkeypatch)
    known = fraud_amounts(Workspace(ran))
    assert known is not None
    assert page.number_input(key="fraud-loss").value == pytest.approx(known.mean, abs=0.01)
    page.number_input(key="fraud-loss").set_value(200.0)
    page.number_input(key="alert-cost").set_value(7.0).run()
    scores, plan = scores_of(ran)
    alerts = plan.alert_budget * scores.federated.total
    recall = scores.federated.recall_at_budget(plan.alert_budget)
    assert recall is not None
    saved = 200 * recall * int(scores.federated.positive.sum()) - 7 * alerts
    assert float(metrics(page)["Saved at the alert budget"].replace(",", "")) == pytest.approx(saved, abs=0.5)
    found = shown(page, "alerts", "money saved")
    assert found["money saved"].to_list() == pytest.approx(
        [*(200 * found["frauds found"] - 7 * found["alerts"])], abs=210
    )
    best = found[found["trained"] == "federated"]["money saved"].max()
    assert float(metrics(page)["Most that can be saved"].replace(",", "")) == pytest.approx(best, abs=1)


def test_what_the_reader_set_is_read_from_the_address(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKSPACE, str(ran))

    def script() -> None:
        from app.views import accuracy

        accuracy.show()

    page = AppTest.from_function(script, default_timeout=120)
    page.query_params["fraud-loss"] = "50"
    page.query_params["alert-cost"] = "60"
    page.run()
    assert not page.exception
    assert (page.number_input(key="fraud-loss").value, page.number_input(key="alert-cost").value) == (50.0, 60.0)


def test_a_phase_of_before_shows_the_federated_curve_alone(
    ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ran, tmp_path / "work")
    (tmp_path / "work" / "coordinator" / "phases" / "pilot" / "scores.json").unlink()
    page = opened("accuracy", tmp_path / "work", monkeypatch)
    assert not page.exception
    assert not page.error
    assert {*shown(page, "precision", "recall", "trained")["trained"]} == {"federated"}
    assert "not kept for this phase" in words(page)


def test_scores_that_cannot_be_read_are_named(ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ran, tmp_path / "work")
    broken = tmp_path / "work" / "coordinator" / "phases" / "pilot" / "scores.json"
    broken.write_text("{")
    page = opened("accuracy", tmp_path / "work", monkeypatch)
    assert not page.exception
    assert str(broken) in words(page)


def test_what_noise_hides_is_not_shown(ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ran, tmp_path / "work")
    path = tmp_path / "work" / "coordinator" / "phases" / "pilot" / "scores.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"noise_variance": 100.0, "source": "released"}))
    page = opened("accuracy", tmp_path / "work", monkeypatch)
    assert not page.exception
    assert metrics(page)["Expected calibration error"] == "—"
    assert metrics(page)["Frauds promised per fraud seen"] == "—"
    assert "released with noise" in words(page)
