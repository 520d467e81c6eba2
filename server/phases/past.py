"""What the coordinator's own record says that one bank released, phase by phase."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from fraudfl.config import PhaseConfig
from fraudfl.trust.keys import now_text
from fraudfl.trust.receipts import Receipt
from fraudfl.unlearning import PUBLIC, Past, PastPhase, Point, Trace
from pipelines.world import State
from server.models.versions import Version
from server.store.checkpoint import FileCheckpoints
from server.store.workspace import PhaseFolder, Workspace, read_json
from server.trust.receipts import Receipts, receipts_file

START_FILE = "start.json"
"""In a phase's folder: what it began at."""
_Heard = tuple[str, int, str]
"""Kind, round, and when."""


def past_of(workspace: Workspace, bank: str, versions: list[Version]) -> Past:
    """Every phase that began, in order, with what the bank released in it.

    Two records say so, and each is believed: the phase's events, and the receipts that the coordinator signed. Where a
    checkpoint says that the bank took part and neither knows of what it released, everything counts as touched.

    Args:
        versions: All that are registered.

    Raises:
        CheckpointError: when a record cannot be read.
    """
    signed = _signed(workspace, bank)
    phases = []
    for settings in workspace.phases():
        folder = workspace.stored(settings.name)
        if folder.roster() is None:
            continue
        checkpoints = FileCheckpoints(folder.checkpoints)
        heard = [*_heard(folder, bank), *signed.get(folder.instance(), ())]
        traces = _traces(heard)
        latest = checkpoints.latest()
        if latest is not None and not traces and bank in State.from_checkpoint(latest)[0].took_part:
            traces = {"train": Trace(kind="train", first=0, rounds=1, at=began_at(folder))}
        origin, begun_round = origin_of(folder)
        phases.append(
            PastPhase(
                name=settings.name,
                instance=folder.instance(),
                began=began_at(folder),
                trains=isinstance(settings, PhaseConfig),
                origin=origin,
                begun_round=begun_round,
                traces=traces,
                checkpoints=checkpoints.rounds(),
                versions=[one.number for one in versions if one.instance == folder.instance()],
            )
        )
    return Past(sorted(phases, key=lambda phase: phase.began))


def origin_of(folder: PhaseFolder) -> tuple[Point, int]:
    """What a phase's training began at, and how many rounds counted as done then."""
    facts = read_json(folder.path / START_FILE)
    if facts is None:
        return PUBLIC, 0
    if "parent" in facts:
        return Point(version=int(facts["parent"])), 0
    point = Point(phase=str(facts["phase"]), round=int(facts["round"]))
    return point, int(facts["round"])


def began_at(folder: PhaseFolder) -> str:
    """When a phase began: its first event, or when its banks were fixed."""
    for event in _events(folder):
        return _moment(event["time"])
    return _moment((folder.path / "roster.json").stat().st_mtime)


def _heard(folder: PhaseFolder, bank: str) -> Iterator[_Heard]:
    for event in _events(folder):
        if event["event"] in ("heard", "late") and event["bank"] == bank:
            yield str(event["kind"]), int(event["round"]), _moment(event["time"])


def _events(folder: PhaseFolder) -> Iterator[dict[str, Any]]:
    """The events that can be read: a crash can cut a line off."""
    lines = folder.events.read_bytes().splitlines() if folder.events.exists() else []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and {"event", "time"} <= event.keys():
            yield event


def _signed(workspace: Workspace, bank: str) -> dict[str, list[_Heard]]:
    """What the coordinator signed for, by phase instance."""
    found: dict[str, list[_Heard]] = {}
    path = receipts_file(workspace)
    for data in Receipts(path).of_bank(bank) if path.exists() else ():
        receipt = Receipt.model_validate_json(data)
        _plan, instance, number, _attempt, kind, _cohort = receipt.key.split("/")
        found.setdefault(instance, []).append((kind.partition("-")[0], int(number), receipt.issued))
    return found


def _traces(heard: list[_Heard]) -> dict[str, Trace]:
    """By kind, in the order in which they began."""
    found: dict[str, list[_Heard]] = {}
    for one in sorted(heard, key=lambda one: one[2]):
        found.setdefault(one[0], []).append(one)
    return {kind: _trace(kind, releases) for kind, releases in found.items()}


def _trace(kind: str, releases: list[_Heard]) -> Trace:
    rounds = {number for _, number, _ in releases}
    return Trace(kind=kind, first=min(rounds), rounds=len(rounds), at=releases[0][2])


def _moment(seconds: float) -> str:
    return now_text(datetime.fromtimestamp(float(seconds), UTC))
