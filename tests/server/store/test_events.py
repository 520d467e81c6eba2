"""Events as they are written, and as they are read back."""

from __future__ import annotations

from pathlib import Path

from server.store.events import EventLog, events_named, read_lines


def test_events_of_one_name_come_back_as_they_were_told(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.event("round", round=1, note='an "event": "heard" within')
    log.event("heard", bank="bank-01", kind="round")
    log.event("round", round=2)
    lines = read_lines(tmp_path / "events.jsonl")
    assert len(lines) == 3
    assert [event["round"] for event in events_named("round", lines)] == [1, 2]
    assert [event["bank"] for event in events_named("heard", lines)] == ["bank-01"]


def test_a_line_that_is_being_written_and_a_damaged_one_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('{"event": "round", "round": 1}\n{"event": "round", "rou\n{"event": "round", "round": 2')
    lines = read_lines(file)
    assert [event["round"] for event in events_named("round", lines)] == [1]


def test_there_are_no_lines_where_there_is_no_file(tmp_path: Path) -> None:
    assert read_lines(tmp_path / "events.jsonl") == []
