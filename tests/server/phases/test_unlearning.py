"""A bank leaves a real workspace: what is signed, closed, trained again and reported."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from memory_fleet import Consortium, Happening, MemoryFleet, all_well, make_banks, tiny_config

from fraudfl.command import run_command
from fraudfl.config import FraudflConfig, PhaseConfig
from fraudfl.data.simulate import GENERATED_CONTRACT
from fraudfl.errors import BundleError, CheckpointError, ConfigError, TrustError
from fraudfl.models.bundle import Bundle
from fraudfl.protocols import Answer, Reply, Request
from fraudfl.report.facts import Report
from fraudfl.trust.departure import Departure
from fraudfl.unlearning import PUBLIC, Point
from pipelines.phase import run_phase
from pipelines.world import State
from server.commands.models import models_app
from server.commands.pki import bank_app
from server.models.champion import Bar, Champion, Word
from server.models.departures import DEPARTURES_FILE, closed, departures
from server.phases.assembly import PhaseRun
from server.phases.past import past_of
from server.phases.preparing import prepare
from server.phases.unlearning import Unlearning
from server.reports.reporting import report_consortium
from server.store.checkpoint import FileCheckpoints
from server.store.workspace import Workspace
from server.trust.pki import Pki

LEAVES = "bank-04"
WORD = Word(by="Ada Example", reason="agreed")
SAID = ("--by", "Ada Example", "--reason", "it was bought")
AGAIN = (f"without-{LEAVES}-pilot", f"without-{LEAVES}")
PILOT = {"name": "pilot", "rounds": 4, "baselines": []}
ROLLOUT = {"name": "rollout", "kind": "rollout", "rounds": 2, "baselines": [], "start": "pilot"}


def config_of(*phases: dict[str, Any]) -> FraudflConfig:
    facts = tiny_config(banks=4).model_dump(mode="json")
    common = {"deadline_seconds": 5, "patience_seconds": 0}
    return FraudflConfig.model_validate(facts | {"phases": [common | phase for phase in phases]})


def from_round_3(bank: str, request: Request, work: Callable[[], Reply]) -> Reply | Answer | None:
    """The bank that leaves comes late into the pilot, and in time for the rollout."""
    away = request.kind == "sketch" or (request.kind == "train" and request.round < 3)
    return None if bank == LEAVES and away else work()


@dataclass
class Town(MemoryFleet):
    """The banks of one phase's roster."""

    members: tuple[str, ...] = ()

    def banks(self) -> tuple[str, ...]:
        return self.members


@dataclass
class Place:
    """A workspace whose phases run without Flower."""

    workspace: Workspace
    fleets: dict[str, Town] = field(default_factory=dict)

    def run(self, name: str, happening: Happening = all_well) -> None:
        banks = self.workspace.bank_ids()
        folder = prepare(self.workspace, self.workspace.settings(name), GENERATED_CONTRACT, banks)
        fleet = Town(self.workspace.banks, happening, members=folder.roster() or ())
        self.fleets[name] = fleet
        PhaseRun(self.workspace, folder, simulated=False).run(lambda: fleet, len(fleet.members))

    def bundle(self, phase: str) -> Bundle:
        return Bundle.load(self.workspace.phase(phase).path / "bundle")

    @property
    def record(self) -> Departure:
        (one,) = departures(self.workspace)
        return one


