"""`fraudfl models …`: what an operator is told, and how each command ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fraudfl.command import run_command
from fraudfl.models.bundle import Bundle
from server.commands.models import models_app
from server.models.bundles import Models
from server.store.workspace import Workspace
from server.trust.pki import Pki


class Said(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


Call = Callable[..., Said]
WORD = ("--by", "Ada Example", "--reason", "agreed")


@pytest.fixture
def call(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command as the process would, with its own ending of errors."""

    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str | Path) -> Said:
        monkeypatch.setattr(sys, "argv", ["models", *map(str, words), "-w", str(workspace.path)])
        with pytest.raises(SystemExit) as ended:
            run_command(models_app)
        said = capsys.readouterr()
        return Said(int(ended.value.code or 0), said.out, said.err)

    return run


def test_the_list_shows_every_version_with_alias_figure_and_window(call: Call) -> None:
    call("promote", "2", *WORD)
    code, out, _ = call("list")
    lines = out.splitlines()
    assert code == 0
    assert len(lines) == 4
    assert "champion" in lines[2]
    assert "challenger" in lines[3]
    assert all("2025-02-12 to 2025-03-01" in line for line in lines[1:])


def test_json_holds_what_a_dashboard_needs(call: Call) -> None:
    listed: list[dict[str, Any]] = json.loads(call("list", "--json").out)
    assert [one["number"] for one in listed] == [1, 2, 3]
    assert listed[1]["start"]["parent"] == 1
    assert json.loads(call("show", "2", "--json").out) == listed[1]
    assert listed[1]["tested"] == ["2025-02-12", "2025-03-01"]


def test_show_says_everything_about_one_version(call: Call) -> None:
    out = call("show", "2").out
    for part in ("pilot", "parent 1", "2025-01-06, 2025-02-04", "auprc", "plan hash"):
        assert part in out


def test_a_worse_challenger_is_refused_with_exit_code_three_and_nothing_changes(call: Call) -> None:
    assert call("promote", "2", *WORD).code == 0
    code, out, _ = call("promote", "challenger", *WORD)
    assert code == 3
    assert out.startswith("refused: the challenger is not better: auprc ")
    assert json.loads(call("show", "champion", "--json").out)["number"] == 2


def test_force_is_by_name_and_stays_in_the_record(call: Call) -> None:
    call("promote", "2", *WORD)
    assert call("promote", "3", "--force").code == 2
    code, out, _ = call("promote", "3", "--force", *WORD)
    assert code == 0
    assert "version 3 is champion by force, decided by Ada Example" in out
    recorded = call("decisions").out
    assert "promote by force: version 3 in place of 2, by Ada Example: agreed" in recorded


def test_a_rollback_brings_the_one_before_back(call: Call) -> None:
    call("promote", "1", *WORD)
    call("promote", "2", *WORD)
    code, out, _ = call("rollback", "--by", "Bo", "--reason", "alerts doubled")
    assert (code, "version 1 is champion again" in out) == (0, True)
    code, _, err = call("rollback", "--by", "Bo", "--reason", "again")
    assert code == 1
    assert "there is no way back" in err
    decisions = json.loads(call("decisions", "--json").out)
    assert [(one["action"], one["champion"]) for one in decisions] == [
        ("promote", 1),
        ("promote", 2),
        ("rollback", 1),
    ]


def test_compare_tells_the_difference_and_changes_nothing(call: Call) -> None:
    code, out, _ = call("compare", "2", "1")
    assert code == 0
    assert out.startswith("version 2 against 1: auprc ")
    assert "2 banks, row by row" in out
    facts = json.loads(call("compare", "2", "1", "--json").out)
    assert facts["value"] == pytest.approx(facts["difference"]["challenger"] - facts["difference"]["champion"])
    assert json.loads(call("decisions", "--json").out) == []


def test_an_export_is_signed_for_banks(call: Call, workspace: Workspace, tmp_path: Path) -> None:
    code, out, _ = call("export", "2", tmp_path / "for-banks")
    assert (code, "version 2, digest" in out) == (0, True)
    Bundle.load(tmp_path / "for-banks", signed_by=Pki(workspace.coordinator / "pki").operator)


def test_aliases_that_somebody_moved_are_set_again_and_told_of(call: Call, workspace: Workspace) -> None:
    call("promote", "1", *WORD)
    Models(workspace).point("champion", 3)
    code, out, err = call("list", "--json")
    assert code == 0
    assert "set again to what the signed decisions say" in err
    assert [one["number"] for one in json.loads(out) if "champion" in one["aliases"]] == [1]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("show", "9"), 1, "no version '9'; it has 1, 2, 3 (challenger)"),
        (("promote", "2", "--by", "Ada", "--reason", " "), 2, "reason: "),
        (("promote", "2"), 2, "Missing option"),
        (("compare",), 1, "no version 'champion'"),
    ],
)
def test_mistakes_end_in_a_message_and_a_code(call: Call, words: tuple[str, ...], code: int, told: str) -> None:
    said = call(*words)
    assert said.code == code
    assert told in said.err
