"""All of the dashboard in a real browser."""

from __future__ import annotations

from typing import Any

from looking import browsing, complaints, needs_browser, visit

from app.pages_of import PAGES


def told(phase: dict[str, Any]) -> dict[str, list[str]]:
    """What pages must say of a summary's only phase, by name of the page."""
    metrics, moved = phase["metrics"], phase["transfer"]
    auprc, gained = metrics["federated"]["auprc"], metrics["per_bank"].values()
    pairs = [(one["federated"], one["alone"]) for one in gained if None not in (one["federated"], one["alone"])]
    better = sum(own > alone for own, alone in pairs)
    ends = metrics["intervals"]["federated"]["auprc"]
    saved = f"{moved['savings_vs_csv']:.1%}".replace("%", " %")
    roster = phase["roster"]
    return {
        "overview": [f"{auprc:.3f}", f"95 %: {ends[0]:.3f} to {ends[1]:.3f}", saved, f"{phase['banks']} of {roster}"],
        "accuracy": [f"{better} of {len(pairs)} banks have a higher AUPRC"],
        "transfer": [saved, f"saved {moved['worst_bank_savings_vs_csv']:.1%}".replace("%", " %")],
        "privacy": [f"{phase['banks']} of {roster} banks accepted plan {phase['plan_hash'][:16]}"],
        "banks": [f"{roster} banks on this phase's roster"],
        "models": [f"{phase['name']} ({phase['kind']}), {phase['banks']} banks"],
    }


@needs_browser
def test_every_page_opens_in_a_browser_without_an_error_and_asks_nobody_else(
    address: str, summary: dict[str, Any]
) -> None:
    figures = told(summary["phases"][0])
    with browsing() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 2000})
        wrong = complaints(page, address)
        for one in PAGES:
            # The first page is at the root; the others are deep links.
            visit(page, address if one is PAGES[0] else f"{address}/{one.name}", one.title)
            assert page.locator('[data-testid="stException"], [data-testid="stAlertContentError"]').count() == 0
            for words in figures.get(one.name, ()):
                page.get_by_text(words).locator("visible=true").first.wait_for(timeout=10_000)
    assert wrong == []
