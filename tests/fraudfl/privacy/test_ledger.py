"""The bank's ledger: durable, one entry per release, and bytes only until they are acknowledged."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fraudfl.privacy.ledger import Entry, Ledger, digest

DATA = b"update of round one"
ENTRY = Entry(
    key="plan/instance/1/1/train/cohort",
    plan_hash="plan",
    instance="instance",
    round=1,
    attempt=1,
    kind="train",
    mechanism={"steps": 3, "noise_multiplier": 1.25},
    size=len(DATA),
    digest=digest(DATA),
    reply=DATA,
)


def other(round_number: int, **facts: object) -> Entry:
    return replace(ENTRY, key=f"key {round_number} {sorted(facts.items())}", round=round_number, **facts)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.db")


def test_an_entry_is_found_again_whole_by_a_new_process(ledger: Ledger, tmp_path: Path) -> None:
    ledger.record(ENTRY)
    assert Ledger(tmp_path / "ledger.db").find(ENTRY.key) == ENTRY
    code = (
        "import sys; from pathlib import Path; from fraudfl.privacy.ledger import Ledger;"
        f"print(Ledger(Path(sys.argv[1])).find({ENTRY.key!r}).digest)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "ledger.db")], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == ENTRY.digest


def test_an_entry_outlives_a_process_that_is_killed_right_after(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from fraudfl.privacy.ledger import Entry, Ledger;"
        "Ledger(Path(sys.argv[1])).record(Entry(key='k', plan_hash='p', instance='i', round=1, attempt=1, kind='train',"
        " mechanism=None, size=1, digest='d', reply=b'x')); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "ledger.db")], check=False)
    assert done.returncode == -9
    assert Ledger(tmp_path / "ledger.db").find("k") is not None


def test_a_key_that_was_never_released_is_not_found(ledger: Ledger) -> None:
    assert ledger.find("nothing") is None


def test_one_key_is_one_release(ledger: Ledger) -> None:
    ledger.record(ENTRY)
    with pytest.raises(sqlite3.IntegrityError):
        ledger.record(replace(ENTRY, reply=b"other noise"))
    assert ledger.find(ENTRY.key) == ENTRY
    assert len(ledger.entries()) == 1


def test_entries_come_in_the_order_of_release(ledger: Ledger) -> None:
    for number in (3, 1, 2):
        ledger.record(other(number))
    assert [entry.round for entry in ledger.entries()] == [3, 1, 2]


def test_acknowledging_drops_bytes_up_to_the_round_and_keeps_entries_and_their_cost(ledger: Ledger) -> None:
    for number in (1, 2, 3):
        ledger.record(other(number))
    ledger.acknowledge("instance", 2)
    assert [entry.reply for entry in ledger.entries()] == [None, None, DATA]
    assert [entry.digest for entry in ledger.entries()] == [ENTRY.digest] * 3
    assert len(ledger.mechanisms()) == 3


def test_acknowledging_touches_neither_other_instances_nor_other_kinds(ledger: Ledger) -> None:
    ledger.record(other(1, instance="another"))
    ledger.record(other(1, kind="sketch"))
    ledger.acknowledge("instance", 5)
    assert [entry.reply for entry in ledger.entries()] == [DATA, DATA]


def test_mechanisms_are_listed_per_plan_whatever_the_instance_or_for_the_whole_history(ledger: Ledger) -> None:
    ledger.record(other(1))
    ledger.record(other(2, instance="another"))
    ledger.record(other(3, plan_hash="another plan"))
    ledger.record(other(4, mechanism=None))
    assert len(ledger.mechanisms("plan")) == 2
    assert ledger.mechanisms() == [ENTRY.mechanism] * 3


def test_the_digest_is_sha_256() -> None:
    assert digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
