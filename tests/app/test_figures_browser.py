"""Curves and distributions in a real browser: drawn without a complaint, and what the reader sets is in the address."""

from __future__ import annotations

from pathlib import Path

from looking import browsing, complaints, needs_browser, served, visit


@needs_browser
def test_charts_of_a_watched_model_are_drawn_and_costs_stand_in_the_address(watched: Path) -> None:
    with served("--workspace", str(watched)) as address, browsing() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 3000})
        wrong = complaints(page, address)
        visit(page, f"{address}/monitoring", "Monitoring")
        for heading in ("Drift by bank", "Scores by window", "Label delay"):
            page.get_by_role("heading", name=heading, exact=True).wait_for()
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
