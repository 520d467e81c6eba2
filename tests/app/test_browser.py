"""All of the dashboard in a real browser."""

from __future__ import annotations

from typing import Any

from looking import browsing, complaints, needs_browser, visit

from app.pages_of import PAGES


@needs_browser
def test_every_page_opens_in_a_browser_without_an_error_and_asks_nobody_else(
    address: str, summary: dict[str, Any]
) -> None:
    with browsing() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 2000})
        wrong = complaints(page, address)
        for one in PAGES:
            # The first page is at the root; the others are deep links.
            visit(page, address if one is PAGES[0] else f"{address}/{one.name}", one.title)
            assert page.locator('[data-testid="stException"], [data-testid="stAlertContentError"]').count() == 0
            if one is PAGES[0]:
                auprc = summary["phases"][0]["metrics"]["federated"]["auprc"]
                page.get_by_text(f"{auprc:.3f}", exact=True).first.wait_for()
    assert wrong == []
