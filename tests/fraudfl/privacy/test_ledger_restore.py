"""A ledger restored from an older copy: how it is told, and what is charged so that nothing is spent twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from fraudfl.errors import PrivacyError, ReleaseRefused
from fraudfl.privacy.ledger import Ledger, Release


def release_of(key: str) -> Release:
    return Release(
        key=key,
        plan_hash="plan",
        instance="i",
        phase="pilot",
        round=1,
        attempt=1,
        kind="train",
        mechanism={"steps": 1},
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Ledger:
    ledger = Ledger(path)
    ledger.reserve(release_of("one"))
    ledger.release("one", b"1")
    return ledger


def old_copy(ledger: Ledger, path: Path, tmp_path: Path) -> Ledger:
    """The ledger as it was, while the true one goes on by two releases."""
    copy = tmp_path / "old" / "ledger.db"
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    for key in ("two", "three"):
        ledger.reserve(release_of(key))
        ledger.release(key, key.encode())
    return Ledger(copy)


def test_an_old_copy_is_behind_what_others_have_seen(ledger: Ledger, path: Path, tmp_path: Path) -> None:
    old = old_copy(ledger, path, tmp_path)
    assert old.behind(ledger.head()[0])
    assert old.behind(10**30)
    assert not old.behind(2)
    assert not old.behind(0)
    assert not ledger.behind(*ledger.head())


def test_an_old_copy_that_was_written_on_is_told_by_the_hash(ledger: Ledger, path: Path, tmp_path: Path) -> None:
    old = old_copy(ledger, path, tmp_path)
    for number in range(10):
        old.note(str(number))
    seen, hashed = ledger.head()
    assert not old.behind(seen)
    assert old.behind(seen, hashed)
    assert not old.behind(2, ledger.entries()[1].hash)


def test_restoring_charges_what_was_forgotten_and_numbers_go_on_above_what_was_seen(
    ledger: Ledger, path: Path, tmp_path: Path
) -> None:
    old = old_copy(ledger, path, tmp_path)
    seen = ledger.head()[0]
    restored = old.restore(seen, [{"steps": 1}, {"steps": 1}], "Ada, from Sunday's backup", plan_hash="plan")
    assert [entry.entry for entry in restored] == [seen + 1, seen + 2]
    assert [entry.event for entry in restored] == ["restored"] * 2
    assert restored[0].key == f"gap/3/{seen}"
    assert restored[1].key == ""
    assert not old.behind(*ledger.head())
    assert old.mechanisms("plan") == ledger.mechanisms("plan") == [{"steps": 1}] * 3
    old.reserve(release_of("two again"))
    old.verify()
    assert old.head()[0] == seen + 3


def test_a_charge_whose_plan_is_not_known_counts_against_every_plan(ledger: Ledger) -> None:
    ledger.restore(50, [{"steps": 9}], "nobody knows")
    assert ledger.mechanisms("plan") == [{"steps": 1}, {"steps": 9}]
    assert ledger.mechanisms("another") == [{"steps": 9}]


def test_a_lost_ledger_begins_above_what_was_seen(path: Path) -> None:
    ledger = Ledger(path)
    ledger.restore(57, [], "the disk was lost")
    assert [(entry.entry, entry.key) for entry in ledger.entries()] == [(58, "gap/1/57")]
    assert ledger.mechanisms() == []
    ledger.verify()


def test_a_reservation_that_an_old_copy_shows_as_open_is_not_released_again(path: Path, tmp_path: Path) -> None:
    true = Ledger(path)
    true.reserve(release_of("open"))
    copy = tmp_path / "copy.db"
    copy.write_bytes(path.read_bytes())
    true.release("open", b"left the bank")
    old = Ledger(copy)
    old.restore(true.head()[0], [], "from a copy")
    for again in (lambda: old.reserve(release_of("open")), lambda: old.release("open", b"other noise")):
        with pytest.raises(ReleaseRefused, match="before this ledger was restored; it may have left since"):
            again()
    old.reserve(release_of("new"))
    old.release("new", b"fresh")
    old.verify()


def test_a_release_from_before_a_restoration_is_still_sent_again(ledger: Ledger) -> None:
    ledger.restore(9, [], "")
    assert ledger.reserve(release_of("one")).entry == 1
    assert ledger.kept("one") == b"1"
    assert ledger.resent("one").entry == 11


@pytest.mark.parametrize("seen", [-1, 2**53])
def test_numbers_that_cannot_have_been_seen_are_not_restored_to(ledger: Ledger, seen: int) -> None:
    with pytest.raises(PrivacyError, match="cannot have been seen"):
        ledger.restore(seen, [], "")


def test_a_ledger_that_forgot_nothing_is_not_restored(ledger: Ledger) -> None:
    with pytest.raises(PrivacyError, match="ends at entry 2, entry 2 was seen; nothing is missing"):
        ledger.restore(2, [], "")
    # A copy that was written on: its numbers suffice, its charges do not.
    assert ledger.restore(1, [{"steps": 4}], "by hash")[0].entry == 3
    ledger.verify()


def test_a_restoration_with_an_unwritable_charge_leaves_nothing(ledger: Ledger) -> None:
    with pytest.raises(PrivacyError, match="cannot be written down"):
        ledger.restore(9, [{"steps": 1}, {"steps": float("inf")}], "")
    assert ledger.head()[0] == 2


# Put back release by release, as receipts name them.


def test_what_is_put_back_keeps_its_key_and_is_charged_to_its_plan(ledger: Ledger, path: Path, tmp_path: Path) -> None:
    old = old_copy(ledger, path, tmp_path)
    seen = ledger.head()[0]
    put = old.put_back(seen, [release_of("two"), release_of("three")], "Ada, from receipts")
    assert [(entry.entry, entry.key) for entry in put] == [
        (seen + 1, f"gap/3/{seen}"),
        (seen + 2, "two"),
        (seen + 3, "three"),
    ]
    assert put[0].mechanism is None
    assert old.mechanisms("plan") == ledger.mechanisms("plan")
    assert old.reserved("plan", "train") == 3
    for key in ("two", "three"):
        with pytest.raises(ReleaseRefused, match="a second value never leaves under it"):
            old.reserve(release_of(key))
    old.verify()


def test_what_is_put_back_is_all_there_or_not_at_all(ledger: Ledger) -> None:
    bad = Release(
        key="k", plan_hash="p", instance="i", phase="", round=1, attempt=1, kind="train", mechanism={"steps": {1, 2}}
    )
    with pytest.raises(PrivacyError, match="cannot be written down"):
        ledger.put_back(9, [release_of("two"), bad], "Ada")
    assert ledger.head()[0] == 2


def test_a_copy_that_was_written_on_is_no_longer_behind_once_it_was_mended(
    ledger: Ledger, path: Path, tmp_path: Path
) -> None:
    old = old_copy(ledger, path, tmp_path)
    for number in range(10):
        old.note(str(number))
    seen, hashed = ledger.head()
    assert old.behind(seen, hashed)
    old.put_back(seen, [], "Ada: nothing had a price")
    assert not old.behind(seen, hashed)
    assert old.entries()[-1].event == "restored"
    old.verify()


def test_charges_are_counted_per_plan_and_mechanism(ledger: Ledger) -> None:
    ledger.reserve(release_of("two"))
    ledger.restore(50, [{"steps": 9}, {"steps": 9}], "nobody knows")
    assert [(charge.plan_hash, charge.mechanism, charge.count) for charge in ledger.charges()] == [
        ("plan", {"steps": 1}, 2),
        ("", {"steps": 9}, 2),
    ]
    assert ledger.charges("another") == ledger.charges()[1:]
    assert sum(charge.count for charge in ledger.charges("plan")) == len(ledger.mechanisms("plan"))
