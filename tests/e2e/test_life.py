"""A consortium's life from the command line, on what real runs made: a gate that holds and is released, one that fails,
a promotion that is refused, a rollback, and the report of all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fraudfl.command import run_command
from fraudfl.results.facts import Results
from server.cli import app

CONFIG = """
consortium: {name: small, seed: 5}
data:
  generator: {banks: 3, transactions: 12000, days: 60, fraud_rate: 0.04}
split: {origin: 2025-01-01, train_days: [5, 34], test_days: [42, 59]}
features: {windows_days: [1, 7]}
model: {hidden: [16]}
training: {batch_size: 32, local_epochs: 8}
phases:
  - name: pilot
    rounds: 6
    baselines: [alone]
    gates:
      - {name: who, measure: participation, at_least: 0.9}
      - {name: gain, measure: gain_over_alone.auprc, at_least: 0.0}
  - name: rollout
    kind: rollout
    rounds: 1
    training: {learning_rate: 1.0e-6, local_epochs: 1}
    baselines: []
    gates:
      - {name: quality, measure: auprc, at_least: 0.9}
"""
ADA = ("--by", "Ada Example", "--reason", "see the minutes of 5 May")
MINUTES = 300.0


@dataclass
class Said:
    """How a command ended, and what it printed."""

    code: int
    out: str


@dataclass
class Life:
    """Every command that was given, by a name of its own, and the folder it was given in."""

    folder: Path
    said: dict[str, Said] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.work / "summary.json").read_text())
        return found

    def run(self, name: str, *options: str) -> None:
        """`fraudfl run`, as a process of its own."""
        command = [str(Path(sys.executable).parent / "fraudfl"), "run", str(self.folder / "small.yaml"), *options]
        done = subprocess.run(
            [*command, "--workspace", str(self.work)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=MINUTES,
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        )
        self.said[name] = Said(done.returncode, done.stdout)


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    """The whole story, told once; commands other than `run` are given in this process, which spares their start."""
    one = Life(tmp_path_factory.mktemp("life"))
    (one.folder / "small.yaml").write_text(CONFIG)
    call = _caller(one)
    one.run("run")
    call("held", "gates", "show")
    call("release", "gates", "release", "pilot", *ADA)
    one.run("resume", "--resume")
    call("failed", "gates", "show")
    call("no release", "gates", "release", "rollout", *ADA)
    call("no plan", "models", "promote", "7", *ADA)
    call("first", "models", "promote", "1", *ADA)
    call("refused", "models", "promote", "challenger", *ADA)
    call("before", "models", "show", "champion", "--json")
    call("forced", "models", "promote", "challenger", "--force", *ADA)
    call("rollback", "models", "rollback", "--by", "Bo Example", "--reason", "alerts doubled")
    call("after", "models", "show", "champion", "--json")
    call("no way back", "models", "rollback", "--by", "Bo Example", "--reason", "again")
    call("decisions", "models", "decisions")
    call("report", "report", "results", "--out", str(one.folder / "report"))
    return one


def _caller(life: Life) -> Callable[..., None]:
    def call(name: str, *words: str) -> None:
        out, err = life.folder / "out", life.folder / "err"
        with pytest.MonkeyPatch.context() as patch, out.open("w") as told, err.open("w") as failed:
            patch.setattr(sys, "argv", ["fraudfl", *words, "-w", str(life.work)])
            patch.setattr(sys, "stdout", told)
            patch.setattr(sys, "stderr", failed)
            patch.setenv("COLUMNS", "200")
            with pytest.raises(SystemExit) as ended:
                run_command(app)
        life.said[name] = Said(int(ended.value.code or 0), out.read_text() + err.read_text())

    return call


def test_a_gate_whose_figures_cannot_tell_holds_the_consortium(life: Life) -> None:
    assert life.said["run"].code == 3
    assert "gate hold gain: gain in AUPRC over training alone is " in life.said["run"].out
    shown = life.said["held"]
    assert shown.code == 3
    assert "pilot: held" in shown.out
    assert "pass  who: share of the roster that took part is 1." in shown.out
    assert "which the interval's lower end misses and its upper end meets: the data cannot tell" in shown.out


def test_a_named_and_signed_word_releases_it_and_the_consortium_goes_on(life: Life) -> None:
    released = life.said["release"]
    assert released.code == 0
    assert released.out.startswith("released by Ada Example on ")
    assert "pilot: completed" in released.out
    assert "phase pilot came to its end before: completed" in life.said["resume"].out
    gate = next(gate for gate in life.summary["phases"][0]["gates"] if gate["name"] == "gain")
    assert gate["outcome"] == "hold"
    assert gate["released"]["by"] == "Ada Example"


def test_a_gate_that_fails_stops_it_and_nobody_can_release_that(life: Life) -> None:
    assert life.said["resume"].code == 3
    assert "rollout: gated" in life.said["failed"].out
    assert "fail  quality: AUPRC" in life.said["failed"].out
    assert "which even the interval's upper end misses" in life.said["failed"].out
    refused = life.said["no release"]
    assert refused.code == 1
    assert "GateError" in refused.out
    assert "nobody can release" in refused.out
    assert [phase["status"] for phase in life.summary["phases"]] == ["completed", "gated"]


def test_a_challenger_that_is_worse_is_not_promoted_and_nothing_changes(life: Life) -> None:
    assert life.said["first"].code == 0
    assert "version 1 is champion, decided by Ada Example on " in life.said["first"].out
    refused = life.said["refused"]
    assert refused.code == 3
    assert refused.out.startswith("refused: the challenger is not better: auprc ")
    assert "expected more than +0" in refused.out
    assert json.loads(life.said["before"].out)["number"] == 1
    assert life.said["no plan"].code == 1


def test_a_rollback_brings_the_champion_before_back(life: Life) -> None:
    assert life.said["forced"].code == 0
    assert "version 2 is champion by force" in life.said["forced"].out
    back = life.said["rollback"]
    assert back.code == 0
    assert "version 1 is champion again, decided by Bo Example on " in back.out
    assert "version 2 is not champion any more" in back.out
    champion = json.loads(life.said["after"].out)
    assert (champion["number"], champion["aliases"]) == (1, ["champion"])
    assert life.said["no way back"].code == 1
    assert "there is no way back" in life.said["no way back"].out
    assert [line.split()[1] for line in life.said["decisions"].out.splitlines() if line.startswith("2")] == [
        "promote:",
        "promote",
        "rollback:",
    ]


def test_the_report_tells_the_whole_story_and_is_signed(life: Life) -> None:
    assert life.said["report"].code == 0, life.said["report"].out
    folder = life.folder / "report"
    results = Results.model_validate_json((folder / "report.json").read_bytes())
    assert [(phase.name, phase.status) for phase in results.phases] == [("pilot", "completed"), ("rollout", "gated")]
    assert [decision.action for decision in results.decisions] == ["promote", "promote", "rollback"]
    assert [decision.forced for decision in results.decisions] == [False, True, False]
    assert results.headline == "pilot"
    assert [model.version for model in results.models] == [1, 2]
    assert results.problems == ()
    assert (folder / "report.sig.json").exists()
