"""Reads a workspace through the reports' own readers, and keeps what was read until a file behind it changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import streamlit as st

from fraudfl.plan import Plan
from fraudfl.privacy.ledger import Charge
from fraudfl.report.course import Moment, course
from fraudfl.report.facts import Phase
from fraudfl.report.heard import Heard
from fraudfl.results.facts import Results
from pipelines.world import State
from server.models.registered import registered
from server.models.versions import Version
from server.reports.reporting import gather_phases, read_charges
from server.reports.results_report import gather_results
from server.store.checkpoint import FileCheckpoints
from server.store.events import events_named, read_lines
from server.store.workspace import Workspace, read_json

Stamp = tuple[tuple[str, int, int], ...]
"""Files with the time of their last change, in ns, and their size in bytes: two equal stamps, nothing new."""

_OF_ALL = (
    "summary.json",
    "mlflow.db",
    "coordinator/config.json",
    "coordinator/added-phases.json",
    "coordinator/decisions.jsonl",
    "coordinator/audit.json",
    "coordinator/pki/roster.json",
)
_NUMBERED = {"round": "round", "window": "number"}
"""Events that tell what has crossed the borders, and the name of their number."""
_OF_ENDED = ("result.json", "roster.json", "plan.json", "privacy.json", "evaluation.json", "decisions")


@dataclass(frozen=True)
class PhaseRecords:
    """What the coordinator keeps of one phase beside its outcome.

    Attributes:
        rounds: One event for each round or window by its number: banks, seconds, and bytes since the phase began.
    """

    heard: Heard
    state: State
    rounds: dict[int, dict[str, Any]]


def exists(workspace: Workspace) -> bool:
    """Whether anything was ever run here."""
    return (workspace.coordinator / "config.json").exists()


def milestones(workspace: Workspace) -> Stamp:
    """What changes when a phase begins or ends, or somebody decides; rounds of a phase do not change it."""
    return tuple(_stamps(workspace, (workspace.path / name for name in _OF_ALL), _OF_ENDED))


def stamp(workspace: Workspace) -> Stamp:
    """What changes with everything that pages show, each round included."""
    rounds = (folder / "checkpoints" for folder in _folders(workspace))
    return (*milestones(workspace), *_stamps(workspace, rounds, ()))


def phase_folder(workspace: Workspace, name: str) -> Path:
    """Where a phase's records are; the folder is not made."""
    return workspace.coordinator / "phases" / name


def begun(workspace: Workspace) -> list[str]:
    """Names of the phases that have begun, in order; nothing else is read."""
    names = [phase.name for phase in workspace.phases()]
    return [name for name in names if (phase_folder(workspace, name) / "roster.json").exists()]


def under_way(workspace: Workspace) -> list[str]:
    """Names of the phases that have begun and have no outcome yet."""
    return [name for name in begun(workspace) if not (phase_folder(workspace, name) / "result.json").exists()]


def roster(workspace: Workspace, phase: str) -> tuple[str, ...]:
    """The banks on a phase's roster."""
    found = read_json(phase_folder(workspace, phase) / "roster.json")
    return () if found is None else tuple(found["banks"])


def summary(workspace: Workspace) -> dict[str, Any] | None:
    """`summary.json`; None where there is none; raises CheckpointError naming the file when it is not JSON."""
    return read_json(workspace.summary_file)


def results(workspace: Workspace) -> Results:
    """What the phases came to, as the report of results states it."""
    return _results(str(workspace.path), stamp(workspace))


def privacy_phases(workspace: Workspace) -> tuple[tuple[Phase, ...], tuple[str, ...]]:
    """The phases as the privacy report states them, and what is wrong with their records."""
    return _privacy_phases(str(workspace.path), stamp(workspace))


def versions(workspace: Workspace) -> tuple[Version, ...]:
    """Every registered model, oldest first."""
    return _versions(str(workspace.path), milestones(workspace))


