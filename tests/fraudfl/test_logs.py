"""Structured logs: one JSON object a line, whatever is said."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime

import pytest

from fraudfl.logs import JsonLines, log_as_json


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str]) -> Iterator[pytest.CaptureFixture[str]]:
    root, names = logging.getLogger(), ("httpx", "flwr", "uvicorn", "sqlalchemy", "mlflow", "alembic", "httpcore")
    before = root.handlers[:], root.level, {name: logging.getLogger(name).handlers[:] for name in names}
    levels = {name: (logging.getLogger(name).level, logging.getLogger(name).propagate) for name in names}
    yield capsys
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    for name in names:
        logger = logging.getLogger(name)
        logger.handlers[:] = before[2][name]
        logger.level, logger.propagate = levels[name]


def test_each_line_is_one_object_with_time_level_logger_and_message(stderr: pytest.CaptureFixture[str]) -> None:
    log_as_json(logging.INFO)
    logging.getLogger("fraudfl.test").info('%s said\n"%d" — ä', "Ada", 5)
    logging.getLogger("fraudfl.test").debug("not this")
    (line,) = stderr.readouterr().err.splitlines()
    found = json.loads(line)
    assert {key: found[key] for key in ("level", "logger", "message")} == {
        "level": "info",
        "logger": "fraudfl.test",
        "message": 'Ada said\n"5" — ä',
    }
    assert datetime.fromisoformat(found["time"]).utcoffset() is not None
    assert set(found) == {"time", "level", "logger", "message"}


def test_an_exception_is_named_and_traced_within_its_line(stderr: pytest.CaptureFixture[str]) -> None:
    log_as_json(logging.INFO)
    try:
        raise ValueError("no good")
    except ValueError:
        logging.getLogger("fraudfl.test").exception("it failed")
    (line,) = stderr.readouterr().err.splitlines()
    found = json.loads(line)
    assert (found["level"], found["error"]) == ("error", "ValueError")
    assert found["traceback"].endswith("ValueError: no good")


def test_said_twice_is_set_up_twice_and_logged_once(stderr: pytest.CaptureFixture[str]) -> None:
    log_as_json(logging.INFO)
    log_as_json(logging.INFO)
    logging.getLogger("fraudfl.test").info("once")
    assert len(stderr.readouterr().err.splitlines()) == 1


def test_libraries_speak_from_warnings_on_and_in_the_same_way(stderr: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("flwr").addHandler(logging.StreamHandler())
    # As Streamlit does when it is imported.
    logging.getLogger("uvicorn.error").addHandler(logging.StreamHandler())
    logging.getLogger("uvicorn.error").propagate = False
    log_as_json(logging.INFO)
    for name in ("httpx", "flwr", "uvicorn.error"):
        logging.getLogger(name).info("chatter")
        logging.getLogger(name).warning("worth it")
    lines = [json.loads(line) for line in stderr.readouterr().err.splitlines()]
    assert [(line["logger"], line["message"]) for line in lines] == [
        ("httpx", "worth it"),
        ("flwr", "worth it"),
        ("uvicorn.error", "worth it"),
    ]


def test_a_record_without_an_exception_that_was_asked_to_show_one_has_none() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 1, "calm", (), (None, None, None))
    assert "error" not in json.loads(JsonLines().format(record))
