"""Signing in for real: a Chromium, a dashboard and an OpenID provider, all on this machine."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from issuer import SECRET, Issuer, issuing
from looking import browsing, free_port, needs_browser, served, visit
from signing import PEOPLE, access_file

NO_RIGHT = ["forged", "expired", "elsewhere"]


class Open(NamedTuple):
    """A dashboard with a login, and a browser before it."""

    address: str
    issuer: Issuer
    browser: Any
    banks: list[str]


@pytest.fixture(scope="module")
def dashboard(ran: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    banks = sorted(json.loads((ran / "summary.json").read_text())["phases"][0]["metrics"]["per_bank"])
    port = free_port()
    with issuing(PEOPLE) as issuer, browsing() as browser:
        folder = tmp_path_factory.mktemp("access")
        file = access_file(folder, issuer=issuer.address, port=port, bank=banks[0])
        with served("--workspace", str(ran), "--access", str(file), port=port) as address:
            yield Open(address, issuer, browser, banks)


@contextmanager
def coming_as(who: str, dashboard: Open) -> Iterator[Any]:
    """A page of a browser of its own, in which somebody went through the login."""
    context = dashboard.browser.new_context()
    try:
        page = context.new_page()
        visit(page, dashboard.address, "fraudfl")
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("link", name=who, exact=True).click()
        page.wait_for_url(f"{dashboard.address}/**")
        yield page
    finally:
        context.close()


def expect_button(page: Any, dashboard: Open, title: str, last: str, name: str, *, there: bool) -> None:
    """Open a page, wait for its last heading, and see whether it has a button."""
    visit(page, f"{dashboard.address}/{title.lower()}", title)
    page.get_by_role("heading", name=last).wait_for(timeout=30_000)
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=30_000)
    if there:
        page.get_by_role("button", name=name).first.wait_for(timeout=30_000)
    else:
        assert page.get_by_role("button", name=name).count() == 0


@needs_browser
@pytest.mark.parametrize(
    ("who", "says", "single", "reports", "promotes"),
    [
        ("vera", "Vera Viewer (vera@hub.example), viewer", False, False, False),
        ("ana", "Ana Analyst (ana@hub.example), analyst", True, False, False),
        ("cora", "Cora Compliance (cora@hub.example), compliance", True, True, False),
        ("otto", "Otto Operator (otto), operator", True, True, True),
    ],
)
def test_each_role_signs_in_and_finds_its_own(
    who: str, says: str, single: bool, reports: bool, promotes: bool, dashboard: Open
) -> None:
    with coming_as(who, dashboard) as page:
        page.get_by_text(says).wait_for(timeout=30_000)
        expect_button(page, dashboard, "Accuracy", "What banks gain", "AUPRC of each bank in pilot", there=single)
        expect_button(page, dashboard, "Reports", "Check a report", "Make the privacy report", there=reports)
        expect_button(page, dashboard, "Models", "Decisions on the champion", "Promote version 1", there=promotes)


@needs_browser
def test_what_people_of_a_bank_download_names_no_other_bank(dashboard: Open) -> None:
    with coming_as("bea", dashboard) as page:
        page.get_by_text(f"analyst of {dashboard.banks[0]}").wait_for(timeout=30_000)
        visit(page, f"{dashboard.address}/accuracy", "Accuracy")
        with page.expect_download() as loading:
            page.get_by_role("button", name="AUPRC of each bank in pilot").filter(has_text="(CSV)").click()
        rows = list(csv.DictReader(loading.value.path().read_text().splitlines()))
        assert [row["bank"] for row in rows] == [dashboard.banks[0]]


@needs_browser
@pytest.mark.parametrize("who", ["uma", "mal"])
def test_people_without_a_role_are_told_whom_to_ask_and_see_nothing(who: str, dashboard: Open) -> None:
    with coming_as(who, dashboard) as page:
        page.get_by_text("has no role here. Ask the desk (desk@hub.example) for one.").wait_for(timeout=30_000)
        page.goto(f"{dashboard.address}/accuracy")
        page.get_by_text("has no role here").wait_for(timeout=30_000)
        assert page.locator('[data-testid="stSidebarNav"], [data-testid="stDataFrame"]').count() == 0
        assert page.get_by_role("heading").all_inner_texts() == ["fraudfl"]


@needs_browser
@pytest.mark.parametrize("who", NO_RIGHT)
def test_a_token_that_is_forged_expired_or_for_somebody_else_lets_nobody_in(who: str, dashboard: Open) -> None:
    with coming_as(who, dashboard) as page:
        # Back at the door; the issuer was asked for a token, and what it gave was not believed.
        page.get_by_role("button", name="Log in").wait_for(timeout=30_000)
        assert dashboard.issuer.asked[-3:].count("/token") == 1
        assert not [one for one in page.context.cookies() if one["name"] == "_streamlit_user"]


@needs_browser
def test_a_cookie_that_somebody_wrote_lets_nobody_in(dashboard: Open) -> None:
    with coming_as("vera", dashboard) as page:
        page.get_by_text("viewer").first.wait_for(timeout=30_000)
        cookie = next(one for one in page.context.cookies() if one["name"] == "_streamlit_user")
        head, _, tail = cookie["value"].strip('"').partition(".")
        page.context.add_cookies([cookie | {"value": f"{head[:-4]}AAAA.{tail}"}])
        page.goto(dashboard.address)
        page.get_by_role("button", name="Log in").wait_for(timeout=30_000)


@needs_browser
def test_logging_out_ends_the_session_here_and_at_the_issuer(dashboard: Open) -> None:
    with coming_as("otto", dashboard) as page:
        page.get_by_role("button", name="Log out").click()
        page.get_by_role("heading", name="You are logged out").wait_for(timeout=30_000)
        visit(page, f"{dashboard.address}/models", "fraudfl")
        page.get_by_role("button", name="Log in").wait_for(timeout=30_000)


def typed(process: psutil.Process) -> list[str]:
    """A process' command; nothing of one that has ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_the_clients_secret_is_in_one_private_file_that_goes_with_the_dashboard(ran: Path, tmp_path: Path) -> None:
    port = free_port()
    file = access_file(tmp_path, issuer="http://127.0.0.1:1", port=port, bank="bank-01")
    mine = psutil.Process()
    with served("--workspace", str(ran), "--access", str(file), port=port):
        begun = [one for one in mine.children(recursive=True) if str(port) in " ".join(typed(one))]
        assert len(begun) == 2
        option = "--secrets.files="
        given = next(part for one in begun for part in one.cmdline() if part.startswith(option))
        kept = Path(given.removeprefix(option))
        assert SECRET in kept.read_text()
        assert kept.stat().st_mode & 0o777 == 0o600
        for one in begun:
            assert SECRET not in " ".join([*one.cmdline(), *one.environ().values()])
    assert not kept.parent.exists()
