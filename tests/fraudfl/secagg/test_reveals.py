"""Reveals on their way to the coordinator, and which of them fit a survivor set."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fraudfl.secagg.errors import SecureAggregationError
from fraudfl.secagg.reveals import Reveal, Seeds, read_reveal
from fraudfl.trust.keys import new_key, public_text

COHORT = ("bank-01", "bank-04", "bank-07")
SURVIVORS = ("bank-01", "bank-04")


@pytest.fixture
def reveal(consortium: Any) -> Reveal:
    made: Reveal = consortium.reveal("bank-04", consortium.attempt(COHORT), SURVIVORS)
    return made


def test_a_reveal_reads_back_and_holds_what_the_set_needs(consortium: Any, reveal: Reveal) -> None:
    read = read_reveal(reveal.to_bytes(), consortium.roster)
    assert read == reveal
    assert read.seeds(consortium.attempt(COHORT), "update", SURVIVORS) == reveal.parts["update"]


@pytest.mark.parametrize(
    "path",
    [
        ("version",),
        ("attempt",),
        ("bank",),
        ("public_key",),
        ("signature",),
        ("parts", "update", "own"),
        ("parts", "update", "pairs", "bank-07"),
    ],
)
def test_a_change_to_any_field_is_refused(consortium: Any, reveal: Reveal, path: tuple[str, ...]) -> None:
    other = json.loads(consortium.reveal("bank-01", consortium.attempt(COHORT, round=9), SURVIVORS).to_bytes())
    record = json.loads(reveal.to_bytes())
    place, donor = record, other
    for name in path[:-1]:
        place, donor = place[name], donor[name]
    place[path[-1]] = 2 if path == ("version",) else donor[path[-1]]
    data = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
    assert data != reveal.to_bytes()
    with pytest.raises(SecureAggregationError, match="reveal"):
        read_reveal(data, consortium.roster)


def test_names_that_were_added_or_taken_out_are_refused(consortium: Any, reveal: Reveal) -> None:
    record = json.loads(reveal.to_bytes())
    seeds = record["parts"]["update"]
    for parts in (
        {},
        {"update": seeds, "test": seeds},
        {"update": seeds | {"pairs": {}}},
        {"update": seeds | {"pairs": seeds["pairs"] | {"bank-02": seeds["own"]}}},
    ):
        data = json.dumps(record | {"parts": parts}, sort_keys=True, separators=(",", ":")).encode()
        with pytest.raises(SecureAggregationError, match="signature is not by"):
            read_reveal(data, consortium.roster)


def test_a_reveal_by_another_key_than_the_rosters_is_refused(consortium: Any, reveal: Reveal) -> None:
    key = new_key()
    forged = reveal.model_copy(update={"public_key": public_text(key)}).signed_by(key)
    with pytest.raises(SecureAggregationError, match="reveal of bank bank-04: is signed by another key"):
        read_reveal(forged.to_bytes(), consortium.roster)


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"\xff"])
def test_malformed_bytes_are_refused(consortium: Any, data: bytes) -> None:
    with pytest.raises(SecureAggregationError, match="reveal: "):
        read_reveal(data, consortium.roster)


def test_a_reveal_for_another_attempt_is_refused(consortium: Any, reveal: Reveal) -> None:
    with pytest.raises(SecureAggregationError, match="reveal of bank bank-04: is for another attempt"):
        reveal.seeds(consortium.attempt(COHORT, attempt=2), "update", SURVIVORS)


def test_a_reveal_by_a_bank_that_is_lost_is_refused(consortium: Any, reveal: Reveal) -> None:
    with pytest.raises(SecureAggregationError, match="bank bank-04: it is not in the survivor set"):
        reveal.seeds(consortium.attempt(COHORT), "update", ("bank-01", "bank-07"))


def test_both_secrets_of_one_bank_are_never_taken(consortium: Any, reveal: Reveal) -> None:
    with pytest.raises(SecureAggregationError, match="brings a seed with bank bank-07, which is not a lost bank"):
        reveal.seeds(consortium.attempt(COHORT), "update", COHORT)


def test_seeds_that_are_missing_are_named(consortium: Any, reveal: Reveal) -> None:
    attempt = consortium.attempt(COHORT)
    with pytest.raises(SecureAggregationError, match=r"has no seeds for 'test'; found \['update'\]"):
        reveal.seeds(attempt, "test", SURVIVORS)
    bare = reveal.model_copy(update={"parts": {"update": Seeds(own=reveal.parts["update"].own, pairs={})}})
    with pytest.raises(SecureAggregationError, match="brings no seed with lost bank bank-07"):
        bare.seeds(attempt, "update", SURVIVORS)
