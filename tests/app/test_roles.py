"""What each role sees of a real run, and that a deed is refused where it is done."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from looking import opened, words
from signing import access_file, claims
from streamlit.testing.v1 import AppTest

from app.pages_of import PAGES
from app.parts.deciding import Question
from app.place import ACCESS, BANK
from server.store.workspace import Workspace

NAMES = [page.name for page in PAGES]


@pytest.fixture
def banks(ran: Path) -> list[str]:
    return sorted(json.loads((ran / "summary.json").read_text())["phases"][0]["metrics"]["per_bank"])


@pytest.fixture
def login(tmp_path: Path, banks: list[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An access file that holds for the pages; Bea is of the first bank."""
    path = access_file(tmp_path, issuer="http://127.0.0.1:1", port=1, bank=banks[0])
    monkeypatch.setenv(ACCESS, str(path))
    return path


def sent(node: Any) -> Iterator[bytes]:
    """All that a page sends to the browser, but for the list of who is a member."""
    proto = getattr(node, "proto", None)
    if proto is not None and "Members on the signed roster" not in str(proto):
        yield proto.SerializeToString()
    for child in getattr(node, "children", {}).values():
        yield from sent(child)


def named(page: AppTest, banks: list[str]) -> set[str]:
    """The banks whose names a page sends."""
    whole = b"".join(sent(page.main))
    return {bank for bank in banks if bank.encode() in whole}


