"""The pages, in order, each with the name that stands in its address."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.views import accuracy, banks, models, monitoring, overview, privacy, reports, transfer


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
        name: In its address.
        icon: Of Google's Material set, which Streamlit ships.
        show: Draws it.
    """

    name: str
    title: str
    icon: str
    show: Callable[[], None]


PAGES = (
    Page("overview", "Overview", ":material/dashboard:", overview.show),
    Page("accuracy", "Accuracy", ":material/target:", accuracy.show),
    Page("transfer", "Transfer", ":material/swap_vert:", transfer.show),
    Page("privacy", "Privacy", ":material/shield:", privacy.show),
    Page("banks", "Banks", ":material/account_balance:", banks.show),
    Page("models", "Models", ":material/deployed_code:", models.show),
    Page("monitoring", "Monitoring", ":material/monitoring:", monitoring.show),
    Page("reports", "Reports", ":material/description:", reports.show),
)
