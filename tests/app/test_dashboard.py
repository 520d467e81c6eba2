"""The dashboard over a workspace that a real run left: its pages by themselves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from looking import opened, words

from app.pages_of import PAGES
from app.parts import documents
from app.parts.tables import as_csv
from fraudfl.errors import TrustError
from fraudfl.report.sealing import SEAL_FILE
from pipelines.world import State
from server.store.checkpoint import FileCheckpoints
from server.store.workspace import Workspace

NAMES = [page.name for page in PAGES]


@pytest.mark.parametrize("name", NAMES)
def test_a_page_of_an_empty_folder_says_what_to_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = opened(name, tmp_path / "work", monkeypatch)
    assert not page.exception
    assert not page.error
    assert "fraudfl run configs/quickstart.yaml" in words(page)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_page_of_a_run_opens_without_an_error(name: str, ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = opened(name, ran, monkeypatch)
    assert not page.exception
    assert not page.error
    assert not page.warning


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_summary_keeps_no_page_from_opening(
    name: str, ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ran, tmp_path / "work")
    (tmp_path / "work" / "summary.json").write_text('{"phases": [')
    page = opened(name, tmp_path / "work", monkeypatch)
    assert not page.exception
    assert not page.error
    if name == "overview":
        assert any(str(tmp_path / "work" / "summary.json") in str(one.value) for one in page.warning)


def test_a_broken_outcome_is_named(ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ran, tmp_path / "work")
    broken = tmp_path / "work" / "coordinator" / "phases" / "pilot" / "result.json"
    broken.write_text("{")
    page = opened("overview", tmp_path / "work", monkeypatch)
    assert not page.exception
    assert str(broken) in words(page)


def test_figures_of_the_overview_are_those_of_the_summary(
    ran: Path, summary: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = opened("overview", ran, monkeypatch)
    shown = {one.label: (one.value, one.delta) for one in page.metric}
    phase = summary["phases"][0]
    own, ends = phase["metrics"]["federated"], phase["metrics"]["intervals"]["federated"]
    assert shown["AUPRC"][0] == f"{own['auprc']:.3f}"
    assert f"{ends['auprc'][0]:.3f} to {ends['auprc'][1]:.3f}" in shown["AUPRC"][1]
    assert shown["Balanced accuracy"][0] == f"{own['balanced_accuracy']:.1%}".replace("%", " %")
    assert shown["Recall at alert budget"][0] == f"{own['recall_at_budget']:.1%}".replace("%", " %")
    saved = phase["transfer"]["savings_vs_csv"]
    assert shown["Transfer saved against CSV"][0] == f"{saved:.1%}".replace("%", " %")
    assert shown["Banks taking part"][0] == f"{phase['banks']} of {phase['roster']}"
    assert shown["ε spent of budget"][0] == "none promised"


def test_bytes_by_bank_and_by_phase_are_those_of_the_summary(
    ran: Path, summary: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = opened("transfer", ran, monkeypatch)
    moved = summary["phases"][0]["transfer"]
    tables = [one.value for one in page.dataframe]
    by_bank = next(one for one in tables if "bank" in one.columns and "round" not in one.columns)
    assert by_bank["up, MB"].sum() * 1e6 == pytest.approx(moved["bytes_up"])
    assert by_bank["down, MB"].sum() * 1e6 == pytest.approx(moved["bytes_down"])
    by_phase = next(one for one in tables if "raw CSV, MB" in one.columns)
    assert by_phase["raw CSV, MB"][0] == pytest.approx(moved["raw_csv_bytes"] / 1e6, abs=1e-3)


def test_bytes_of_a_bank_by_round_are_those_that_the_events_told(
    ran: Path, summary: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = opened("transfer", ran, monkeypatch)
    events = (ran / "coordinator" / "phases" / "pilot" / "events.jsonl").read_text().splitlines()
    last = [event for event in map(json.loads, events) if event["event"] == "round"][-1]
    shown = next(one.value for one in page.dataframe if {"bank", "round"} <= {*one.value.columns})
    assert {*shown["round"]} == set(range(1, summary["phases"][0]["rounds"] + 1))
    for bank, (up, down) in last["by_bank"].items():
        rows = shown[shown["bank"] == bank]
        assert rows["up, MB"].sum() * 1e6 == pytest.approx(up)
        assert rows["down, MB"].sum() * 1e6 == pytest.approx(down)
    page.selectbox(key="bank").select("bank-02").run()
    assert not page.exception
    of_one = next(one.value for one in page.dataframe if {"way", "round"} <= {*one.value.columns})
    assert of_one["MB"].sum() * 1e6 == pytest.approx(sum(last["by_bank"]["bank-02"]))


def test_what_the_codec_saved_is_stated_from_the_vectors_that_were_sent(
    ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = opened("transfer", ran, monkeypatch)
    state, _ = State.from_checkpoint(FileCheckpoints(ran / "coordinator/phases/pilot/checkpoints").latest())
    up = state.weights["up"]
    assert up.vectors == 4 * 4
    assert f"{up.vectors} vectors of {state.model.size:,} weights, {up.saved(state.model.size):.1%}".replace(
        "%", " %"
    ) in words(page)


def test_gains_of_banks_are_those_of_the_summary(
    ran: Path, summary: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = opened("accuracy", ran, monkeypatch)
    shown = next(one.value for one in page.dataframe if "gain" in one.value.columns).set_index("bank")
    expected = summary["phases"][0]["metrics"]["per_bank"]
    assert {*shown.index} <= {*expected}
    for bank, row in shown.iterrows():
        assert row["federated"] == expected[bank]["federated"]
        assert [row["low"], row["high"]] == expected[bank]["interval"]


def test_a_phase_that_has_no_outcome_is_followed(ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ran, tmp_path / "work")
    folder = tmp_path / "work" / "coordinator" / "phases" / "pilot"
    (folder / "result.json").unlink()
    page = opened("overview", tmp_path / "work", monkeypatch)
    assert not page.exception
    assert "is under way" in words(page)
    # The newest round that the events tell of.
    told = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    last = [event for event in told if event["event"] == "round"][-1]
    assert f"AUPRC on validation rows {last['auprc']:.3f}" in words(page) or "auprc" not in last


def test_a_registry_that_a_run_is_making_just_now_is_left_alone(
    ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ran, tmp_path / "work")
    database = tmp_path / "work" / "mlflow.db"
    database.write_bytes(b"")
    page = opened("models", tmp_path / "work", monkeypatch)
    assert not page.exception
    assert "No model is registered yet" in words(page)
    assert database.read_bytes() == b""


def test_a_report_that_was_made_here_is_verified_and_a_changed_one_is_not(ran: Path) -> None:
    workspace = Workspace(ran)
    files = documents.make(workspace, "results")
    key = workspace.coordinator / "pki" / "operator.pub"
    keys = [key] if key.exists() else []
    if SEAL_FILE not in files:
        with pytest.raises(TrustError, match="there is no signature"):
            documents.verify(files, keys)
        return
    assert documents.verify(files, keys).subject == "small"
    changed = files | {"report.json": files["report.json"] + b" "}
    with pytest.raises(TrustError, match=r"^report\.json: was changed"):
        documents.verify(changed, keys)
    with pytest.raises(TrustError, match=r"notes\.txt"):
        documents.verify(files | {"notes.txt": b""}, keys)


@pytest.mark.parametrize("kind", ["privacy", "results"])
def test_a_report_is_made_on_its_page(kind: str, ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = opened("reports", ran, monkeypatch)
    page.button(key=f"make-{kind}").click().run(timeout=120)
    assert not page.exception
    assert not page.error
    files = page.session_state[f"report {kind} of {ran.resolve()}"]
    assert {*files} <= {*documents.NAMES}
    assert files["report.pdf"].startswith(b"%PDF-")


def test_a_text_that_a_spreadsheet_would_run_stays_text() -> None:
    assert as_csv([{"bank": "=1+1", "gain": -0.5}]).splitlines() == ["bank,gain", "'=1+1,-0.5"]
