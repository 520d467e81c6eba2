"""The bank's ledger: what is reserved is charged, what is released is kept, and a key is one release."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fraudfl.errors import PrivacyError, ReleaseRefused
from fraudfl.privacy.ledger import Ledger, Release, digest

DATA = b"update of round one"
MECHANISM = {"kind": "dp-sgd", "steps": 3, "noise_multiplier": 1.25}
FIRST = Release(
    key="plan/instance/1/1/train/cohort",
    plan_hash="plan",
    instance="instance",
    phase="pilot",
    round=1,
    attempt=1,
    kind="train",
    mechanism=MECHANISM,
)


def other(round_number: int, **facts: Any) -> Release:
    return replace(FIRST, key=f"key {round_number} {sorted(facts.items())}", round=round_number, **facts)


def let_go(ledger: Ledger, release: Release, data: bytes = DATA) -> None:
    ledger.reserve(release)
    ledger.release(release.key, data)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.db")


def test_a_new_ledger_has_no_entries_and_fits_itself(ledger: Ledger) -> None:
    assert ledger.entries() == []
    assert ledger.head() == (0, "0" * 64)
    ledger.verify()


def test_a_release_is_reserved_and_then_released_with_its_size_and_digest(ledger: Ledger) -> None:
    reserved = ledger.reserve(FIRST)
    released = ledger.release(FIRST.key, DATA)
    assert (reserved.entry, reserved.event, reserved.mechanism, reserved.size) == (1, "reserved", MECHANISM, 0)
    assert (released.entry, released.event, released.mechanism) == (2, "released", None)
    assert (released.size, released.digest) == (len(DATA), hashlib.sha256(DATA).hexdigest())
    for name in ("key", "plan_hash", "instance", "phase", "round", "attempt", "kind"):
        assert getattr(reserved, name) == getattr(released, name) == getattr(FIRST, name)
    assert ledger.entries() == [reserved, released]
    assert ledger.entries(since=1) == [released]


def test_what_is_written_is_found_by_another_that_opens_the_file(ledger: Ledger, tmp_path: Path) -> None:
    let_go(ledger, FIRST)
    again = Ledger(tmp_path / "ledger.db")
    found = again.find(FIRST.key)
    assert found is not None
    assert found.event == "released"
    assert again.kept(FIRST.key) == DATA
    assert again.head() == ledger.head() == (2, found.hash)


def test_a_reservation_is_found_until_its_release_takes_its_place(ledger: Ledger) -> None:
    assert ledger.find(FIRST.key) is None
    ledger.reserve(FIRST)
    found = ledger.find(FIRST.key)
    assert found is not None
    assert found.event == "reserved"
    assert ledger.kept(FIRST.key) is None


def test_reserving_the_same_again_changes_nothing_before_and_after_the_release(ledger: Ledger) -> None:
    first = ledger.reserve(FIRST)
    assert ledger.reserve(replace(FIRST)) == first
    ledger.release(FIRST.key, DATA)
    assert ledger.reserve(FIRST) == first
    assert ledger.head()[0] == 2
    assert ledger.mechanisms() == [MECHANISM]


@pytest.mark.parametrize(
    "facts",
    [
        {"plan_hash": "other"},
        {"instance": "other"},
        {"phase": "other"},
        {"round": 2},
        {"attempt": 2},
        {"kind": "sketch"},
        {"mechanism": None},
        {"mechanism": {**MECHANISM, "steps": 4}},
    ],
)
def test_a_key_that_comes_again_with_other_facts_is_refused(ledger: Ledger, facts: dict[str, Any]) -> None:
    ledger.reserve(FIRST)
    with pytest.raises(ReleaseRefused, match=f"with {next(iter(facts))} .*another release needs another key"):
        ledger.reserve(replace(FIRST, **facts))
    assert ledger.head()[0] == 1


def test_a_reservation_left_open_by_a_crash_stays_charged_and_is_completed_at_no_further_cost(
    ledger: Ledger, tmp_path: Path
) -> None:
    ledger.reserve(FIRST)
    again = Ledger(tmp_path / "ledger.db")
    assert again.mechanisms("plan") == [MECHANISM]
    let_go(again, FIRST)
    assert again.mechanisms("plan") == [MECHANISM]
    assert again.kept(FIRST.key) == DATA


def test_nothing_is_released_without_a_reservation(ledger: Ledger) -> None:
    with pytest.raises(ReleaseRefused, match="was not reserved"):
        ledger.release(FIRST.key, DATA)
    assert ledger.entries() == []
    assert ledger.kept(FIRST.key) is None


def test_a_key_is_never_released_with_other_bytes(ledger: Ledger) -> None:
    ledger.reserve(FIRST)
    first = ledger.release(FIRST.key, DATA)
    assert ledger.release(FIRST.key, DATA) == first
    with pytest.raises(ReleaseRefused, match="released in entry 2 with other bytes"):
        ledger.release(FIRST.key, b"other noise")
    assert ledger.kept(FIRST.key) == DATA
    assert ledger.head()[0] == 2


def test_an_empty_reply_is_kept_as_empty_bytes(ledger: Ledger) -> None:
    let_go(ledger, FIRST, b"")
    assert ledger.kept(FIRST.key) == b""


@pytest.mark.parametrize("change", ["SET reply = X'00'", "SET reply = 'update of round one'", "SET key = 'thief'"])
def test_kept_bytes_that_were_changed_on_disk_are_refused(ledger: Ledger, tmp_path: Path, change: str) -> None:
    let_go(ledger, FIRST)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection, connection:
        connection.execute(f"UPDATE replies {change}")
    with pytest.raises(ReleaseRefused, match="was changed on disk; it is not sent"):
        ledger.kept("thief" if "thief" in change else FIRST.key)


def test_a_redelivery_is_written_down_with_its_bytes_and_costs_nothing(ledger: Ledger) -> None:
    let_go(ledger, FIRST)
    again = ledger.resent(FIRST.key)
    assert (again.event, again.size, again.digest, again.mechanism) == ("resent", len(DATA), digest(DATA), None)
    assert ledger.mechanisms() == [MECHANISM]
    found = ledger.find(FIRST.key)
    assert found is not None
    assert found.event == "released"


def test_only_what_was_released_can_be_sent_again(ledger: Ledger) -> None:
    ledger.reserve(FIRST)
    with pytest.raises(ReleaseRefused, match="never released"):
        ledger.resent(FIRST.key)


def test_a_refusal_is_written_down_with_its_reason_and_charges_nothing(ledger: Ledger) -> None:
    refused = ledger.refuse(FIRST, "plan was never approved")
    assert (refused.event, refused.key, refused.note) == ("refused", FIRST.key, "plan was never approved")
    assert ledger.mechanisms() == []
    assert ledger.find(FIRST.key) is None
    let_go(ledger, FIRST)  # a refused key may be released later


def test_notes_are_part_of_the_chain_long_ones_cut_and_unwritable_characters_replaced(ledger: Ledger) -> None:
    assert ledger.note("policy changed by Ada", plan_hash="plan").plan_hash == "plan"
    assert ledger.note("file \udcff.csv").note == "file ?.csv"
    assert len(ledger.note("é" * 5000).note) == 2000
    ledger.verify()
    assert [entry.event for entry in ledger.entries()] == ["noted"] * 3


@pytest.mark.parametrize(
    "facts",
    [
        {"key": "k" * 2000},
        {"plan_hash": "\ud800"},
        {"instance": 7},
        {"round": 2**40},
        {"round": True},
        {"attempt": 1.0},
    ],
)
def test_facts_that_could_not_be_written_down_as_they_are_make_no_release(facts: dict[str, Any]) -> None:
    with pytest.raises(ReleaseRefused, match=f"{next(iter(facts))} of a release is .*expected"):
        replace(FIRST, **facts)


@pytest.mark.parametrize("name", ["key", "plan_hash", "kind"])
def test_a_release_without_key_plan_or_kind_is_not_reserved(ledger: Ledger, name: str) -> None:
    with pytest.raises(ReleaseRefused, match="needs a key, a plan and a kind"):
        ledger.reserve(replace(FIRST, **{name: ""}))


@pytest.mark.parametrize("mechanism", [{"noise": float("nan")}, {"noise": {1, 2}}])
def test_a_mechanism_that_is_no_json_is_refused(ledger: Ledger, mechanism: dict[str, Any]) -> None:
    with pytest.raises(PrivacyError, match="cannot be written down"):
        ledger.reserve(replace(FIRST, mechanism=mechanism))


def test_acknowledging_drops_bytes_up_to_the_round_and_keeps_entries_and_their_cost(ledger: Ledger) -> None:
    releases = [other(number) for number in (1, 2, 3)]
    for release in releases:
        let_go(ledger, release)
    before = ledger.entries()
    ledger.acknowledge("instance", 2)
    assert [ledger.kept(release.key) for release in releases] == [None, None, DATA]
    assert ledger.entries() == before
    assert len(ledger.mechanisms()) == 3
    ledger.verify()


def test_acknowledging_touches_neither_other_instances_nor_other_kinds(ledger: Ledger) -> None:
    releases = [other(1, instance="another"), other(1, kind="sketch")]
    for release in releases:
        let_go(ledger, release)
    ledger.acknowledge("instance", 5)
    assert [ledger.kept(release.key) for release in releases] == [DATA, DATA]


def test_mechanisms_are_listed_per_plan_whatever_the_instance_or_for_the_whole_history(ledger: Ledger) -> None:
    let_go(ledger, other(1))
    let_go(ledger, other(2, instance="another"))
    let_go(ledger, other(3, plan_hash="another plan"))
    let_go(ledger, other(4, mechanism=None))
    assert ledger.mechanisms("plan") == [MECHANISM] * 2
    assert ledger.mechanisms() == [MECHANISM] * 3


def test_mechanisms_can_be_listed_since_a_time(tmp_path: Path) -> None:
    now = datetime(2026, 3, 31, 23, 30, tzinfo=UTC)
    times = iter([now, now + timedelta(hours=1)])
    ledger = Ledger(tmp_path / "ledger.db", clock=lambda: next(times))
    ledger.reserve(other(1))
    ledger.reserve(other(2, mechanism={**MECHANISM, "steps": 7}))
    berlin = datetime.fromisoformat("2026-04-01T02:00:00+02:00")  # midnight in UTC
    assert ledger.mechanisms(since=berlin) == [{**MECHANISM, "steps": 7}]
    assert len(ledger.mechanisms("plan", since=now)) == 2
    with pytest.raises(PrivacyError, match="names no zone"):
        ledger.mechanisms(since=datetime(2026, 4, 1))


def test_changing_a_mechanism_that_was_handed_out_changes_no_other(ledger: Ledger) -> None:
    let_go(ledger, other(1))
    let_go(ledger, other(2))
    first, second = ledger.mechanisms()
    first["steps"] = 0
    assert second == MECHANISM


def test_the_digest_is_sha_256() -> None:
    assert digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
