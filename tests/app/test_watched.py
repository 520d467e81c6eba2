"""The monitoring page over windows that a real run watched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from looking import browsing, complaints, needs_browser, open_all, opened, served, severe_findings, visit, words
from streamlit.testing.v1 import AppTest

from app.place import BANK, WORKSPACE
from fraudfl.access.roles import Reader

WINDOWS = ["2025-03-02", "2025-03-12", "2025-03-22", "2025-04-01", "2025-04-11"]


def shown(page: AppTest, *headings: str) -> Any:
    return next(one.value for one in page.dataframe if {*headings} <= {*one.value.columns})


def transactions(watched: Path, first: str) -> int:
    """Of all banks in the ten days from a day on."""
    begins = np.datetime64(first, "us")
    times = [pq.read_table(file, columns=["time"])["time"].to_numpy() for file in watched.glob("banks/*/*.parquet")]
    return sum(int(((one >= begins) & (one < begins + np.timedelta64(10, "D"))).sum()) for one in times)


def test_the_page_opens_without_an_error_and_writes_nothing(watched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in watched.rglob("*")}
    page = opened("monitoring", watched, monkeypatch)
    assert not page.exception
    assert not page.error
    assert not page.warning
    assert {path: path.stat().st_mtime_ns for path in watched.rglob("*")} == before


def test_scores_of_each_window_are_of_all_its_transactions(watched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = shown(opened("monitoring", watched, monkeypatch), "window begins", "lowest probability")
    assert [*dict.fromkeys(found["window begins"])] == WINDOWS
    for first, part in found.groupby("window begins"):
        assert part["transactions"].sum() == transactions(watched, first)
        assert part["share, %"].sum() == pytest.approx(100)


def test_labels_of_each_window_are_counted(watched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = opened("monitoring", watched, monkeypatch)
    found = shown(page, "labels asked for", "with a label").set_index("window begins")
    assert found.loc["2025-03-02", "window is over"] == "2025-03-12"
    assert found.loc["2025-03-02", "labels asked for"] == "2025-03-22"
    for first, row in found.iterrows():
        assert row["transactions"] == transactions(watched, str(first))
        assert row["labels known, %"] == pytest.approx(100 * row["with a label"] / row["transactions"])
    assert [one.value for one in page.metric if one.label.startswith("Labels are asked for")] == ["10 days"]
    assert "kind `assessment`" in words(page)


def test_drift_of_each_bank_is_what_that_bank_keeps(watched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = opened("monitoring", watched, monkeypatch)
    page.selectbox(key="moved").set_value("amount").run()
    assert not page.exception
    found = shown(page, "bank", "PSI")
    assert len(found) == 4 * 2
    for _, row in found.iterrows():
        kept = [json.loads(path.read_text()) for path in watched.glob(f"banks/{row['bank']}/monitoring/*/[0-9].json")]
        own = next(one for one in kept if one["window"].startswith(row["window begins"]))
        assert row["PSI"] == next(one["psi"] for one in own["drifts"] if one["name"] == "amount")


def test_drift_of_single_banks_is_not_shown_to_who_may_not_look(watched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.roles.reader", lambda: Reader("viewer"))
    page = opened("monitoring", watched, monkeypatch)
    assert not page.exception
    assert not [one for one in page.dataframe if {"bank", "PSI"} <= {*one.value.columns}]
    assert "stays at that bank" in words(page)


def test_a_bank_s_view_shows_that_bank_s_own_drift(watched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BANK, "bank-02")
    page = opened("monitoring", watched, monkeypatch)
    assert not page.exception
    assert {*shown(page, "bank", "PSI")["bank"]} == {"bank-02"}


def test_where_banks_are_elsewhere_the_page_says_where_their_drift_is(
    watched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(watched, tmp_path / "work", ignore=shutil.ignore_patterns("banks"))
    page = opened("monitoring", tmp_path / "work", monkeypatch)
    assert not page.exception
    assert not page.error
    assert "bank-node monitoring" in words(page)
    assert shown(page, "window begins", "lowest probability") is not None


def test_a_bank_s_broken_report_is_named(watched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(watched, tmp_path / "work")
    broken = next((tmp_path / "work" / "banks").glob("bank-02/monitoring/*/3.json"))
    broken.write_text("{")
    page = opened("monitoring", tmp_path / "work", monkeypatch)
    assert not page.exception
    assert any(str(broken) in str(one.value) for one in page.warning)


def test_a_window_is_chosen_in_the_address(watched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKSPACE, str(watched))

    def script() -> None:
        from app.views import monitoring

        monitoring.show()

    page = AppTest.from_function(script, default_timeout=120)
    page.query_params["window"] = WINDOWS[1]
    page.run()
    assert not page.exception
    assert page.selectbox(key="window").value == WINDOWS[1]
    assert "scored fewer than 3 windows before this one" in words(page)


def test_shares_in_the_table_of_windows_are_in_the_unit_of_their_headings(
    watched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = shown(opened("monitoring", watched, monkeypatch), "window", "alerts per transaction (%)")
    events = (watched / "coordinator").glob("phases/*/events.jsonl")
    told = [event for path in events for event in map(json.loads, path.read_text().splitlines())]
    rates = {event["number"]: event["alert_rate"] for event in told if event["event"] == "window"}
    assert rates
    for _, row in table.iterrows():
        assert row["alerts per transaction (%)"] == pytest.approx(100 * rates[row["window"]], rel=1e-3)


@needs_browser
def test_charts_of_a_watched_model_are_drawn_and_costs_stand_in_the_address(watched: Path) -> None:
    with served("--workspace", str(watched)) as address, browsing() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 3000})
        wrong = complaints(page, address)
        visit(page, f"{address}/monitoring", "Monitoring")
        for heading in ("Drift by bank", "Scores by window", "Label delay"):
            page.get_by_role("heading", name=heading, exact=True).wait_for()
        open_all(page)
        assert severe_findings(page, "monitoring") == []
        visit(page, f"{address}/accuracy?fraud-loss=50&alert-cost=3", "Accuracy")
        cost = page.get_by_label("Cost of looking at one alert")
        assert (page.get_by_label("Mean loss per fraud that is not found").input_value(), cost.input_value()) == (
            "50.00",
            "3.00",
        )
        cost.fill("4")
        cost.press("Enter")
        page.wait_for_url("**alert-cost=4*")
        # Every chart has words for those who do not see it.
        charts = page.locator('[data-testid="stVegaLiteChart"]')
        assert charts.count() >= 7
        assert all(charts.nth(place).get_attribute("aria-label") for place in range(charts.count()))
        assert wrong == []
