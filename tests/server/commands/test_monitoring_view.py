"""What monitoring looks like in a terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from server.commands.monitoring_view import monitoring_line, windows_table

ALERT = {"event": "alert", "rule": "drift", "severity": "critical", "day": "2025-05-01", "reason": "psi [0.3]"}
CHALLENGED = {"event": "challenged", "phase": "watch-retrain-1", "day": "2025-06-01", "reason": "auprc 0.5 against 0.3"}


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (ALERT, "2025-05-01 alert drift: psi [0.3]"),
        (CHALLENGED | {"promoted": True}, "challenger watch-retrain-1 is champion: auprc 0.5 against 0.3"),
        (CHALLENGED | {"promoted": False}, "challenger watch-retrain-1 did not win"),
        ({"event": "rolled back", "version": 1, "day": "2025-06-01", "reason": "drop"}, "back to version 1: drop"),
        ({"event": "rolled back", "version": None, "day": "2025-06-01", "reason": "none"}, "nothing to go back to"),
        ({"event": "missed", "window": 2, "step": "watch", "reason": "2 of 6"}, "window 2 has no watch: 2 of 6"),
        ({"event": "in use", "version": 4}, "version 4 is watched"),
    ],
)
def test_what_must_not_be_missed_is_a_line(event: dict[str, Any], said: str) -> None:
    line = monitoring_line(event)
    assert line is not None
    assert said in printed(line)


def test_other_events_have_no_line() -> None:
    assert monitoring_line({"event": "window", "number": 3}) is None


def test_windows_are_rows_whether_labels_are_known_or_not() -> None:
    window = {"number": 5, "window": "2025-05-01..2025-05-30", "model": 1, "rows": 4321, "performance": None}
    window |= {"drifts": [drift("amount", 0.31, 0.001), drift("score", 0.9, 0.001)], "calibration": None}
    window |= {"alert_rate": {"rate": {"value": 0.0123, "low": 0.01, "high": 0.02}}}
    judged = window | {
        "number": 6,
        "performance": {"figures": {"auprc": {"value": 0.456}}, "missed_ratio": {"value": 2.0}},
    }
    judged |= {"drifts": [drift("amount", 0.05, 0.5)], "alert_rate": None}
    outcome = {"name": "watch", "monitoring": {"quiet": 4, "windows": [window, judged]}}
    lines = printed(windows_table(outcome)).splitlines()
    assert "the first 4 are the reference" in lines[0]
    first, second = (line.split() for line in lines if line.strip().startswith(("5 ", "6 ")))
    assert first == ["5", "2025-05-01", "1", "4,321", "0.310*", "1.23%"]
    assert second == ["6", "2025-05-01", "1", "4,321", "0.050", "0.456", "×2.00"]


def drift(name: str, psi: float, p_value: float) -> dict[str, Any]:
    return {"name": name, "psi": psi, "p_adjusted": p_value}


def printed(what: Any) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(what)
    return console.file.getvalue()  # type: ignore[attr-defined]
