"""Masks against the standards spelled out again, and what a bank reveals of them."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudfl.secagg.errors import SecureAggregationError

COHORT = ("bank-01", "bank-04", "bank-07")


def zeros(size: int) -> np.ndarray:
    return np.zeros(size, dtype=np.uint64)


@pytest.mark.parametrize("bits", [1, 8, 16, 17, 24, 32, 33, 63, 64])
@pytest.mark.parametrize("self_mask", [True, False])
def test_masks_are_those_of_the_standards(consortium: Any, bits: int, self_mask: bool) -> None:
    attempt = consortium.attempt(COHORT)
    values = np.random.default_rng(bits).integers(0, 2**bits - 1, 50, dtype=np.uint64, endpoint=True)
    for bank in COHORT:
        masked = consortium.maskers[bank].mask(attempt, "update", values, bits, self_mask=self_mask)
        masks = consortium.masks(bank, attempt, "update", 50, bits, self_mask=self_mask)
        expected = [(int(value) + mask) % 2**bits for value, mask in zip(values, masks, strict=True)]
        assert masked.dtype == np.uint64
        assert masked.tolist() == expected


def test_a_long_vector_has_one_stream_without_seams(consortium: Any) -> None:
    # More than the 131,072 words that are made at a time.
    size, attempt = 140_000, consortium.attempt(COHORT[:2])
    masked = consortium.maskers["bank-04"].mask(attempt, "update", zeros(size), 16, self_mask=True)
    assert masked.tolist() == consortium.masks("bank-04", attempt, "update", size, 16)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_masks_cancel_in_the_sum_of_any_cohort(consortium: Any, data: st.DataObject) -> None:
    cohort = sorted(data.draw(st.sets(st.sampled_from(consortium.banks), min_size=2)))
    bits = data.draw(st.integers(1, 64))
    size = data.draw(st.integers(0, 6))
    vectors = [[data.draw(st.integers(0, 2**bits - 1)) for _ in range(size)] for _ in cohort]
    attempt = consortium.attempt(cohort, round=data.draw(st.integers(0, 99)))
    masked = [
        consortium.maskers[bank].mask(attempt, "update", np.array(vector, np.uint64), bits, self_mask=False).tolist()
        for bank, vector in zip(cohort, vectors, strict=True)
    ]
    assert [sum(column) % 2**bits for column in zip(*masked, strict=True)] == [
        sum(column) % 2**bits for column in zip(*vectors, strict=True)
    ]


def test_every_other_use_has_a_stream_of_its_own(consortium: Any) -> None:
    bank, size = "bank-04", 2000
    uses = [
        (consortium.attempt(COHORT), "update", True),
        (consortium.attempt(COHORT), "update", False),
        (consortium.attempt(COHORT), "validation", True),
        (consortium.attempt(COHORT, round=4), "update", True),
        (consortium.attempt(COHORT, attempt=2), "update", True),
        (consortium.attempt(COHORT, kind="evaluate"), "update", True),
        (consortium.attempt(COHORT[:2]), "update", True),
        (consortium.attempt((*COHORT, "bank-09")), "update", True),
    ]
    streams = [
        consortium.maskers[bank].mask(attempt, part, zeros(size), 32, self_mask=self_mask)
        for attempt, part, self_mask in uses
    ]
    for one, other in itertools.combinations(streams, 2):
        # Two independent streams of 2,000 words of 32 bits agree in a place about once in two million runs.
        assert np.count_nonzero(one == other) <= 1
        assert abs(np.corrcoef(one.astype(float), other.astype(float))[0, 1]) < 7 / size**0.5


def test_a_masked_vector_looks_uniform_and_a_plain_one_does_not(
    consortium: Any, uniform: Callable[[np.ndarray, int], float]
) -> None:
    plain = np.arange(40_000, dtype=np.uint64) % np.uint64(50)
    for self_mask, bits in itertools.product((True, False), (20, 32)):
        masked = consortium.maskers["bank-04"].mask(
            consortium.attempt(COHORT), "update", plain, bits, self_mask=self_mask
        )
        assert uniform(masked, bits) > 1e-9
        assert uniform(plain, bits) < 1e-9


def test_memory_does_not_grow_with_the_cohort(consortium: Any) -> None:
    values = zeros(200_000)

    def peak(cohort: tuple[str, ...]) -> int:
        attempt = consortium.attempt(cohort)
        tracemalloc.start()
        consortium.maskers["bank-00"].mask(attempt, "update", values, 32, self_mask=True)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(consortium.banks) < peak(consortium.banks[:2]) + 200_000


@pytest.mark.parametrize(
    "values", [np.zeros(3), np.zeros((3, 1), np.uint64), np.zeros(3, np.int64), np.full(3, 2**20, np.uint64)]
)
def test_a_vector_that_is_no_residues_is_refused(consortium: Any, values: np.ndarray) -> None:
    with pytest.raises(SecureAggregationError, match="vector 'update' to be masked: found"):
        consortium.maskers["bank-04"].mask(consortium.attempt(COHORT), "update", values, 20, self_mask=True)


@pytest.mark.parametrize("bits", [0, 65])
def test_bits_outside_of_a_word_are_refused(consortium: Any, bits: int) -> None:
    with pytest.raises(SecureAggregationError):
        consortium.maskers["bank-04"].mask(consortium.attempt(COHORT), "update", zeros(3), bits, self_mask=True)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"plan_hash": "cd" * 32}, "plan_hash: found"),
        ({"instance": "pilot-2"}, "instance: found"),
        ({"peers": "cd" * 32}, "peers: found"),
        ({"cohort": ("bank-01", "bank-02")}, "bank bank-04 is not in it"),
        ({"cohort": ("bank-04", "sybil")}, "bank sybil has no phase key"),
    ],
)
def test_an_attempt_that_does_not_fit_the_phase_keys_is_refused(
    consortium: Any, fields: dict[str, Any], said: str
) -> None:
    attempt = consortium.attempt(**{"cohort": COHORT} | fields)
    masker = consortium.maskers["bank-04"]
    with pytest.raises(SecureAggregationError, match=said):
        masker.mask(attempt, "update", zeros(3), 20, self_mask=True)
    with pytest.raises(SecureAggregationError, match=said):
        masker.reveal(attempt, ["update"], attempt.cohort, 2, consortium.keys["bank-04"])


def test_a_reveal_is_the_own_seed_and_the_seeds_with_lost_banks_and_no_other(consortium: Any) -> None:
    attempt = consortium.attempt(("bank-01", "bank-04", "bank-07", "bank-09"))
    survivors = ("bank-01", "bank-04", "bank-09")
    reveal = consortium.maskers["bank-04"].reveal(
        attempt, ["validation", "test"], survivors, 3, consortium.keys["bank-04"]
    )
    assert reveal.model_dump()["parts"] == {
        part: {
            "own": consortium.seed(attempt, "own", part, "bank-04").hex(),
            "pairs": {"bank-07": consortium.seed(attempt, "pair", part, "bank-04", "bank-07").hex()},
        }
        for part in ("validation", "test")
    }


def test_a_bank_outside_of_the_survivor_set_reveals_nothing(consortium: Any) -> None:
    with pytest.raises(SecureAggregationError, match="bank bank-04 is not in it, so it reveals nothing"):
        consortium.reveal("bank-04", consortium.attempt(COHORT), ("bank-01", "bank-07"))


@pytest.mark.parametrize(
    ("survivors", "said"),
    [
        (("bank-04",), "expected the minimum cohort of 2"),
        (("bank-07", "bank-04"), "sorted, each once"),
        (("bank-04", "bank-08"), "bank bank-08 is not in the cohort"),
    ],
)
def test_nothing_is_revealed_for_a_small_or_malformed_set(
    consortium: Any, survivors: tuple[str, ...], said: str
) -> None:
    with pytest.raises(SecureAggregationError, match=said):
        consortium.reveal("bank-04", consortium.attempt(COHORT), survivors)


def test_no_reveal_touches_the_masks_of_a_plan_with_one_exchange(
    consortium: Any, stream_of: Callable[[bytes, int, int], list[int]]
) -> None:
    attempt = consortium.attempt(("bank-01", "bank-04"), attempt=9)
    masked = consortium.maskers["bank-04"].mask(attempt, "update", zeros(8), 32, self_mask=False)
    masks = {
        bank: consortium.maskers[bank]
        .reveal(consortium.attempt(("bank-01", "bank-04"), attempt=9), ["update"], (bank,), 1, consortium.keys[bank])
        .parts["update"]
        for bank in ("bank-01", "bank-04")
    }
    for seeds in masks.values():
        for seed in (seeds.own, *seeds.pairs.values()):
            words = stream_of(bytes.fromhex(seed), 8, 32)
            assert masked.tolist() != words
            assert masked.tolist() != [-word % 2**32 for word in words]
