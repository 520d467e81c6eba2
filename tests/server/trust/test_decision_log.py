"""The log of decisions: signed, chained, and every way to spoil it named by line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from memory_fleet import tiny_config

from fraudfl.errors import ConfigError, TrustError
from fraudfl.trust.keys import new_key, private_pem, write_secret
from server.store.workspace import Workspace
from server.trust.certificates import Hosts
from server.trust.decision_log import DECISIONS_FILE, DecisionLog
from server.trust.pki import Pki


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    place = Workspace(tmp_path / "work")
    place.open(tiny_config(), resume=False)
    Pki.create(place.coordinator / "pki", "tiny", Hosts(("localhost",)))
    return place


@pytest.fixture
def log(workspace: Workspace) -> DecisionLog:
    made = DecisionLog(workspace, "tiny")
    for number in (1, 2, 3):
        made.add(promotion(number))
    return made


def promotion(number: int, **facts: Any) -> dict[str, Any]:
    own = {"action": "promote", "champion": number, "replaced": number - 1 or None, "digest": f"{number}" * 64}
    return own | {"by": "Ada Example", "reason": "agreed"} | facts


def test_a_log_without_a_decision_is_empty(workspace: Workspace) -> None:
    assert DecisionLog(workspace, "tiny").read() == []


def test_each_line_is_signed_and_names_the_one_before(log: DecisionLog, workspace: Workspace) -> None:
    lines = (workspace.coordinator / DECISIONS_FILE).read_bytes().splitlines()
    previous = [json.loads(line)["previous"] for line in lines]
    assert previous == ["0" * 64, *(hashlib.sha256(line).hexdigest() for line in lines[:-1])]
    assert {json.loads(line)["operator"] for line in lines} == {Pki(workspace.coordinator / "pki").operator}
    assert [one.champion for one in log.read()] == [1, 2, 3]


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda lines: [lines[0], lines[1].replace(b"Ada", b"Eve"), lines[2]], "line 2: the promotion's signature"),
        (lambda lines: lines[1:], "line 1: does not follow the line before"),
        (lambda lines: [*lines, lines[1]], "line 4: does not follow the line before"),
        (lambda lines: [lines[0], lines[2]], "line 2: does not follow the line before"),
        (lambda lines: [lines[0], b"{}"], "line 2: no valid promotion"),
    ],
    ids=["altered", "beginning cut off", "repeated", "taken out", "not a decision"],
)
def test_a_spoilt_log_is_named_by_line(
    log: DecisionLog, workspace: Workspace, spoil: Callable[[list[bytes]], list[bytes]], complaint: str
) -> None:
    path = workspace.coordinator / DECISIONS_FILE
    path.write_bytes(b"".join(line + b"\n" for line in spoil(path.read_bytes().splitlines())))
    with pytest.raises(TrustError, match=complaint):
        log.read()


def test_a_line_that_a_crash_cut_off_never_happened_and_is_replaced(log: DecisionLog, workspace: Workspace) -> None:
    path = workspace.coordinator / DECISIONS_FILE
    path.write_bytes(path.read_bytes()[:-20])
    assert [one.champion for one in log.read()] == [1, 2]
    log.add(promotion(4))
    assert [one.champion for one in log.read()] == [1, 2, 4]


def test_decisions_by_another_key_or_of_another_consortium_do_not_count(log: DecisionLog, workspace: Workspace) -> None:
    with pytest.raises(TrustError, match="line 1: is another operator's or consortium's"):
        DecisionLog(workspace, "other").read()
    write_secret(workspace.coordinator / "pki" / "operator.key", private_pem(new_key()), replace=True)
    log.add(promotion(4))
    with pytest.raises(TrustError, match="line 4: is another operator's"):
        log.read()


@pytest.mark.parametrize(
    ("facts", "complaint"),
    [({"by": ""}, "by: "), ({"reason": "two\nlines"}, "reason: "), ({"replaced": 4}, "version 4 is champion already")],
)
def test_a_decision_says_who_why_and_what_changed_or_is_not_written(
    log: DecisionLog, facts: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        log.add(promotion(4, **facts))
    assert len(log.read()) == 3
