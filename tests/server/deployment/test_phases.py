"""Phases of a deployment: what may begin when, who takes part, and what is known of one that runs or failed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from deployment import wait_until
from flower_town import public_keys

from fraudfl.config import FraudflConfig
from server.deployment.link import Link
from server.deployment.phases import PhaseError, Phases
from server.store.workspace import Workspace, write_json

# Flower's own migrations, with its own Alembic configuration.
pytestmark = pytest.mark.filterwarnings("ignore:No path_separator found in configuration")

PATIENT = {"rounds": 2, "baselines": [], "deadline_seconds": 1, "patience_seconds": 600}


def config_of(mlflow: Path, **phases: Any) -> FraudflConfig:
    facts = {
        "consortium": {"name": "small"},
        "data": {"generator": {"banks": 3}},
        "split": {"origin": "2025-01-01", "train_days": [5, 40], "test_days": [48, 59]},
        "mlflow": {"tracking_uri": f"sqlite:///{mlflow}"},
        "phases": [
            {"name": "pilot", **PATIENT, **phases},
            {"name": "hasty", **PATIENT, "patience_seconds": 0, "attempts": 1},
        ],
    }
    return FraudflConfig.model_validate(facts)


@dataclass
class Room:
    """A workspace and its phases; `nodes` is the roster of the moment. No bank is ever connected."""

    workspace: Workspace
    link: Link
    nodes: dict[str, int]
    phases: Phases = field(init=False)

    def __post_init__(self) -> None:
        self.phases = Phases(self.workspace, self.link, lambda: self.nodes)

    def start(self, name: str = "pilot", *, resume: bool = False) -> None:
        self.phases.start(name, resume=resume)

    def status(self, name: str = "pilot") -> dict[str, Any]:
        return self.phases.status(name)

    def waits(self, name: str = "pilot") -> dict[str, str]:
        return dict(wait_until(lambda: self.status(name)["waiting"], "the phase waits for banks", 60.0))

    def ended(self, name: str) -> None:
        wait_until(lambda: self.phases.running is None, f"{name} ends", 60.0)

    def file(self, name: str, phase: str = "pilot") -> Path:
        return self.workspace.coordinator / "phases" / phase / name


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Link, Path]:
    """What takes seconds to make: Flower's and MLflow's databases."""
    folder = tmp_path_factory.mktemp("shared")
    return Link(str(folder / "flower.db")), folder / "mlflow.db"


@pytest.fixture
def room(shared: tuple[Link, Path], tmp_path: Path) -> Iterator[Room]:
    link, mlflow = shared
    workspace = Workspace(tmp_path / "co")
    workspace.open(config_of(mlflow), resume=False)
    made = Room(workspace, link, link.admit(public_keys()))
    yield made
    if made.phases.running:
        made.phases.stop()


def test_a_phase_that_nobody_configured_is_refused_by_name(room: Room) -> None:
    with pytest.raises(PhaseError, match="no phase 'rollout'; the consortium has pilot, hasty"):
        room.start("rollout")
    with pytest.raises(PhaseError, match="no phase"):
        room.status("rollout")
    with pytest.raises(PhaseError, match="no phase"):
        room.start("../../banks")


def test_a_phase_that_was_not_begun_is_not_resumed_and_nothing_is_written(room: Room) -> None:
    with pytest.raises(PhaseError, match=r"not begun yet; `fraudfl phase start pilot`"):
        room.start(resume=True)
    assert not room.file("plan.json").exists()
    assert room.status()["status"] == "not begun"


def test_a_phase_without_banks_is_refused_with_advice_and_can_be_begun_later(room: Room) -> None:
    nodes, room.nodes = room.nodes, {}
    with pytest.raises(PhaseError, match=r"no bank is on the roster.*fraudfl bank add"):
        room.start()
    room.nodes = nodes
    room.start()
    assert set(room.waits()) == set(nodes)


def test_a_phase_under_way_says_who_is_waited_for_and_lets_no_other_begin(room: Room) -> None:
    room.start()
    assert room.waits() == dict.fromkeys(room.nodes, "not connected")
    found = room.status()
    assert (found["status"], found["round"], found["connected"]) == ("running", 0, dict.fromkeys(room.nodes, False))
    assert len(found["plan_hash"]) == 64
    for name in ("pilot", "hasty"):
        with pytest.raises(PhaseError, match="phase 'pilot' is under way; stop it first"):
            room.start(name)
    assert [phase["status"] for phase in room.phases.all()] == ["running", "not begun"]


def test_a_phase_is_stopped_soon_and_resumed_with_the_roster_it_began_with(room: Room) -> None:
    with pytest.raises(PhaseError, match="no phase is under way"):
        room.phases.stop()
    room.start()
    room.waits()
    began = time.monotonic()
    room.phases.stop()
    assert time.monotonic() - began < 20.0
    assert (room.phases.running, room.status()["status"]) == (None, "interrupted")
    (outcome,) = json.loads(room.workspace.summary_file.read_text())["phases"]
    assert (outcome["status"], outcome["roster"]) == ("interrupted", 3)

    plan = room.status()["plan_hash"]
    del room.nodes["bank-02"]
    room.nodes["bank-09"] = 9
    with pytest.raises(PhaseError, match=r"was begun before; `fraudfl phase resume pilot`"):
        room.start()
    room.start(resume=True)
    assert set(room.waits()) == {"bank-01", "bank-02", "bank-03"}
    assert room.status()["plan_hash"] == plan
    assert set(room.status()["connected"]) == {"bank-01", "bank-02", "bank-03"}


def test_a_phase_that_fails_says_why_and_leaves_the_next_alone(room: Room) -> None:
    room.start("hasty")
    room.ended("hasty")
    found = room.status("hasty")
    assert found["status"] == "failed"
    assert "0 of 3 banks" in found["reason"]
    assert {item["bank"] for item in found["excluded"]} == set(room.nodes)
    assert room.phases.unfinished() == []
    room.start()
    room.waits()
    assert room.phases.running == "pilot"
    assert room.phases.unfinished() == ["pilot"]


def test_a_phase_that_failed_may_be_resumed_and_forgets_its_failure_meanwhile(room: Room) -> None:
    room.start("hasty")
    room.ended("hasty")
    first = room.file("instance", "hasty").read_text()
    room.start("hasty", resume=True)
    room.ended("hasty")
    assert room.file("instance", "hasty").read_text() == first
    events = [json.loads(line)["event"] for line in room.file("events.jsonl", "hasty").read_text().splitlines()]
    assert events.count("gathering") == events.count("failed") == 2


def test_a_completed_phase_is_not_run_again(room: Room) -> None:
    write_json(room.file("result.json"), {"status": "completed"})
    for resume in (False, True):
        with pytest.raises(PhaseError, match="phase 'pilot' is completed"):
            room.start(resume=resume)


def test_a_phase_is_not_resumed_with_another_plan(room: Room, shared: tuple[Link, Path]) -> None:
    room.start()
    room.waits()
    room.phases.stop()
    changed = config_of(shared[1], rounds=3).model_dump(mode="json")
    write_json(room.workspace.coordinator / "config.json", changed)
    kept = room.file("plan.json").read_bytes()
    with pytest.raises(PhaseError, match=r"plan\.json: another plan was begun here"):
        room.start(resume=True)
    assert room.file("plan.json").read_bytes() == kept


def test_a_phase_that_a_crash_ended_counts_as_unfinished_and_interrupted(room: Room) -> None:
    write_json(room.file("roster.json"), {"banks": ["bank-01"]})
    write_json(room.file("state.json"), {"status": "running"})
    assert room.phases.unfinished() == ["pilot"]
    assert room.status()["status"] == "interrupted"


def told(room: Room, *events: dict[str, Any]) -> dict[str, Any]:
    write_json(room.file("roster.json"), {"banks": ["bank-01", "bank-02"]})
    room.file("events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return room.status()


GATHERING = {"event": "gathering", "banks": 2}
ROUND = {"event": "round", "round": 4, "rounds": 9, "auprc": 0.5, "bytes_up": 10, "bytes_down": 20}


def test_the_status_is_what_the_events_say_last(room: Room) -> None:
    waiting = {"event": "waiting", "banks": {"bank-01": "away", "bank-02": "asleep"}}
    heard = {"event": "heard", "bank": "bank-02"}
    left_out = {"event": "excluded", "bank": "bank-01", "round": 5, "reason": "silent", "time": 1.0}
    found = told(room, GATHERING, ROUND, waiting, heard, heard, {"event": "late"}, left_out, {"event": "late"})
    assert {key: found[key] for key in ("round", "rounds", "auprc", "bytes_up", "bytes_down", "late")} == {
        **{key: value for key, value in ROUND.items() if key != "event"},
        "late": 2,
    }
    assert (found["heard"], found["waiting"]) == (["bank-02"], {"bank-01": "away"})
    assert found["excluded"] == [{"bank": "bank-01", "round": 5, "reason": "silent"}]


def test_a_round_and_a_new_beginning_forget_who_was_waited_for(room: Room) -> None:
    waiting = {"event": "waiting", "banks": {"bank-01": "away"}}
    failed = {"event": "failed", "reason": "nobody came"}
    found = told(room, GATHERING, waiting, {"event": "heard", "bank": "bank-02"}, ROUND)
    assert (found["heard"], found["waiting"]) == ([], {})
    assert told(room, GATHERING, waiting, failed)["reason"] == "nobody came"
    found = told(room, GATHERING, ROUND, waiting, failed, GATHERING)
    assert (found["reason"], found["waiting"], found["round"]) == ("", {}, 4)


def test_a_bank_that_has_no_node_any_more_counts_as_not_connected(room: Room) -> None:
    assert told(room, GATHERING)["connected"] == {"bank-01": False, "bank-02": False}
    room.nodes.clear()
    assert told(room, GATHERING)["connected"] == {"bank-01": False, "bank-02": False}


def test_a_phase_that_watches_says_which_window_it_is_at(room: Room) -> None:
    folder = room.workspace.phase("pilot")
    folder.set_roster(["bank-01", "bank-02", "bank-03"])
    seen = {"number": 3, "windows": 16, "days": "2025-03-01..2025-03-30", "rows": 1200}
    heard = {"event": "heard", "kind": "watch", "round": 3, "bank": "bank-01", "of": 3}
    told = [heard, {"event": "window", **seen}, heard | {"kind": "outcome", "bank": "bank-02"}]
    told.append({"event": "window", **seen, "auprc": 0.4})
    folder.events.write_text("".join(json.dumps(event) + "\n" for event in told))
    found = room.status()
    assert (found["round"], found["rounds"], found["auprc"], found["heard"]) == (3, 16, 0.4, [])