@pytest.mark.parametrize("name", NAMES)
def test_a_viewer_gets_no_figure_of_a_single_bank(
    name: str, ran: Path, banks: list[str], login: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = opened(name, ran, monkeypatch, claims("vera"))
    assert not page.exception
    assert not page.error
    assert named(page, banks) == set()


@pytest.mark.parametrize("name", NAMES)
def test_people_of_a_bank_get_that_banks_figures_alone(
    name: str, ran: Path, banks: list[str], login: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = opened(name, ran, monkeypatch, claims("bea"))
    assert not page.exception
    assert not page.error
    single = {banks[0]} if name in ("accuracy", "transfer", "privacy", "banks") else set()
    assert named(page, banks) == single


@pytest.mark.parametrize("name", ["accuracy", "transfer", "privacy", "banks"])
@pytest.mark.parametrize("who", ["ana", "otto", "cora"])
def test_others_of_the_consortium_get_every_banks_figures(
    name: str, who: str, ran: Path, banks: list[str], login: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = opened(name, ran, monkeypatch, claims(who))
    assert named(page, banks) == {*banks}


def test_whoever_looks_as_a_bank_on_this_machine_is_shown_that_bank(
    ran: Path, banks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BANK, banks[1])
    assert named(opened("accuracy", ran, monkeypatch), banks) == {banks[1]}
    assert named(opened("transfer", ran, monkeypatch), banks) == {banks[1]}
    assert not any("Make the" in one.label for one in opened("reports", ran, monkeypatch).button)


@pytest.mark.parametrize(
    ("who", "deeds"),
    [
        ("vera", {"audit": False, "report": False, "promote": False}),
        ("ana", {"audit": False, "report": False, "promote": False}),
        ("bea", {"audit": False, "report": False, "promote": False}),
        ("cora", {"audit": True, "report": True, "promote": False}),
        ("otto", {"audit": True, "report": True, "promote": True}),
    ],
)
def test_each_role_is_offered_its_own_deeds(
    who: str, deeds: dict[str, bool], ran: Path, login: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = claims(who)
    assert ("Audit" in [one.value for one in opened("privacy", ran, monkeypatch, user).header]) == deeds["audit"]
    reports = [one.label for one in opened("reports", ran, monkeypatch, user).button]
    assert ("Make the privacy report" in reports) == deeds["report"]
    models = [one.label for one in opened("models", ran, monkeypatch, user).button]
    assert ("Promote version 1" in models) == deeds["promote"]


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ({}, "Sign in"),
        ({"is_logged_in": False}, "Sign in"),
        (claims("otto") | {"iat": time.time() - 9 * 3600}, "session has ended"),
        (claims("otto") | {"iat": None}, "session has ended"),
        (claims("uma"), r"Uma \*Unknown\* (uma@hub.example) has no role here. Ask the desk (desk@hub.example)"),
        (claims("mal"), "Mal (mal) has no role here"),
    ],
)
@pytest.mark.parametrize("name", ["overview", "reports"])
def test_whoever_has_no_role_sees_why_and_nothing_else(
    name: str, user: dict[str, Any], said: str, ran: Path, login: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = opened(name, ran, monkeypatch, user)
    assert said in words(page)
    assert not page.metric
    assert not page.dataframe
    assert not page.header
    assert not page.button


def test_a_role_that_was_taken_away_counts_from_the_next_look_on(
    ran: Path, banks: list[str], login: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = opened("transfer", ran, monkeypatch, claims("ana"))
    assert named(page, banks) == {*banks}
    login.write_text(login.read_text().replace("ana@hub.example, role: analyst", "ana@hub.example, role: viewer"))
    assert named(page.run(), banks) == set()
    login.write_text("people: []")
    page.run()
    assert "Who may look cannot be told just now" in words(page)
    assert not page.metric


@pytest.mark.parametrize("who", ["vera", "ana", "bea", "cora", "uma"])
def test_a_promotion_that_no_button_offered_is_refused_where_it_is_done(
    who: str, ran: Path, login: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deed() -> None:
        from app.parts import deeds
        from app.place import here

        arguments = ["models", "promote", "1", "--by=nobody", "--reason=none"]
        deeds.begin("promote or roll back", here(), "Promoting", arguments)

    monkeypatch.setenv("FRAUDFL_DASHBOARD_WORKSPACE", str(ran))
    page = AppTest.from_function(deed)
    page.user = claims(who)
    page.run()
    assert "AccessRefused" in str(page.exception[0].stack_trace) + page.exception[0].message
    assert not (ran / "coordinator" / "decisions.jsonl").exists()


@pytest.mark.parametrize("who", ["vera", "cora"])
def test_a_session_that_was_tampered_with_promotes_nothing(
    who: str, ran: Path, login: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = opened("models", ran, monkeypatch, claims(who))
    page.session_state["decision asked"] = Question("Promote", "", "Promoting", ("models", "promote", "1"))
    page.session_state["role"] = "operator"
    page.run()
    assert not page.exception
    assert not any("Promote" in one.label for one in page.button)
    assert not (ran / "coordinator" / "decisions.jsonl").exists()


@pytest.mark.parametrize("who", ["vera", "ana", "bea"])
def test_a_report_that_no_button_offered_is_refused_where_it_is_made(
    who: str, ran: Path, login: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deed() -> None:
        from app.parts import documents
        from app.place import here

        documents.make(here(), "privacy")

    monkeypatch.setenv("FRAUDFL_DASHBOARD_WORKSPACE", str(ran))
    page = AppTest.from_function(deed)
    page.user = claims(who)
    page.run()
    assert "AccessRefused" in str(page.exception[0].stack_trace) + page.exception[0].message


def test_what_a_bank_gives_as_its_reason_is_shown_as_text(
    ran: Path, banks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ran, tmp_path / "work")
    folder = Workspace(tmp_path / "work").phase("pilot").path
    (folder / "result.json").unlink()
    reason = "![seen](http://127.0.0.1:1/x.png) <b>:red[now]</b>"
    with (folder / "events.jsonl").open("a") as file:
        file.write(json.dumps({"event": "waiting", "time": time.time(), "banks": {banks[0]: reason}}) + "\n")
    page = opened("overview", tmp_path / "work", monkeypatch)
    assert not page.exception
    shown = next(str(one.value) for one in page.markdown if "Waiting for" in str(one.value))
    # Each character with which Markdown would begin an image, a tag or a colour has lost that meaning.
    said = r"!\[seen\](http\://127.0.0.1\:1/x.png) \<b\>\:red\[now\]\</b\>"
    assert shown == f"Waiting for: {banks[0]} ({said})"


@pytest.mark.parametrize(("who", "told"), [("otto", True), ("vera", False), ("bea", False)])
def test_what_is_wrong_with_a_banks_records_is_told_to_those_who_may_look_at_it(
    who: str, told: bool, ran: Path, banks: list[str], tmp_path: Path, login: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ran, tmp_path / "work")
    (tmp_path / "work" / "banks" / banks[1] / "ledger.db").write_bytes(b"no database")
    page = opened("privacy", tmp_path / "work", monkeypatch, claims(who))
    assert not page.exception
    said = " ".join(str(one.value) for one in page.warning)
    assert said
    assert (banks[1] in said) == told
