"""Rounds from end to end: exact sums with lost banks, or a named error, and never both secrets of one bank."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from fraudfl.secagg.attempt import Attempt
from fraudfl.secagg.errors import SecureAggregationError, UnmaskingError
from fraudfl.secagg.fixed_point import FixedPoint
from fraudfl.secagg.reveals import Reveal, read_reveal
from fraudfl.secagg.sums import MaskedSum
from fraudfl.secagg.survivors import check_confirmations, confirm

SIZE, BITS = 500, 24
MIN_COHORT, COLLUDING = 6, 1


def vector(bank: str, size: int = SIZE, bits: int = BITS) -> np.ndarray:
    return np.random.default_rng(int(bank[-2:])).integers(0, 2**bits, size, dtype=np.uint64)


def summed(banks: Iterable[str], bits: int = BITS) -> list[int]:
    """The sum in Python's integers."""
    columns = zip(*(vector(bank, bits=bits).tolist() for bank in banks), strict=True)
    return [sum(column) % 2**bits for column in columns]


def masked(consortium: Any, attempt: Attempt, bank: str, *, self_mask: bool = True) -> np.ndarray:
    upload: np.ndarray = consortium.maskers[bank].mask(attempt, "update", vector(bank), BITS, self_mask=self_mask)
    return upload


def gathered(consortium: Any, attempt: Attempt, banks: Iterable[str], *, self_mask: bool = True) -> MaskedSum:
    total = MaskedSum(attempt, "update", SIZE, BITS, self_masked=self_mask)
    for bank in banks:
        total.add(bank, masked(consortium, attempt, bank, self_mask=self_mask))
    return total


def reveals(consortium: Any, attempt: Attempt, survivors: tuple[str, ...], banks: Iterable[str]) -> list[Reveal]:
    """What these banks reveal once enough of the survivors have signed, as the coordinator reads it."""
    confirmations = [confirm(attempt, survivors, bank, consortium.keys[bank], MIN_COHORT) for bank in survivors]
    made = []
    for bank in banks:
        check_confirmations(confirmations, attempt, survivors, consortium.roster, MIN_COHORT, COLLUDING)
        made.append(read_reveal(consortium.reveal(bank, attempt, survivors).to_bytes(), consortium.roster))
    return made


@pytest.mark.parametrize(
    "lost", [(), ("bank-00",), ("bank-03", "bank-07"), ("bank-00", "bank-05", "bank-08", "bank-09")]
)
def test_ten_banks_of_which_some_are_lost_before_upload_sum_exactly(consortium: Any, lost: tuple[str, ...]) -> None:
    attempt = consortium.attempt(consortium.banks[:10])
    survivors = tuple(bank for bank in attempt.cohort if bank not in lost)
    total = gathered(consortium, attempt, reversed(survivors))
    assert (total.survivors, total.lost) == (survivors, lost)
    assert total.unmask(reveals(consortium, attempt, survivors, survivors)).tolist() == summed(survivors)


def test_a_bank_lost_while_unmasking_ends_the_attempt_and_no_bank_gives_up_both_secrets(consortium: Any) -> None:
    cohort = consortium.banks[:10]
    first, again = consortium.attempt(cohort), consortium.attempt(cohort, attempt=2)
    survivors = tuple(bank for bank in cohort if bank not in ("bank-03", "bank-07"))
    total = gathered(consortium, first, survivors)
    partial = reveals(consortium, first, survivors, survivors[:-1])
    with pytest.raises(UnmaskingError, match="no reveal from bank-09; every survivor's is needed") as caught:
        total.unmask(partial)
    assert caught.value.missing == ("bank-09",)
    # The next attempt is summed with new masks, without the bank that went away.
    left = survivors[:-1]
    second = reveals(consortium, again, left, left)
    assert gathered(consortium, again, left).unmask(second).tolist() == summed(left)
    for attempt, given in ((first, partial), (again, second)):
        own = {reveal.bank for reveal in given}
        paired = {lost for reveal in given for lost in reveal.parts["update"].pairs}
        assert own.isdisjoint(paired), attempt
    seeds = [seed for r in (*partial, *second) for seed in (r.parts["update"].own, *r.parts["update"].pairs.values())]
    assert len(set(seeds)) == len(seeds)


def test_the_sum_is_exact_to_the_fixed_point_bound(consortium: Any) -> None:
    banks, generator = consortium.banks[:10], np.random.default_rng(5)
    grid = FixedPoint.for_sums(1.0, 10, 0.0, SIZE, 2.0**-10)
    plain = {bank: generator.uniform(-1, 1, SIZE) for bank in banks}
    attempt = consortium.attempt(banks)
    survivors = banks[2:]
    total = MaskedSum(attempt, "update", SIZE, grid.bits, self_masked=True)
    for bank in survivors:
        residues = grid.encode(plain[bank], generator.random(SIZE))
        total.add(bank, consortium.maskers[bank].mask(attempt, "update", residues, grid.bits, self_mask=True))
    opened = grid.decode(total.unmask(reveals(consortium, attempt, survivors, survivors)))
    assert np.abs(opened - sum(plain[bank] for bank in survivors)).max() < len(survivors) * grid.step


