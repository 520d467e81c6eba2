"""`bank-node gain`: the table, other terms, JSON, and what is said where there is nothing to say."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from memory_fleet import Consortium, copy_banks, make_banks, tiny_config

from bank_nodes.cli import app
from bank_nodes.folder.gain_reports import GainReports
from fraudfl.command import run_command
from pipelines.phase import run_phase


class Said(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def banks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two banks after a phase; tests look, and change nothing."""
    place = tmp_path_factory.mktemp("banks")
    config = tiny_config({"rounds": 1}, banks=2)
    one = Consortium(copy_banks(make_banks(place, config), place / "copied"), config, place / "coordinator")
    run_phase(one.phase(), ())
    return one.folders


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def run(*words: str | Path) -> Said:
        monkeypatch.setattr(sys, "argv", ["bank-node", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "160")
        with pytest.raises(SystemExit) as ended:
            run_command(app)
        said = capsys.readouterr()
        return Said(int(ended.value.code or 0), said.out, said.err)

    return run


def test_the_table_shows_three_ways_to_train_and_what_is_more_than_alone(
    banks: Path, node: Callable[..., Said]
) -> None:
    said = node("gain", banks / "bank-01")
    assert said.code == 0
    report = GainReports(banks / "bank-01").one(None)
    lines = said.out.splitlines()
    heading = next(line for line in lines if "federated" in line)
    assert heading.split() == ["alone", "federated", "personalised"]
    for title in ("frauds caught", "money saved", "AUPRC", "more than alone"):
        assert title in said.out
    gained = report["takings"]["gains"]["federated"]["money_saved"]
    assert f"{gained['value']:+,.0f} ({gained['interval'][0]:+,.0f} to {gained['interval'][1]:+,.0f})" in said.out
    assert f"{report['takings']['frauds']:,} frauds" in said.out
    assert report["own"]["reason"] in said.out.replace("\n", " ")


def test_other_terms_make_other_figures_and_leave_the_report_as_it_is(banks: Path, node: Callable[..., Said]) -> None:
    folder = banks / "bank-01"
    [path] = (folder / "gain").iterdir()
    before = path.read_bytes()
    usual = json.loads(node("gain", folder, "--json").out)
    assert usual == json.loads(before)
    dear = json.loads(node("gain", folder, "--json", "--budget", "0.2", "--cost-per-alert", "7").out)
    assert dear["alerts"] == {"budget": 0.2, "cost": 7.0}
    alerts = dear["takings"]["alerts"]
    assert alerts == pytest.approx(0.2 * usual["takings"]["transactions"])
    free = json.loads(node("gain", folder, "--json", "--budget", "0.2").out)
    saved = [one["takings"]["takings"]["federated"]["money_saved"]["value"] for one in (free, dear)]
    assert saved[0] - saved[1] == pytest.approx(7 * alerts)
    assert dear["own"] == usual["own"]
    assert path.read_bytes() == before


@pytest.mark.parametrize(("option", "value"), [("--budget", "5"), ("--budget", "0"), ("--cost-per-alert", "-1")])
def test_terms_that_mean_nothing_are_refused(banks: Path, node: Callable[..., Said], option: str, value: str) -> None:
    assert node("gain", banks / "bank-01", option, value).code == 2


def test_a_bank_that_was_never_asked_is_told_when_there_will_be_something(
    banks: Path, node: Callable[..., Said], tmp_path: Path
) -> None:
    folder = tmp_path / "bank-02"
    shutil.copytree(banks / "bank-02", folder)
    assert node("gain", folder, "--phase", "pilot").code == 0
    shutil.rmtree(folder / "gain")
    said = node("gain", folder)
    assert said.code == 1
    assert "one is made when a phase with `alone` among its baselines ends" in said.err.replace("\n", " ")


def test_figures_that_are_not_there_are_dashes(banks: Path, node: Callable[..., Said], tmp_path: Path) -> None:
    folder = tmp_path / "bank-02"
    shutil.copytree(banks / "bank-02", folder)
    report = GainReports(folder).one(None)
    path = folder / "gain" / f"{report['instance']}.json"
    none = dict.fromkeys(("alone", "federated", "personalised"))
    path.write_text(json.dumps(report | {"auprc": none, "auprc_gain": none, "money": False}))
    said = node("gain", folder)
    assert "money saved" not in said.out
    assert "–" in said.out
    path.write_text(json.dumps(report | {"takings": None}))
    assert "no test rows" in node("gain", folder).out
