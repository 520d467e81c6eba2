"""Promotion and rollback from the Models page: done by the command, once, with a name and a reason that are signed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from looking import browsing, needs_browser, opened, served, visit, words, workspace_of
from streamlit.testing.v1 import AppTest

from app.parts import deeds
from fraudfl.errors import RuntimeFailure
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
  - {name: pilot, rounds: 1, baselines: [], training: {local_epochs: 1, learning_rate: 0.0001}}
  - {name: rollout, kind: rollout, rounds: 6, baselines: []}
"""
"""The second version is much better than the first, so that the gate lets it pass, and never the first over it."""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two versions that a real run made; nobody has decided."""
    return workspace_of(CONFIG, tmp_path_factory.mktemp("two"))


def decisions(workspace: Path) -> list[dict[str, Any]]:
    """Every decision, after the command checked signatures and order."""
    command = [sys.executable, "-m", "server.cli", "models", "decisions", "--json", "-w", str(workspace)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    found: list[dict[str, Any]] = json.loads(said)
    return found


def button(page: AppTest, label: str) -> Any:
    return next(one for one in page.button if one.label == label)


def asked(version: int, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The Models page with a question about one version on it."""
    page = opened("models", workspace, monkeypatch)
    if page.selectbox(key="version").value != str(version):
        page.selectbox(key="version").set_value(str(version)).run()
    return button(page, f"Promote version {version}").click().run()


def answer(page: AppTest, version: int, by: str, reason: str) -> AppTest:
    page.text_input[0].set_value(by)
    page.text_area[0].set_value(reason)
    # The last of that name is the one in the dialog.
    confirm = [one for one in page.button if one.label == f"Promote version {version}"][-1]
    return confirm.click().run(timeout=300)


@pytest.fixture(scope="module")
def promoted(two: Path) -> tuple[Path, list[str]]:
    """The workspace after version 1 and then version 2 were promoted on the page, and what it said to that."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        first = answer(asked(1, two, monkeypatch), 1, "Ada Example", "the first\n*one* --force")
        second = answer(asked(2, two, monkeypatch), 2, "Ada Example", "better")
    return two, [str(page.success[0].value) for page in (first, second)]


def test_a_promotion_is_judged_signed_and_shown(promoted: tuple[Path, list[str]]) -> None:
    workspace, said = promoted
    assert "version 1 is champion" in said[0]
    assert "version 2 is champion" in said[1]
    first, second = decisions(workspace)[:2]
    assert (first["champion"], first["by"], first["reason"]) == (1, "Ada Example", "the first *one* --force")
    assert (second["champion"], second["by"], second["reason"]) == (2, "Ada Example", "better")
    assert not first["forced"]
    assert second["comparison"]["difference"]["interval"][0] > 0


def test_a_decision_without_a_reason_is_not_begun(
    promoted: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, _ = promoted
    before = decisions(workspace)
    page = answer(asked(1, workspace, monkeypatch), 1, "Ada Example", " \n")
    assert "Give your name and a reason" in words(page)
    assert decisions(workspace) == before


def test_a_version_that_is_not_better_is_refused_in_words(
    promoted: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, _ = promoted
    before = decisions(workspace)
    page = answer(asked(1, workspace, monkeypatch), 1, "Ada Example", "we liked it")
    assert not page.success
    assert "the gate says no, and nothing changed" in str(page.warning[0].value)
    assert "the challenger is not better" in str(page.warning[0].value)
    assert decisions(workspace) == before


@needs_browser
def test_an_operator_rolls_back_in_a_browser_with_two_quick_clicks_and_one_decision(
    promoted: tuple[Path, list[str]],
) -> None:
    workspace, _ = promoted
    before = decisions(workspace)
    with served("--workspace", str(workspace)) as address, browsing() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1600})
        visit(page, f"{address}/models", "Models")
        page.get_by_role("button", name="Roll back to version 1").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("textbox", name="Your name").fill("Ada Example")
        dialog.get_by_role("textbox", name="Reason").fill("too many alerts")
        dialog.get_by_role("button", name="Roll back to version 1").dblclick()
        page.get_by_text("version 1 is champion again").wait_for(timeout=120_000)
        page.get_by_text("too many alerts").first.wait_for(timeout=30_000)
        dialog.wait_for(state="hidden", timeout=30_000)
    after = decisions(workspace)
    assert len(after) == len(before) + 1
    assert (after[-1]["action"], after[-1]["champion"], after[-1]["reason"]) == ("rollback", 1, "too many alerts")


def test_one_command_at_a_time_runs_in_a_workspace(ran: Path, tmp_path: Path) -> None:
    workspace = Workspace(ran)
    first = deeds.begin("make reports", workspace, "Making one", ["report", "results", f"--out={tmp_path / 'one'}"])
    try:
        with pytest.raises(RuntimeFailure, match=r"^Making one, since .* UTC, has not ended yet"):
            deeds.begin("make reports", workspace, "Making two", ["report", "results", f"--out={tmp_path / 'two'}"])
        assert deeds.under_way(workspace) is first
    finally:
        first.end()
    assert deeds.under_way(workspace) is None
    assert not (tmp_path / "two").exists()
