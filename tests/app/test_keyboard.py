"""The dashboard by keyboard alone: every step is a key, and what a key has reached can be seen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import CONFIG
from looking import browsing, needs_browser, served, visit

MOST_TABS = 80
SECOND = "  - {name: second, rounds: 2, baselines: []}\n"


@pytest.fixture(scope="module")
def two_phases(ran: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, gone on to a second phase."""
    folder = tmp_path_factory.mktemp("two")
    shutil.copytree(ran, folder / "work")
    (folder / "two.yaml").write_text(CONFIG + SECOND)
    command = [sys.executable, "-m", "server.cli", "run", "two.yaml", "--workspace", "work", "--resume", "--quiet"]
    subprocess.run(command, cwd=folder, check=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return folder / "work"


def reach(page: Any, selector: str) -> None:
    """Press Tab until the focus is on what a selector names, and check that it can be seen there."""
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            break
    else:
        raise AssertionError(f"{MOST_TABS} times Tab do not reach {selector}")
    # A rim of its own, or one on the box around an input.
    rims = """() => {
        const rim = one => { const s = getComputedStyle(one); return parseFloat(s.outlineWidth) && s.outlineStyle; };
        return [document.activeElement, document.activeElement.parentElement].map(rim);
    }"""
    assert "solid" in page.evaluate(rims), f"nothing shows that {selector} has the focus"


@needs_browser
def test_a_page_a_phase_a_table_and_its_csv_are_reached_by_keys(two_phases: Path) -> None:
    with served("--workspace", str(two_phases)) as address, browsing() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1600})
        visit(page, address, "Overview")
        reach(page, '[data-testid="stSidebarNavLink"][href$="/transfer"]')
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Transfer", exact=True).wait_for()
        page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
        reach(page, '[data-testid="stSelectbox"] input')
        page.keyboard.press("ArrowDown")
        page.get_by_role("option", name="second").wait_for()
        page.keyboard.type("second")
        page.keyboard.press("Enter")
        page.wait_for_url("**/transfer?phase=second")
        page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
        reach(page, '[data-testid="stExpander"] summary')
        page.keyboard.press("Enter")
        page.locator('[data-testid="stExpander"] details[open]').first.wait_for()
        reach(page, '[data-testid="stExpander"] [data-testid="stDownloadButton"] button')
        with page.expect_download() as told:
            page.keyboard.press("Enter")
        lines = Path(told.value.path()).read_text().splitlines()
        assert lines[0] == "round,way,MB"
        assert len(lines) == 1 + 2 * 2
