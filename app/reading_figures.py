"""Reads what curves and distributions are drawn from, and keeps it until a file behind it changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from app.reading import Stamp, phase_folder, plan, records
from fraudfl.errors import CheckpointError
from fraudfl.monitoring.observed import Observed
from fraudfl.monitoring.spec import WatchSpec
from fraudfl.plan import Plan
from pipelines.watch_notes import Notes
from pipelines.way_scores import WayScores, read_way_scores
from server.local.fraud_amounts import FraudAmounts
from server.local.fraud_amounts import fraud_amounts as read_fraud_amounts
from server.reports.bank_windows import BankDrifts
from server.reports.bank_windows import bank_drifts as read_bank_drifts
from server.reports.label_delays import LabelDelays
from server.reports.label_delays import label_delays as read_label_delays
from server.store.workspace import Workspace


@dataclass(frozen=True)
class WatchedWindows:
    """The counts of a monitoring phase's windows, as the coordinator has them.

    Attributes:
        observed: By number.
    """

    plan: Plan
    spec: WatchSpec
    observed: tuple[Observed, ...]


def way_scores(workspace: Workspace, phase: str) -> WayScores | None:
    """Test scores by way to train; None where a phase has none."""
    folder = phase_folder(workspace, phase)
    return _way_scores(str(folder), _stamp(folder / "scores.json", folder / "evaluation.json"))


def windows(workspace: Workspace, phase: str) -> WatchedWindows | None:
    """What was counted of each window; None where nothing was yet.

    Raises:
        CheckpointError: when the phase's checkpoint does not fit its plan.
    """
    whole = plan(workspace, phase)
    facts = records(workspace, phase).state.notes
    if whole.watch is None or not facts:
        return None
    try:
        notes = Notes.from_facts(facts)
    except (KeyError, TypeError, ValueError) as error:
        where = phase_folder(workspace, phase) / "checkpoints"
        raise CheckpointError(f"{where}: the notes of {phase} cannot be read ({error!r})") from error
    spec, bins = whole.watch, whole.score_bins
    observed = (Observed.from_facts(notes.observed[number], spec.size, bins) for number in sorted(notes.observed))
    return WatchedWindows(whole, spec, tuple(observed))


def bank_drifts(workspace: Workspace, phase: str, banks: Sequence[str]) -> BankDrifts | None:
    """Drift at these banks; None where their folders are elsewhere."""
    instance = phase_folder(workspace, phase) / "instance"
    name = instance.read_text().strip() if instance.exists() else ""
    kept = (workspace.banks / bank / "monitoring" / name for bank in banks) if name else ()
    return _bank_drifts(str(workspace.path), phase, tuple(banks), _stamp(*kept))


def label_delays(workspace: Workspace) -> LabelDelays | None:
    """How long labels take, as the last assessment found; None without one."""
    return read_label_delays(workspace)


def fraud_amounts(workspace: Workspace) -> FraudAmounts | None:
    """What frauds cost in the mean; None where banks' folders are elsewhere."""
    return _fraud_amounts(str(workspace.path), _stamp(*workspace.banks.glob("*/transactions.parquet")))


@st.cache_resource(max_entries=8, show_spinner="Reading scores")
def _way_scores(folder: str, stamp: Stamp) -> WayScores | None:
    path = Path(folder)
    return read_way_scores(path, Plan.from_json((path / "plan.json").read_bytes())) if stamp else None


@st.cache_resource(max_entries=2, show_spinner="Reading what banks keep of each window")
def _bank_drifts(path: str, phase: str, banks: tuple[str, ...], stamp: Stamp) -> BankDrifts | None:
    return read_bank_drifts(Workspace(Path(path)), phase, banks) if stamp else None


@st.cache_resource(max_entries=2, show_spinner="Reading amounts of frauds")
def _fraud_amounts(path: str, stamp: Stamp) -> FraudAmounts | None:
    return read_fraud_amounts(Workspace(Path(path))) if stamp else None


def _stamp(*paths: Path) -> Stamp:
    found = ((path, path.stat()) for path in sorted(paths) if path.exists())
    return tuple((str(path), stat.st_mtime_ns, stat.st_size) for path, stat in found)
