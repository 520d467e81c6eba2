"""Survivor sets: how many signatures it takes, which ones count, and why two sets never have enough."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from fraudfl.secagg.errors import SecureAggregationError
from fraudfl.secagg.survivors import (
    SurvivorSet,
    check_confirmations,
    confirm,
    needed,
    pack_confirmations,
    unpack_confirmations,
)
from fraudfl.trust.keys import new_key, public_text

COHORT = ("bank-00", "bank-01", "bank-02", "bank-03", "bank-04")
FOUR = COHORT[:4]


def signed(consortium: Any, bank: str, survivors: tuple[str, ...] = FOUR, **fields: object) -> SurvivorSet:
    return confirm(consortium.attempt(COHORT, **fields), survivors, bank, consortium.keys[bank], 3)


def check(consortium: Any, confirmations: list[SurvivorSet], survivors: tuple[str, ...] = FOUR) -> None:
    """With m = 3 and t = 1, 4 of 5 must have signed."""
    check_confirmations(confirmations, consortium.attempt(COHORT), survivors, consortium.roster, 3, 1)


def test_two_sets_never_both_get_enough_signatures() -> None:
    for n in range(2, 13):
        for t, m in itertools.product(range(n), range(2, n + 1)):
            honest = n - t
            # Honest banks sign one of the two sets or none; colluding ones sign both.
            for first in range(honest + 1):
                second = honest - first
                assert min(first, second) + t < needed(m, n, t), (n, t, m, first)


def test_no_fewer_signatures_would_do_and_a_whole_cohort_always_does() -> None:
    for n in range(2, 13):
        for t in range(n - 1):
            assert needed(2, n, t) <= n
            # One less, and a coordinator that splits the honest banks in halves confirms two sets.
            fewer, half = needed(1, n, t) - 1, (n - t) // 2
            assert half + t >= fewer
    assert [needed(8, 10, 2), needed(5, 10, 1), needed(150, 200, 20), needed(50, 200, 20)] == [8, 6, 150, 111]


def test_a_lying_coordinator_confirms_at_most_one_of_two_sets(consortium: Any) -> None:
    one, other = FOUR, COHORT[1:]
    colluding, honest = COHORT[1], (COHORT[0], *COHORT[2:])
    for split in itertools.product((one, other), repeat=len(honest)):
        shown = dict(zip(honest, split, strict=True))
        confirmed = 0
        for survivors in (one, other):
            signers = [bank for bank in honest if shown[bank] == survivors] + [colluding]
            try:
                check(consortium, [signed(consortium, bank, survivors) for bank in signers], survivors)
            except SecureAggregationError:
                continue
            confirmed += 1
        assert confirmed == (split.count(one) >= 3 or split.count(other) >= 3)


def test_enough_signatures_over_one_set_confirm_it(consortium: Any) -> None:
    check(consortium, [signed(consortium, bank) for bank in FOUR])
    # The lost bank is of the cohort and may sign, too.
    check(consortium, [signed(consortium, bank) for bank in COHORT[1:]])
    with pytest.raises(SecureAggregationError, match="found 3 good signatures; expected 4 of the cohort's 5 banks"):
        check(consortium, [signed(consortium, bank) for bank in COHORT[:3]])


def _foreign(consortium: Any) -> SurvivorSet:
    attempt = consortium.attempt(COHORT)
    stranger = SurvivorSet(
        attempt=attempt.digest, survivors=FOUR, bank="bank-09", public_key=public_text(consortium.keys["bank-09"])
    )
    return stranger.signed_by(consortium.keys["bank-09"])


def _impostor(consortium: Any) -> SurvivorSet:
    key = new_key()
    forged = signed(consortium, "bank-03").model_copy(update={"public_key": public_text(key)})
    return forged.signed_by(key)


BAD = {
    "is about another attempt": lambda c: signed(c, "bank-03", attempt=2),
    "is over another survivor set, of 5 banks": lambda c: signed(c, "bank-03", COHORT),
    "bank bank-09: it is not in the cohort": _foreign,
    "bank bank-02: was counted already": lambda c: signed(c, "bank-02"),
    "bank bank-03: is signed by another key": _impostor,
    "bank bank-03: the survivors's signature is not by": lambda c: signed(c, "bank-03").model_copy(
        update={"signature": signed(c, "bank-03", COHORT).signature}
    ),
    "bank bank-03: the survivors's signature is not": lambda c: signed(c, "bank-03").model_copy(
        update={"signature": ""}
    ),
}


@pytest.mark.parametrize("said", BAD)
def test_a_bad_signature_is_not_counted_and_is_named(consortium: Any, said: str) -> None:
    good = [signed(consortium, bank) for bank in COHORT[:3]]
    bad = BAD[said](consortium)
    with pytest.raises(SecureAggregationError, match=f"not counted: confirmation of .*{said}"):
        check(consortium, [*good, bad])
    # Nor does it spoil the good ones.
    check(
        consortium,
        [bad, *good, signed(consortium, "bank-04")]
        if "counted" not in said
        else [*good, bad, good[0], signed(consortium, "bank-04")],
    )


@pytest.mark.parametrize("field", sorted(SurvivorSet.model_fields))
def test_a_change_to_any_field_is_refused(consortium: Any, field: str) -> None:
    records = [signed(consortium, bank) for bank in FOUR]
    values = {
        "version": 2,
        "attempt": "cd" * 32,
        "survivors": COHORT,
        "bank": "bank-04",
        "public_key": records[2].public_key,
        "signature": records[2].signature,
    }
    changed = records[3].model_copy(update={field: values[field]})
    with pytest.raises(SecureAggregationError, match="found 3 good signatures"):
        check(consortium, [*records[:3], changed])


def test_a_bank_signs_for_its_own_cohort_and_a_large_enough_set_only(consortium: Any) -> None:
    for bank, survivors, said in [
        ("bank-09", FOUR, "bank bank-09 is not in the cohort"),
        ("bank-01", COHORT[:2], "minimum cohort of 3"),
        ("bank-01", (*FOUR, "bank-09"), "bank bank-09 is not in the cohort"),
    ]:
        with pytest.raises(SecureAggregationError, match=said):
            signed(consortium, bank, survivors)
    with pytest.raises(SecureAggregationError, match="minimum cohort of 3"):
        check(consortium, [signed(consortium, bank) for bank in FOUR], COHORT[:2])


def test_confirmations_travel_with_the_set_said_once(consortium: Any) -> None:
    records = [signed(consortium, bank) for bank in FOUR]
    data = pack_confirmations(records)
    assert unpack_confirmations(data, consortium.roster) == records
    assert len(data) < sum(len(record.to_bytes()) for record in records) / 2
    with pytest.raises(SecureAggregationError, match="found 2 survivor sets; expected one"):
        pack_confirmations([*records, signed(consortium, "bank-04", COHORT)])
    with pytest.raises(SecureAggregationError, match="found 0 survivor sets"):
        pack_confirmations([])


@pytest.mark.parametrize("field", ["attempt", "survivors", "signatures"])
def test_a_changed_bundle_confirms_nothing(consortium: Any, field: str) -> None:
    bundle = json.loads(pack_confirmations([signed(consortium, bank) for bank in FOUR]))
    signatures = bundle["signatures"]
    bundle |= {
        "attempt": {"attempt": "cd" * 32},
        "survivors": {"survivors": list(COHORT)},
        "signatures": {"signatures": signatures | {"bank-03": signatures["bank-02"]}},
    }[field]
    with pytest.raises(SecureAggregationError, match="not counted"):
        check(consortium, unpack_confirmations(json.dumps(bundle).encode(), consortium.roster))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "record"),
        (b"[]", "record"),
        (b'{"attempt": "x", "survivors": [], "signatures": {}}', "attempt: found 'x'"),
        (b'{"attempt": "%s", "survivors": ["A"], "signatures": {}}' % (b"ab" * 32), r"survivors.0: found 'A'"),
        (b'{"attempt": "%s", "survivors": [], "signatures": {"sybil": ""}}' % (b"ab" * 32), "bank sybil is not on"),
    ],
)
def test_a_malformed_bundle_is_refused(consortium: Any, data: bytes, said: str) -> None:
    with pytest.raises(SecureAggregationError, match=f"confirmations: .*{said}"):
        unpack_confirmations(data, consortium.roster)
