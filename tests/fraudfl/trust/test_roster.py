"""The roster: what the operator signs, what a bank refuses, and how members come, go and change keys."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from fraudfl.errors import TrustError
from fraudfl.trust.enrolment import Enrolment, make_enrolment
from fraudfl.trust.keys import PrivateKey, fingerprint, new_key, public_text, sign
from fraudfl.trust.roster import (
    Member,
    Roster,
    add_member,
    newer_than,
    parse_roster,
    read_roster,
    remove_member,
    replace_member,
    sign_roster,
)

OPERATOR, IMPOSTOR = new_key(), new_key()
KEYS = [new_key() for _ in range(5)]
PUBLIC = public_text(OPERATOR)
WHEN = datetime(2025, 3, 1, 9, 30, tzinfo=UTC)


def member(bank: str, key: PrivateKey) -> Member:
    return Member(bank=bank, public_key=public_text(key), since="2025-03-01T09:30:00+00:00")


def request(bank: str, key: PrivateKey) -> Enrolment:
    return make_enrolment(key, bank, WHEN)


NORTH, SOUTH = member("north", KEYS[0]), member("south", KEYS[1])
ROSTER = remove_member(
    sign_roster(OPERATOR, "baltic", 6, [NORTH, SOUTH, member("west", KEYS[2])], now=WHEN), "west", OPERATOR, now=WHEN
)
GOOD = ROSTER.to_bytes()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("roster") / "roster.json"


def read(path: Path, data: bytes, operator: str | None = PUBLIC) -> Roster:
    path.write_bytes(data)
    return read_roster(path, operator)


def forged(key: PrivateKey = OPERATOR, **fields: object) -> bytes:
    """A roster with other facts, canonical, and signed over exactly them."""
    facts = json.loads(GOOD) | fields
    del facts["signature"]
    signed = facts | {
        "signature": sign(key, "roster", json.dumps(facts, sort_keys=True, separators=(",", ":")).encode())
    }
    return json.dumps(signed, sort_keys=True, separators=(",", ":")).encode()


def test_a_roster_comes_back_whole(path: Path) -> None:
    assert read(path, GOOD) == ROSTER
    assert forged() != GOOD, "ECDSA draws a fresh nonce for each signature"
    assert read(path, forged()).members == (NORTH, SOUTH)
    assert ROSTER.member("south") == SOUTH


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_no_changed_byte_is_overlooked(path: Path, position: int, mask: int) -> None:
    data = bytearray(GOOD)
    data[position] ^= mask
    for operator in (PUBLIC, None):
        with pytest.raises(TrustError, match=r"roster\.json: "):
            read(path, bytes(data), operator)


def test_another_operators_roster_is_refused_where_the_key_is_pinned(path: Path) -> None:
    other = sign_roster(IMPOSTOR, "baltic", 8, [NORTH]).to_bytes()
    assert read(path, other, None).operator == public_text(IMPOSTOR)
    with pytest.raises(TrustError, match="not by this consortium's operator"):
        read(path, other)
    with pytest.raises(TrustError, match="signature is not by"):
        read(path, forged(IMPOSTOR))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"members": [NORTH.model_dump(), member("north", KEYS[1]).model_dump()]}, "bank north is there twice"),
        ({"members": [NORTH.model_dump(), member("south", KEYS[0]).model_dump()]}, "key ecdsa.* is there twice"),
        ({"members": [member("north", OPERATOR).model_dump()]}, "key ecdsa.* is there twice"),
        ({"members": [NORTH.model_dump() | {"public_key": "x"}]}, r"members\.0\.public_key: found 'x'"),
        ({"number": 0}, "number: found '0'"),
        ({"number": 7.0}, "edited or reformatted"),
        ({"issued": "yesterday"}, "issued: found 'yesterday'"),
        ({"consortium": "The Baltic"}, "consortium: found"),
        ({"version": 2}, "version 2 of this roster is not known here"),
    ],
)
def test_even_the_operator_cannot_sign_what_makes_no_sense(path: Path, fields: dict[str, object], problem: str) -> None:
    with pytest.raises(TrustError, match=rf"roster\.json: .*{problem}"):
        read(path, forged(**fields))


def test_signing_refuses_what_reading_would_refuse() -> None:
    with pytest.raises(TrustError, match="cannot be signed: members: bank north is there twice"):
        sign_roster(OPERATOR, "baltic", 1, [NORTH, NORTH])
    with pytest.raises(TrustError, match="cannot be signed: number"):
        sign_roster(OPERATOR, "baltic", 0, [])


def test_an_enrolments_signature_does_not_serve_for_a_roster(path: Path) -> None:
    facts = {name: value for name, value in json.loads(GOOD).items() if name != "signature"}
    facts["signature"] = sign(OPERATOR, "enrolment", json.dumps(facts, sort_keys=True, separators=(",", ":")).encode())
    with pytest.raises(TrustError, match="signature is not by"):
        read(path, json.dumps(facts, sort_keys=True, separators=(",", ":")).encode())


def test_a_roster_from_the_wire_is_checked_like_one_from_a_file() -> None:
    assert parse_roster(GOOD, PUBLIC) == ROSTER
    with pytest.raises(TrustError, match=r"coordinator's roster: .*not by this consortium's operator"):
        parse_roster(sign_roster(IMPOSTOR, "baltic", 8, []).to_bytes(), PUBLIC, "coordinator's roster")


def test_a_newer_roster_takes_the_place_of_the_known_one_and_an_older_one_does_not() -> None:
    older = sign_roster(OPERATOR, "baltic", 6, [NORTH], now=WHEN)
    assert newer_than(ROSTER, None) is ROSTER
    assert newer_than(ROSTER, older) is ROSTER
    assert newer_than(ROSTER, parse_roster(GOOD, PUBLIC)) is ROSTER
    with pytest.raises(TrustError, match=r"roster 6 of 2025-03-01.* is older than the known roster 7"):
        newer_than(older, ROSTER)


@pytest.mark.parametrize(
    ("offered", "problem"),
    [
        (sign_roster(OPERATOR, "baltic", 7, [NORTH]), "two different rosters have the number 7"),
        (sign_roster(OPERATOR, "nordic", 8, [NORTH]), "of consortium nordic; expected baltic"),
        (sign_roster(IMPOSTOR, "baltic", 8, [NORTH]), "ask the operator before trusting another key"),
    ],
)
def test_a_roster_that_does_not_follow_the_known_one_is_refused(offered: Roster, problem: str) -> None:
    with pytest.raises(TrustError, match=problem):
        newer_than(offered, ROSTER)


def test_adding_a_bank_changes_nobody_elses_entry() -> None:
    later = WHEN + timedelta(days=9)
    grown = add_member(ROSTER, request("east", KEYS[3]), OPERATOR, now=later)
    assert grown.members[:2] == (NORTH, SOUTH)
    assert grown.members[2] == Member(bank="east", public_key=public_text(KEYS[3]), since="2025-03-10T09:30:00+00:00")
    assert (grown.number, grown.issued, grown.removed) == (8, "2025-03-10T09:30:00+00:00", ROSTER.removed)
    assert parse_roster(grown.to_bytes(), PUBLIC) == grown


@pytest.mark.parametrize(
    ("bank", "key", "problem"),
    [
        ("north", KEYS[3], "bank north is on the roster already.*`fraudfl bank replace`"),
        ("east", KEYS[1], "is on the roster already, as bank south"),
        ("east", OPERATOR, "is the operator's own"),
        ("east", KEYS[2], "was removed from the roster on 2025-03-01.*, as bank west.*`--again`"),
        ("west", KEYS[2], "was removed from the roster"),
    ],
)
def test_a_bank_whose_id_or_key_was_seen_before_is_not_added(bank: str, key: PrivateKey, problem: str) -> None:
    with pytest.raises(TrustError, match=problem):
        add_member(ROSTER, request(bank, key), OPERATOR)


def test_a_request_that_was_altered_after_it_was_read_is_not_taken() -> None:
    for change, bank in ((add_member, "east"), (replace_member, "north")):
        altered = request("centre", KEYS[3]).model_copy(update={"bank": bank})
        with pytest.raises(TrustError, match="the enrolment's signature is not by"):
            change(ROSTER, altered, OPERATOR)


def test_a_removed_key_comes_back_only_when_that_is_said_and_stays_on_record() -> None:
    back = add_member(ROSTER, request("west", KEYS[2]), OPERATOR, again=True)
    assert back.member("west").public_key == public_text(KEYS[2])
    assert back.removed == ROSTER.removed
    assert [gone.fingerprint for gone in back.removed] == [fingerprint(public_text(KEYS[2]))]


def test_a_removed_bank_may_come_back_with_a_new_key() -> None:
    assert add_member(ROSTER, request("west", KEYS[3]), OPERATOR).member("west").public_key == public_text(KEYS[3])


def test_a_bank_that_is_not_there_cannot_be_removed_or_replaced() -> None:
    with pytest.raises(TrustError, match="bank east is not on roster 7 of consortium baltic"):
        remove_member(ROSTER, "east", OPERATOR)
    with pytest.raises(TrustError, match="bank east is not on roster 7"):
        replace_member(ROSTER, request("east", KEYS[3]), OPERATOR)


def test_a_replaced_key_is_on_record_and_its_place_in_the_list_stays() -> None:
    after = replace_member(ROSTER, request("north", KEYS[3]), OPERATOR, now=WHEN)
    assert [entry.bank for entry in after.members] == ["north", "south"]
    assert after.member("north").public_key == public_text(KEYS[3])
    assert after.member("south") == SOUTH
    assert [(gone.bank, gone.fingerprint) for gone in after.removed] == [
        ("west", fingerprint(public_text(KEYS[2]))),
        ("north", fingerprint(public_text(KEYS[0]))),
    ]
    for key, problem in ((KEYS[0], "was removed"), (KEYS[3], "on the roster already"), (KEYS[2], "was removed")):
        with pytest.raises(TrustError, match=problem):
            replace_member(after, request("north", key), OPERATOR)
    assert replace_member(after, request("north", KEYS[0]), OPERATOR, again=True).member("north").public_key == (
        public_text(KEYS[0])
    )


def test_only_the_operators_key_changes_the_roster() -> None:
    with pytest.raises(TrustError, match="only the operator's key"):
        remove_member(ROSTER, "north", IMPOSTOR)


class Life(RuleBasedStateMachine):
    """Any order of changes, against a dictionary of who is in and a set of keys that left."""

    joined = Bundle("joined")

    def __init__(self) -> None:
        super().__init__()
        self.roster = sign_roster(OPERATOR, "baltic", 1, [])
        self.members: dict[str, PrivateKey] = {}
        self.left: list[PrivateKey] = []
        self.changes = 0

    @rule(target=joined, bank=st.sampled_from(["a", "b", "c"]), key=st.sampled_from(KEYS), again=st.booleans())
    def add(self, bank: str, key: PrivateKey, again: bool) -> str:
        allowed = bank not in self.members and key not in self.members.values() and (again or key not in self.left)
        self.change(allowed, lambda: add_member(self.roster, request(bank, key), OPERATOR, again=again))
        if allowed:
            self.members[bank] = key
        return bank

    @rule(bank=joined, key=st.sampled_from(KEYS), again=st.booleans())
    def replace(self, bank: str, key: PrivateKey, again: bool) -> None:
        allowed = bank in self.members and key not in self.members.values() and (again or key not in self.left)
        self.change(allowed, lambda: replace_member(self.roster, request(bank, key), OPERATOR, again=again))
        if allowed:
            self.left.append(self.members[bank])
            self.members[bank] = key

    @rule(bank=consumes(joined))
    def remove(self, bank: str) -> None:
        allowed = bank in self.members
        self.change(allowed, lambda: remove_member(self.roster, bank, OPERATOR))
        if allowed:
            self.left.append(self.members.pop(bank))

    def change(self, allowed: bool, make: object) -> None:
        assert callable(make)
        if not allowed:
            with pytest.raises(TrustError):
                make()
            return
        before, self.roster = self.roster, make()
        self.changes += 1
        untouched = set(before.members) & set(self.roster.members)
        assert len(untouched) >= len(before.members) - 1
        assert newer_than(self.roster, before) is self.roster

    @invariant()
    def agrees(self) -> None:
        assert {entry.bank: entry.public_key for entry in self.roster.members} == {
            bank: public_text(key) for bank, key in self.members.items()
        }
        assert [gone.fingerprint for gone in self.roster.removed] == [
            fingerprint(public_text(key)) for key in self.left
        ]
        assert self.roster.number == 1 + self.changes
        assert parse_roster(self.roster.to_bytes(), PUBLIC) == self.roster


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=30, stateful_step_count=20, deadline=None, derandomize=True)