def model_card(workspace: Workspace, version: Version) -> str:
    """The card of a registered model, Markdown; empty where its phase keeps none."""
    path = phase_folder(workspace, version.phase) / "bundle" / "MODEL_CARD.md"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def records(workspace: Workspace, phase: str) -> PhaseRecords:
    """Events and the last checkpoint of one phase."""
    folder = phase_folder(workspace, phase)
    return _records(str(workspace.path), phase, _of_files(workspace, folder / "events.jsonl", folder / "checkpoints"))


def plan(workspace: Workspace, phase: str) -> Plan:
    """The plan of a phase that has begun."""
    return Plan.from_json((phase_folder(workspace, phase) / "plan.json").read_bytes())


def epsilon_course(workspace: Workspace, phase: str) -> tuple[Moment, ...]:
    """How ε grew at each bank in a phase, by what the coordinator heard."""
    events = phase_folder(workspace, phase) / "events.jsonl"
    return _course(str(workspace.path), phase, _of_files(workspace, events))


@st.cache_resource(max_entries=2, show_spinner="Reading what the runs stored")
def _results(path: str, stamp: Stamp) -> Results:
    return gather_results(Workspace(Path(path)), "", lambda: datetime.now(UTC))


@st.cache_resource(max_entries=2, show_spinner="Adding up what was spent")
def _privacy_phases(path: str, stamp: Stamp) -> tuple[tuple[Phase, ...], tuple[str, ...]]:
    return gather_phases(Workspace(Path(path)), _charges)


def _charges(ledger: Path) -> tuple[Charge, ...]:
    found = ledger.stat()
    return _charges_of(str(ledger), found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=4096)
def _charges_of(path: str, changed: int, size: int) -> tuple[Charge, ...]:
    """What a ledger charged; a round changes those of its banks alone."""
    return read_charges(Path(path))


@st.cache_resource(max_entries=2, show_spinner="Reading the registry")
def _versions(path: str, stamp: Stamp) -> tuple[Version, ...]:
    return tuple(registered(Workspace(Path(path))))


@st.cache_resource(max_entries=8, show_spinner="Reading events")
def _records(path: str, phase: str, stamp: Stamp) -> PhaseRecords:
    folder = phase_folder(Workspace(Path(path)), phase)
    lines = read_lines(folder / "events.jsonl")
    checkpoint = FileCheckpoints(folder / "checkpoints").latest()
    state = State() if checkpoint is None else State.from_checkpoint(checkpoint)[0]
    # A phase that was resumed may tell of a round again: the last word counts.
    rounds = {event[number]: event for name, number in _NUMBERED.items() for event in events_named(name, lines)}
    told = {number: event for number, event in sorted(rounds.items()) if "bytes_up" in event}
    return PhaseRecords(Heard.from_lines(lines), state, told)


@st.cache_resource(max_entries=8, show_spinner="Accounting for each release")
def _course(path: str, phase: str, stamp: Stamp) -> tuple[Moment, ...]:
    workspace = Workspace(Path(path))
    lines = read_lines(phase_folder(workspace, phase) / "events.jsonl")
    return course(plan(workspace, phase), events_named("heard", lines))


def _of_files(workspace: Workspace, *paths: Path) -> Stamp:
    return tuple(_stamps(workspace, iter(paths), ()))


def _stamps(workspace: Workspace, paths: Iterator[Path], of_phases: tuple[str, ...]) -> Iterator[tuple[str, int, int]]:
    inside = (folder / name for folder in (_folders(workspace) if of_phases else ()) for name in of_phases)
    for path in (*paths, *inside):
        try:
            found = path.stat()
        except OSError:
            continue
        yield str(path.relative_to(workspace.path)), found.st_mtime_ns, found.st_size


def _folders(workspace: Workspace) -> list[Path]:
    """Folders of phases, sorted by name."""
    phases = workspace.coordinator / "phases"
    return sorted(path for path in phases.iterdir() if path.is_dir()) if phases.exists() else []