def called(workspace: Workspace, patch: pytest.MonkeyPatch, *words: str) -> int:
    """Run `fraudfl bank …` or `fraudfl models …` as the process would; returns how it ended."""
    patch.setenv("COLUMNS", "300")
    patch.setattr(sys, "argv", [*words, "-w", str(workspace.path)])
    with pytest.raises(SystemExit) as ended:
        run_command({"bank": bank_app, "models": models_app}[words[0]])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Pilot and rollout have run; a bank that came late into the pilot has left and was unlearned."""
    place = Place(Workspace(tmp_path_factory.mktemp("left") / "work"))
    workspace = place.workspace
    workspace.open(config_of(PILOT, ROLLOUT), resume=False)
    make_banks(workspace.path, workspace.config())
    place.run("pilot", from_round_3)
    place.run("rollout")
    champion = Champion(workspace)
    champion.promote(1, WORD)
    champion.promote(2, WORD, Bar(force=True))
    champion.models.export(champion.version(2), workspace.path / "for-banks")
    Unlearning(workspace, LEAVES).carry_out("Ada Example", "it was bought")
    for name in AGAIN:
        place.run(name)
    return place


def test_the_record_says_what_was_touched_from_where_to_train_again_and_what_is_in_use(place: Place) -> None:
    record = place.record
    assert (record.bank, record.by, record.reason) == (LEAVES, "Ada Example", "it was bought")
    assert [one.name for one in record.phases] == ["pilot", "rollout"]
    assert {trace.kind: trace.first for trace in record.phases[0].traces} == {"train": 3, "evaluate": 4}
    assert record.phases[1].origin == Point(version=1)
    assert [one.number for one in record.versions] == [1, 2]
    assert record.champion == 2
    assert record.clean == Point(phase="pilot", round=2)
    assert [(one.phase, one.replaces) for one in record.retraining] == [(AGAIN[0], "pilot"), (AGAIN[1], "rollout")]


def test_the_new_model_is_that_of_a_consortium_in_which_the_bank_never_was(place: Place, tmp_path: Path) -> None:
    shutil.copytree(place.workspace.banks, tmp_path / "banks")
    shutil.rmtree(tmp_path / "banks" / LEAVES)
    pilot = Consortium(tmp_path / "banks", config_of(PILOT), tmp_path / "pilot")
    run_phase(pilot.phase(), ())
    rollout = Consortium(tmp_path / "banks", config_of(ROLLOUT | {"start": "1"}), tmp_path / "rollout")
    phase = rollout.phase()
    phase.start = Bundle.load(tmp_path / "pilot" / "bundle")
    run_phase(phase, ())
    for again, name in zip(AGAIN, ("pilot", "rollout"), strict=True):
        never, made = Bundle.load(tmp_path / name / "bundle"), place.bundle(again)
        assert made.weights.tobytes() == never.weights.tobytes()
        assert (made.encoder.digest, made.thresholds) == (never.encoder.digest, never.thresholds)
        assert made.weights.tobytes() != place.bundle(name).weights.tobytes()
    rounds = {request.round for request in place.fleets[AGAIN[0]].asked if request.kind == "train"}
    assert rounds == {3, 4}


def test_a_second_bank_that_leaves_takes_both_retrainings_back_to_where_it_came_in(place: Place) -> None:
    leaving = Unlearning(place.workspace, "bank-03")
    assert leaving.clean == PUBLIC
    new = [(one.replaces, one.settings.name, one.settings.start) for one in leaving.retraining]
    assert new == [
        (AGAIN[0], "without-bank-03-pilot", None),
        (AGAIN[1], "without-bank-03", "without-bank-03-pilot"),
    ]
    assert {one.settings.banks.names for one in leaving.retraining} == {("bank-01", "bank-02")}


def test_the_bank_is_asked_nothing_any_more_and_the_others_have_the_new_roster(place: Place) -> None:
    for name in AGAIN:
        assert LEAVES not in place.fleets[name].asked_of
        assert place.workspace.phase(name).roster() == ("bank-01", "bank-02", "bank-03")
    kept = (place.workspace.banks / "bank-01" / "roster.json").read_bytes()
    assert kept == Pki(place.workspace.coordinator / "pki").roster_file.read_bytes()
    # Not by another phase either, whomever it would choose.
    place.workspace.add_phase(PhaseConfig(name="everybody", rounds=1))
    folder = prepare(place.workspace, place.workspace.settings("everybody"), GENERATED_CONTRACT, [LEAVES, "bank-01"])
    assert folder.roster() == ("bank-01",)


def test_models_that_hold_it_are_marked_and_neither_promoted_nor_gone_back_to_but_by_force(place: Place) -> None:
    champion = Champion(place.workspace)
    assert {one.number: one.holds for one in champion.models.all()} == {1: (LEAVES,), 2: (LEAVES,), 3: (), 4: ()}
    # Nor are its rows looked at to compare the others' models.
    assert champion.contest.compare(champion.version(4), champion.version(2), "auprc").banks == 3
    # The touched champion stays in use.
    assert champion.models.aliases()["champion"] == 2
    with pytest.raises(BundleError, match="version 1 holds what bank bank-04 released"):
        champion.rollback(WORD)
    with pytest.raises(BundleError, match="it is not promoted"):
        champion.promote(1, WORD)
    assert champion.models.aliases()["champion"] == 2


def test_the_list_of_models_shows_which_hold_it(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(place.workspace, monkeypatch, "models", "list") == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.rstrip().endswith("to be unlearned")
    assert [row.rstrip().endswith(LEAVES) for row in rows] == [True, True, False, False]


def test_phases_that_hold_it_are_not_gone_on_with_nor_trained_on_from(place: Place) -> None:
    workspace = place.workspace
    for name, again in zip(("pilot", "rollout"), AGAIN, strict=True):
        assert f"phase {again!r} takes its place" in closed(workspace, name)
        with pytest.raises(BundleError, match=r"left on .* cannot be gone on with"):
            place.run(name)
        assert closed(workspace, again) == ""
    for start in ("1", "champion"):
        settings = PhaseConfig(name=f"from-{start}", start=start)
        with pytest.raises(BundleError, match="is not trained on from"):
            prepare(workspace, settings, GENERATED_CONTRACT, workspace.bank_ids())


def test_what_would_go_on_from_the_phase_whose_place_was_taken_gets_the_new_model(place: Place) -> None:
    for start, version in (("pilot", 3), ("rollout", 4)):
        settings = PhaseConfig(name=f"after-{start}", start=start)
        folder = prepare(place.workspace, settings, GENERATED_CONTRACT, place.workspace.bank_ids())
        assert json.loads((folder.path / "start.json").read_text())["parent"] == version


def test_the_report_holds_the_evidence(place: Place, tmp_path: Path) -> None:
    report_consortium(place.workspace, tmp_path / "out")
    report = Report.model_validate_json((tmp_path / "out" / "report.json").read_bytes())
    assert report.problems == ()
    (one,) = report.departures
    assert (one.bank, one.by, [phase.name for phase in one.phases]) == (LEAVES, "Ada Example", ["pilot", "rollout"])
    assert [(model.version, model.aliases, len(model.exported)) for model in one.models] == [
        (1, ("previous",), 0),
        (2, ("champion",), 1),
    ]
    assert [(new.phase, new.status, new.version, new.banks) for new in one.retraining] == [
        (AGAIN[0], "completed", 3, 3),
        (AGAIN[1], "completed", 4, 3),
    ]
    assert [(new.began_at, new.encoder, new.rounds) for new in one.retraining] == [
        ("pilot after round 2", "kept", 2),
        ("the model of the phase before", "of the phase before", 2),
    ]
    assert one.retraining[1].aliases == ("challenger",)


def test_a_second_word_about_the_same_departure_changes_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = place.workspace.coordinator / DEPARTURES_FILE
    before, phases = log.read_bytes(), place.workspace.phases()
    assert called(place.workspace, monkeypatch, "bank", "remove", LEAVES, "--unlearn", *SAID) == 0
    assert "version 2 is the champion, and stays in use until another is promoted" in capsys.readouterr().out
    assert (log.read_bytes(), place.workspace.phases()) == (before, phases)


def test_a_record_that_was_edited_is_found_out_before_anything_is_used(place: Place) -> None:
    log = place.workspace.coordinator / DEPARTURES_FILE
    kept = log.read_bytes()
    log.write_bytes(kept.replace(b"it was bought", b"it was asked "))
    try:
        with pytest.raises(TrustError, match=r"departures\.jsonl, line 1: the departure's signature"):
            prepare(place.workspace, PhaseConfig(name="another"), GENERATED_CONTRACT, ["bank-01"])
    finally:
        log.write_bytes(kept)


# Before it is done.


@pytest.fixture
def fresh(tmp_path: Path) -> Workspace:
    """A workspace before its first phase."""
    workspace = Workspace(tmp_path / "work")
    workspace.open(config_of(PILOT), resume=False)
    make_banks(workspace.path, workspace.config())
    return workspace


def test_a_bank_that_released_nothing_leaves_and_nothing_is_trained_again(
    fresh: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(fresh, monkeypatch, "bank", "remove", LEAVES, "--unlearn", *SAID) == 0
    assert "there is nothing to unlearn" in capsys.readouterr().out
    (one,) = departures(fresh)
    assert (one.phases, one.versions, one.clean, one.retraining) == ((), (), None, ())
    assert [member.bank for member in Pki(fresh.coordinator / "pki").roster().members] == [
        "bank-01",
        "bank-02",
        "bank-03",
    ]


def test_nobody_leaves_without_a_name_and_a_reason_nor_while_a_run_is_under_way(
    fresh: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Pki(fresh.coordinator / "pki").roster()
    assert called(fresh, monkeypatch, "bank", "remove", LEAVES, "--unlearn") == 2
    with fresh.locked(), pytest.raises(CheckpointError, match="another `fraudfl run` works here"):
        Unlearning(fresh, LEAVES).carry_out("Ada Example", "it was bought")
    with pytest.raises(ConfigError, match=r"by: .* one line"):
        Unlearning(fresh, LEAVES).carry_out("", "it was bought")
    with pytest.raises(TrustError, match="never was"):
        Unlearning(fresh, "bank-77")
    assert Pki(fresh.coordinator / "pki").roster() == before
    assert departures(fresh) == []


def test_a_bank_whose_releases_nobody_wrote_down_counts_as_in_everything(fresh: Workspace) -> None:
    folder = prepare(fresh, fresh.settings("pilot"), GENERATED_CONTRACT, fresh.bank_ids())
    state = State(round=3, took_part={LEAVES})
    FileCheckpoints(folder.checkpoints).save(state.to_checkpoint({}))
    past = past_of(fresh, LEAVES, [])
    assert [phase.name for phase in past.touched] == ["pilot"]
    assert past.clean_before(past.phases[0]).public
    assert past_of(fresh, "bank-01", []).touched == ()
