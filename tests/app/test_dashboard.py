"""The dashboard over a workspace that a real run left: its pages by themselves, and all of it in a browser."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app.pages_of import PAGES
from app.parts import documents
from app.parts.tables import as_csv
from app.place import WORKSPACE
from fraudfl.errors import TrustError
from fraudfl.report.sealing import SEAL_FILE
from server.store.workspace import Workspace

CONFIG = """
consortium: {name: small, seed: 5}
data:
  generator: {banks: 4, transactions: 12000, days: 60, fraud_rate: 0.04}
split: {origin: 2025-01-01, train_days: [5, 34], test_days: [42, 59]}
features: {windows_days: [1, 7]}
model: {hidden: [16]}
training: {batch_size: 32, local_epochs: 4}
phases:
  - {name: pilot, rounds: 4, codec: {up: topk, down: int8}}
"""
NAMES = [page.name for page in PAGES]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# Streamlit asks for these below the page's own path first, to find out where it is mounted.
PROBES = ("/_stcore/health", "/_stcore/host-config")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that `fraudfl run` left."""
    folder = tmp_path_factory.mktemp("ran")
    (folder / "small.yaml").write_text(CONFIG)
    command = [sys.executable, "-m", "server.cli", "run", "small.yaml", "--workspace", "work", "--quiet"]
    subprocess.run(command, cwd=folder, check=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return folder / "work"


@pytest.fixture(scope="module")
def summary(ran: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ran / "summary.json").read_text())
    return found


def opened(name: str, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """One page of a workspace, after it was drawn."""
    monkeypatch.setenv(WORKSPACE, str(workspace))

    def script(name: str) -> None:
        from app.pages_of import PAGES

        next(page for page in PAGES if page.name == name).show()

    return AppTest.from_function(script, kwargs={"name": name}, default_timeout=120).run()


def words(page: AppTest) -> str:
    """All that a page says in words."""
    parts = [*page.markdown, *page.caption, *page.info, *page.warning, *page.error, *page.code, *page.title]
    return "\n".join(str(part.value) for part in parts)


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
    by_bank = next(one for one in tables if "bank" in one.columns)
    assert by_bank["up, MB"].sum() * 1e6 == pytest.approx(moved["bytes_up"])
    assert by_bank["down, MB"].sum() * 1e6 == pytest.approx(moved["bytes_down"])
    by_phase = next(one for one in tables if "raw CSV, MB" in one.columns)
    assert by_phase["raw CSV, MB"][0] == pytest.approx(moved["raw_csv_bytes"] / 1e6, abs=1e-3)


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


@pytest.fixture(scope="module")
def address(ran: Path) -> Iterator[str]:
    """Where a really started `fraudfl dashboard` answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "server.cli", "dashboard", "--workspace", str(ran), "--port", str(port)]
    where = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            wait_for(f"{where}/_stcore/health", process)
            yield where
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)


def wait_for(url: str, process: subprocess.Popen[str]) -> None:
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        assert process.poll() is None, process.communicate()[0]
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} does not answer")


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_every_page_opens_in_a_browser_without_an_error_and_asks_nobody_else(
    address: str, summary: dict[str, Any]
) -> None:
    api = pytest.importorskip("playwright.sync_api")
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    wrong: list[str] = []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=options)
        page = browser.new_page(viewport={"width": 1280, "height": 2000})
        page.on("pageerror", lambda error: wrong.append(f"page error: {error}"))
        page.on("console", lambda said: wrong.append(f"{said.type}: {said.text}") if is_wrong(said) else None)
        page.on("request", lambda one: wrong.append(one.url) if is_foreign(one.url, address) else None)
        for one in PAGES:
            # The first page is at the root; the others are deep links.
            page.goto(address if one is PAGES[0] else f"{address}/{one.name}")
            page.get_by_role("heading", name=one.title, exact=True).first.wait_for(timeout=60_000)
            page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=60_000)
            assert page.locator('[data-testid="stException"], [data-testid="stAlertContentError"]').count() == 0
            if one is PAGES[0]:
                auprc = summary["phases"][0]["metrics"]["federated"]["auprc"]
                page.get_by_text(f"{auprc:.3f}", exact=True).first.wait_for()
        browser.close()
    assert wrong == []


def is_wrong(said: Any) -> bool:
    return said.type in ("error", "warning") and not said.location.get("url", "").endswith(PROBES)


def is_foreign(url: str, address: str) -> bool:
    return not url.startswith((address, address.replace("http", "ws"), "data:", "blob:"))
