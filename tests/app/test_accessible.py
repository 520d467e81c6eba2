"""No serious finding of axe on any page, light or dark, with everything opened, nor where nothing is stored."""

from __future__ import annotations

from pathlib import Path

import pytest
from looking import browsing, needs_browser, open_all, served, severe_findings, visit

from app.pages_of import PAGES


def all_findings(address: str, scheme: str) -> list[str]:
    found: list[str] = []
    with browsing() as browser:
        page = browser.new_page(viewport={"width": 1440, "height": 1200}, color_scheme=scheme)
        for one in PAGES:
            visit(page, f"{address}/{one.name}" if one is not PAGES[0] else address, one.title)
            open_all(page)
            found += severe_findings(page, one.name)
    return found


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_of_a_run_has_a_serious_finding(scheme: str, address: str) -> None:
    assert all_findings(address, scheme) == []


@needs_browser
def test_no_page_has_a_serious_finding_where_nothing_is_stored(tmp_path: Path) -> None:
    with served("--workspace", str(tmp_path / "work")) as address:
        assert all_findings(address, "light") == []


@needs_browser
def test_a_finding_would_be_told(address: str) -> None:
    with browsing() as browser:
        page = browser.new_page(viewport={"width": 1440, "height": 1200})
        visit(page, address, PAGES[0].title)
        page.evaluate("document.querySelector('h1').insertAdjacentHTML('afterend', '<img src=\"data:,\">')")
        assert any("image-alt (critical)" in one for one in severe_findings(page, "overview"))
