"""What a run looks like: rounds as they end, banks left out, and tables at the end."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from memory_fleet import tiny_config
from rich.console import Console

from server.commands.view import JsonView, QuietView, RichView
from server.store.events import EventLog, EventReader

PHASE = tiny_config().phases[0]
ROUND = {"event": "round", "round": 1, "rounds": 3, "banks": 6.0, "loss": 0.25, "auprc": 0.5, "seconds": 0.4}
EVENTS: list[dict[str, Any]] = [
    {"event": "gathering", "banks": 6},
    {"event": "heard", "kind": "join", "round": 0, "bank": "bank-01", "of": 6},
    {"event": "encoder", "width": 12, "bytes": 100},
    {"event": "excluded", "bank": "bank-02", "round": 1, "reason": "no answer within 5 s"},
    {"event": "short", "round": 1, "attempt": 1, "heard": 2, "needed": 5},
    ROUND | {"bytes_up": 10**6, "bytes_down": 10**6},
    {"event": "evaluated", "auprc": 0.5},
    {"event": "comparing", "baselines": []},
    {"event": "something that later versions say"},
    {"event": "gain missed", "reason": "2 of 6 banks answered"},
]
ROW = {"auprc": 0.5, "auprc_bank_mean": None, "auroc": 0.9, "balanced_accuracy": 0.8, "recall_at_budget": 0.4}


def outcome(**facts: Any) -> dict[str, Any]:
    metrics = {"source": "exact", "federated": ROW, "alone": ROW, "pooled": None, "xgboost": None, "intervals": {}}
    metrics["per_bank"] = {"bank-01": {"alone": 0.4, "federated": None, "interval": None}}
    transfer = {"bytes_up": 5, "bytes_down": 5, "raw_csv_bytes": 100, "raw_parquet_bytes": 50}
    transfer |= {"savings_vs_csv": 0.9, "savings_vs_parquet": 0.8, "worst_bank_savings_vs_csv": 0.7}
    privacy = {
        "mode": "local",
        "unit": "transaction",
        "delta": 1e-6,
        "epsilon_max": 7.9,
        "secure_aggregation": False,
        "not_covered": ["sketches"],
    }
    usual = {"name": "pilot", "kind": "pilot", "status": "completed", "roster": 6, "banks": 5, "rounds": 3}
    usual |= {
        "model_version": 1,
        "excluded": [],
        "gates": [],
        "metrics": metrics,
        "privacy": privacy,
        "transfer": transfer,
    }
    return usual | {"seconds": 3.0} | facts


def shown(width: int, **facts: Any) -> str:
    console = Console(file=io.StringIO(), width=width)
    view = RichView(console)
    view.begin(PHASE)
    for event in EVENTS:
        view.show(event)
    view.end(outcome(**facts))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_run_shows_rounds_banks_left_out_and_figures() -> None:
    said = shown(160)
    for part in (
        "bank-02",
        "no answer within 5 s",
        "loss 0.2500",
        "AUPRC 0.500",
        "2.00 MB",
        "90.0%",
        "7.9",
        "sketches",
        "the banks' gains were not counted: 2 of 6 banks answered",
    ):
        assert part in said, part


def test_starts_assessments_and_promotions_are_told() -> None:
    console = Console(file=io.StringIO(), width=200)
    view = RichView(console)
    view.begin(PHASE.model_copy(update={"start": "rollout-first"}))
    view.show({"event": "started from", "digest": "ab" * 32})
    view.show({"event": "assessed", "banks": 9, "left_out": ["channel"]})
    view.show({"event": "assessed", "banks": 9, "left_out": []})
    view.show({"event": "promotion", "done": True, "reason": "the challenger is better: auprc 0.5 [sic]"})
    view.show({"event": "promotion", "done": False, "reason": "the challenger is not better"})
    view.end(outcome(metrics=None))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    for part in (
        "from rollout-first",
        "training goes on from model abababababab",
        "assessed at 9 banks; left out: channel",
        "assessed at 9 banks; every column stays",
        "the phase's model is champion: the challenger is better: auprc 0.5 [sic]",
        "the phase's model is not promoted: the challenger is not better",
    ):
        assert part in said, part


def test_an_assessment_ends_with_what_it_found() -> None:
    def figure(value: float, reach: float = 0.0) -> dict[str, float]:
        return {"value": value, "low": value - reach, "high": value + reach}

    estimate = {"phase": "rollout", "banks": 12, "rounds": 40, "bytes_up": 10**6, "bytes_down": 5 * 10**5}
    found = {
        "banks": 12,
        "ready_banks": figure(9, 1),
        "windows": {"train": {"frauds": figure(1234)}},
        "columns": [{"column": "channel", "reason": "3 of 12 banks have it"}],
        "schema": {"left_out": [{"column": "channel"}]},
        "ahead": [estimate | {"epsilon": 3.0}],
        "power": {"words": "the gate passes with a chance of 67%"},
    }
    said = shown(200, metrics=None, model_version=None, assessment=found)
    for part in (
        "8 to 10 of 12 banks have frauds enough to learn from; 1,234 frauds in the training window",
        "channel is left out by later phases: 3 of 12 banks have it",
        "ahead, rollout: 12 banks, 40 rounds, 1.5 MB, ε 3.00",
        "power: the gate passes with a chance of 67%",
    ):
        assert part in said, part


@pytest.mark.parametrize("metrics", [None])
def test_a_failed_phase_can_be_shown_too(metrics: None) -> None:
    assert "failed" in shown(80, metrics=metrics, status="failed", model_version=None)


def test_the_json_view_prints_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    view = JsonView()
    view.tell("starting")
    for event in EVENTS:
        view.show(event)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == EVENTS


def test_the_quiet_view_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    view = QuietView()
    view.tell("starting")
    view.begin(PHASE)
    view.show(ROUND)
    view.end(outcome())
    assert capsys.readouterr() == ("", "")


def test_events_are_followed_line_by_line_from_where_the_watcher_came_in(tmp_path: Any) -> None:
    path = tmp_path / "events.jsonl"
    EventLog(path).event("old")
    reader = EventReader(path)
    EventLog(path).event("new", bank="bank-01")
    with path.open("a") as file:
        file.write('{"event": "half')
    assert [event["event"] for event in reader.new()] == ["new"]
    with path.open("a") as file:
        file.write(' way"}\n')
    assert [event["event"] for event in reader.new()] == ["half way"]
    assert list(reader.new()) == []