def test_one_exchange_needs_the_whole_cohort_and_no_reveals(consortium: Any) -> None:
    attempt = consortium.attempt(consortium.banks[:10])
    total = gathered(consortium, attempt, attempt.cohort[:-1], self_mask=False)
    with pytest.raises(UnmaskingError, match="no answer from bank-09; a plan with one exchange") as caught:
        total.complete()
    assert caught.value.missing == ("bank-09",)
    total.add("bank-09", masked(consortium, attempt, "bank-09", self_mask=False))
    assert total.complete().tolist() == summed(attempt.cohort)
    with pytest.raises(SecureAggregationError, match="have no self masks; expected no reveals"):
        total.unmask([])


def test_self_masks_are_opened_by_reveals_only(consortium: Any) -> None:
    attempt = consortium.attempt(consortium.banks[:10])
    total = gathered(consortium, attempt, attempt.cohort)
    with pytest.raises(SecureAggregationError, match="have self masks; expected reveals"):
        total.complete()
    with pytest.raises(UnmaskingError, match="no reveal from bank-00, bank-01"):
        total.unmask([])
    with pytest.raises(UnmaskingError, match="no reveal from anybody"):
        MaskedSum(attempt, "update", SIZE, BITS, self_masked=True).unmask([])


def test_the_late_upload_of_a_lost_bank_stays_masked(
    consortium: Any,
    stream_of: Callable[[bytes, int, int], list[int]],
    uniform: Callable[[np.ndarray, int], float],
) -> None:
    size, late = 20_000, "bank-03"
    attempt = consortium.attempt(consortium.banks[:10])
    survivors = tuple(bank for bank in attempt.cohort if bank != late)
    plain = np.arange(size, dtype=np.uint64) % np.uint64(50)
    upload = consortium.maskers[late].mask(attempt, "update", plain, BITS, self_mask=True)
    # All that the coordinator has about it: the seeds that the survivors share with it.
    opened = np.array(upload, dtype=object)
    for reveal in reveals(consortium, attempt, survivors, survivors):
        words = np.array(stream_of(bytes.fromhex(reveal.parts["update"].pairs[late]), size, BITS), dtype=object)
        opened = opened - words if late < reveal.bank else opened + words
    opened %= 2**BITS
    assert uniform(opened.astype(np.uint64), BITS) > 1e-9
    # Its self mask alone protects it, and it reveals that to nobody.
    own = np.array(stream_of(consortium.seed(attempt, "own", "update", late), size, BITS), dtype=object)
    assert ((opened - own) % 2**BITS).tolist() == plain.tolist()
    with pytest.raises(SecureAggregationError, match="reveals nothing"):
        consortium.reveal(late, attempt, survivors)


def test_an_upload_that_came_after_the_reveals_does_not_open(consortium: Any) -> None:
    attempt = consortium.attempt(consortium.banks[:10])
    survivors = attempt.cohort[1:]
    total = gathered(consortium, attempt, survivors)
    given = reveals(consortium, attempt, survivors, survivors)
    total.add("bank-00", masked(consortium, attempt, "bank-00"))
    with pytest.raises(SecureAggregationError, match="brings a seed with bank bank-00, which is not a lost bank"):
        total.unmask(given)


def test_a_doubled_reveal_and_one_for_another_attempt_are_refused(consortium: Any) -> None:
    attempt = consortium.attempt(consortium.banks[:10])
    total = gathered(consortium, attempt, attempt.cohort)
    given = reveals(consortium, attempt, attempt.cohort, attempt.cohort)
    with pytest.raises(SecureAggregationError, match="bank bank-09 revealed twice"):
        total.unmask([*given, given[-1]])
    stale = reveals(consortium, consortium.attempt(attempt.cohort, attempt=2), attempt.cohort, ["bank-09"])
    with pytest.raises(SecureAggregationError, match="reveal of bank bank-09: is for another attempt"):
        total.unmask([*given[:-1], *stale])
    assert total.unmask(given).tolist() == total.unmask(given).tolist() == summed(attempt.cohort)


@pytest.mark.parametrize(
    ("bank", "residues", "said"),
    [
        ("bank-11", vector("bank-11"), "bank bank-11 is not in the cohort"),
        ("bank-00", vector("bank-00"), "bank bank-00 has answered already"),
        ("bank-01", vector("bank-01", size=9), r"bank bank-01: found uint64 of shape \(9,\); expected uint64 of shape"),
        ("bank-01", vector("bank-01").astype(np.int64), "bank bank-01: found int64"),
        ("bank-01", vector("bank-01", bits=40), r"bank bank-01: found \d+; expected numbers below 2\^24"),
    ],
)
def test_a_vector_that_does_not_fit_is_refused_and_leaves_the_sum_alone(
    consortium: Any, bank: str, residues: np.ndarray, said: str
) -> None:
    attempt = consortium.attempt(consortium.banks[:3])
    total = gathered(consortium, attempt, ["bank-00"], self_mask=False)
    with pytest.raises(SecureAggregationError, match=f"update, round 3, attempt 1: {said}"):
        total.add(bank, residues)
    for rest in ("bank-01", "bank-02"):
        total.add(rest, masked(consortium, attempt, rest, self_mask=False))
    assert total.complete().tolist() == summed(attempt.cohort)
