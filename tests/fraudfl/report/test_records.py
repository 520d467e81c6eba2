"""Counting a ledger by plan, on real ledgers."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from fraudfl.privacy.ledger import Ledger, Release
from fraudfl.privacy.mechanisms import DpSgd
from fraudfl.report.records import UNNAMED, Tally, ledger_record, records_by_plan

COST = DpSgd(sampling_rate=0.1, noise_multiplier=1.0, clip_norm=1.0, steps=1, expected_batch=10).to_dict()
A, B = "a" * 64, "b" * 64


def asked(plan: str, kind: str, number: int = 0) -> Release:
    return Release(
        key=f"{plan}/{kind}/{number}",
        plan_hash=plan,
        instance="i1",
        phase="pilot",
        round=number,
        attempt=1,
        kind=kind,
        mechanism=COST if kind == "train" else None,
    )


def release(ledger: Ledger, plan: str, kind: str, number: int, data: bytes) -> None:
    ledger.reserve(asked(plan, kind, number))
    ledger.release(asked(plan, kind, number).key, data)


def filled(path: Path) -> Ledger:
    ledger = Ledger(path)
    ledger.note("offered", A)
    for number in (1, 2, 3):
        release(ledger, A, "train", number, b"x" * 10 * number)
    ledger.resent(asked(A, "train", 2).key)
    ledger.reserve(asked(A, "train", 4))
    ledger.refuse(asked(A, "train", 5), "NotNow: the bank is closed")
    ledger.refuse(asked(A, "train", 6), "SourceError while the reply was prepared; errors.log has the details")
    ledger.refuse(asked(A, "train", 7), "no name at all")
    release(ledger, B, "sketch", 0, b"y" * 7)
    return ledger


def test_each_plan_has_its_own_counts(tmp_path: Path) -> None:
    records = records_by_plan(filled(tmp_path / "ledger.db").entries())
    assert list(records) == [A, B]
    assert records[A].left == {"train": Tally(releases=3, bytes=60, resent=1, bytes_resent=20)}
    assert records[B].left == {"sketch": Tally(releases=1, bytes=7)}
    assert (records[A].rounds, records[A].open, records[B].open) == ({1, 2, 3}, 1, 0)
    assert (records[A].phase, records[A].instances) == ("pilot", ["i1"])


def test_refusals_are_counted_by_kind_and_their_notes_stay_in_the_ledger(tmp_path: Path) -> None:
    records = records_by_plan(filled(tmp_path / "ledger.db").entries())
    assert dict(records[A].refused) == {"NotNow": 1, "SourceError": 1, UNNAMED: 1}


def test_an_instance_that_only_a_refused_request_named_is_no_folder_to_look_into(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    facts = vars(asked(A, "train", 1)) | {"instance": "../../elsewhere"}
    ledger.refuse(Release(**facts), "ReleaseRefused: phase instance '../../elsewhere' cannot be a folder's name")
    assert records_by_plan(ledger.entries())[A].instances == []


def test_charges_put_back_after_a_restoration_are_counted(tmp_path: Path) -> None:
    ledger = filled(tmp_path / "ledger.db")
    ledger.restore(ledger.head()[0], [COST, COST], "restored by a test", A)
    assert records_by_plan(ledger.entries())[A].restored == 2


def test_a_ledger_in_order_says_so_with_its_head(tmp_path: Path) -> None:
    ledger = filled(tmp_path / "ledger.db")
    record = ledger_record("north", ledger)
    assert (record.verified, record.problem, record.witness) == (True, "", "")
    assert (record.entries, record.head) == ledger.head()
    assert record.events == {"noted": 1, "refused": 3, "released": 4, "resent": 1, "reserved": 5}


def test_a_ledger_is_compared_with_what_the_coordinator_has_seen(tmp_path: Path) -> None:
    ledger = filled(tmp_path / "ledger.db")
    known = ledger.entries()[3]
    assert ledger_record("north", ledger, (known.entry, known.hash)).verified
    found = ledger_record("north", ledger, (99, "f" * 64))
    assert (found.verified, "entry 99" in found.problem) == (False, True)


def test_an_altered_entry_is_stated_and_does_not_stop_the_report(tmp_path: Path) -> None:
    ledger = filled(tmp_path / "ledger.db")
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        guards = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")]
        for name in guards:
            connection.execute(f'DROP TRIGGER "{name}"')
        connection.execute("UPDATE entries SET bytes = 1 WHERE entry = 3")
    record = ledger_record("north", ledger)
    assert record.verified is False
    assert "entry 3 was altered" in record.problem
