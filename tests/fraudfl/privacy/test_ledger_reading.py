"""A ledger opened for reading alone: it tells all, and nothing can be written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fraudfl.errors import PrivacyError
from fraudfl.privacy.ledger import Ledger, Release

RELEASE = Release(
    key="plan/instance/1/1/train/cohort",
    plan_hash="plan",
    instance="instance",
    phase="pilot",
    round=1,
    attempt=1,
    kind="train",
    mechanism={"kind": "dp-sgd", "steps": 3, "noise_multiplier": 1.25},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.reserve(RELEASE)
    ledger.release(RELEASE.key, b"update")
    return tmp_path / "ledger.db"


def test_what_was_charged_is_told(path: Path) -> None:
    found = Ledger(path, read_only=True)
    assert found.charges() == Ledger(path).charges()
    assert found.head() == Ledger(path).head()
    found.verify()


def test_nothing_can_be_written_and_the_file_stays_as_it_is(path: Path) -> None:
    before = path.stat().st_mtime_ns, path.read_bytes()
    with pytest.raises(PrivacyError, match="readonly"):
        Ledger(path, read_only=True).reserve(replace(RELEASE, key="another"))
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before


def test_none_is_made_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(PrivacyError, match=r"ledger\.db"):
        Ledger(tmp_path / "ledger.db", read_only=True)
    assert not (tmp_path / "ledger.db").exists()


def test_an_empty_file_is_no_ledger_and_stays_empty(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").touch()
    with pytest.raises(PrivacyError, match="not a ledger"):
        Ledger(tmp_path / "ledger.db", read_only=True)
    assert (tmp_path / "ledger.db").stat().st_size == 0
