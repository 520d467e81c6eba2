"""A bank's own record of monitored windows: exact counts, and a report of each against the bank's own quiet windows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from fraudfl.folder import write_bytes
from fraudfl.monitoring.history import History
from fraudfl.monitoring.kept import FOLDER, read_kept
from fraudfl.monitoring.observed import Observed
from fraudfl.monitoring.settings import ScoringConfig
from fraudfl.plan import Plan

_REPLICATES = 40  # a bank reports while the coordinator waits


class WindowReports:
    """The windows of one monitoring phase at one bank."""

    def __init__(self, bank_folder: Path, instance: str) -> None:
        """Name the folder; nothing is read or made yet."""
        self._path = bank_folder / FOLDER / instance

    def add(self, observed: Observed, plan: Plan) -> None:
        """Keep a window's counts, and report it against what was kept before."""
        assert plan.watch is not None  # whoever counted a window has looked
        self._path.mkdir(parents=True, exist_ok=True)
        before = read_kept(self._counts(observed.window))
        if before is not None and observed.outcome is None:
            # Asked once more: what was learnt of labels stays.
            observed = replace(observed, outcome=Observed.from_facts(before, plan.watch.size, plan.score_bins).outcome)
        _write(self._counts(observed.window), observed.to_facts())
        scoring = ScoringConfig(budget=plan.alert_budget, replicates=_REPLICATES)
        history = History(plan.watch, plan.score_bins, scoring)
        for number in range(1, plan.watch.windows + 1):
            facts = read_kept(self._counts(number))
            if facts is not None:
                history.put(Observed.from_facts(facts, plan.watch.size, plan.score_bins))
        report = history.report(observed).to_dict()
        own = {"phase": plan.phase, "number": observed.window, "model": observed.model}
        _write(self._path / f"{observed.window}.json", own | report)

    def _counts(self, window: int) -> Path:
        return self._path / f"counts-{window}.json"


def _write(path: Path, facts: dict[str, Any]) -> None:
    write_bytes(path, json.dumps(facts).encode())
