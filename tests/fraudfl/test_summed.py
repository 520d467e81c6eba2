"""What is added up: its vectors, their encodings, and how cohorts are spelled."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_fleet import DISTRIBUTED, INSTANCE, PRIVATE, SECURE, plan_of

from fraudfl.errors import PlanError, WireError
from fraudfl.features.sketch import sketch_size
from fraudfl.models.mlp import build_model, get_vector
from fraudfl.plan import Plan
from fraudfl.protocols import SUMMED, Kind
from fraudfl.summed import ENTRIES, PARTS, attempt_of, entry_bound, parts_of, read_members, spell_members

WIDTH = 9
PLAIN = plan_of(**SECURE)
SHARED = plan_of(**DISTRIBUTED)
SHARES = {"encoder_share": 0.1, "evaluation_share": 0.1}
COVERED = plan_of(**{**DISTRIBUTED, "privacy": {**DISTRIBUTED["privacy"], **SHARES}})
LOCAL = plan_of(**{**SECURE, **PRIVATE, "privacy": {**PRIVATE["privacy"], **SHARES}})
PLANS = {"none": PLAIN, "distributed": SHARED, "covered": COVERED, "local": LOCAL}


def test_each_kind_has_its_vectors_of_the_plans_sizes() -> None:
    kinds = [kind for kind in SUMMED if kind in PLAIN.releases]
    sizes = {(kind, part.name): part.size for kind in kinds for part in parts_of(PLAIN, kind, WIDTH, 6)}
    model = len(get_vector(build_model(PLAIN.model, WIDTH)))
    histogram = 2 * PLAIN.score_bins.size
    assert sizes == {
        ("sketch", "sketch"): sketch_size(PLAIN.encoder),
        ("train", "update"): model,
        ("evaluate", "validation"): histogram,
        ("evaluate", "test"): histogram,
    }
    assert set(PARTS) == set(SUMMED)
    assert all(PARTS[kind] == tuple(part.name for part in parts_of(PLAIN, kind, WIDTH, 6)) for kind in kinds)


def test_a_kind_that_the_plan_does_not_release_has_no_vectors() -> None:
    with pytest.raises(PlanError, match="does not say what is counted for 'watch'"):
        parts_of(PLAIN, "watch", WIDTH, 6)


@pytest.mark.parametrize("name", sorted(PLANS))
@pytest.mark.parametrize("kind", ["sketch", "train", "evaluate"])
@pytest.mark.parametrize("parties", [4, 6, 200])
def test_a_sum_of_the_largest_entries_and_of_noise_at_its_end_does_not_wrap(
    name: str, kind: Kind, parties: int
) -> None:
    plan = PLANS[name]
    mechanism = plan.mechanism(kind)
    for part in parts_of(plan, kind, WIDTH, parties):
        share = mechanism.share_deviation if mechanism is not None else 0.0
        # 2^-40 over 2^40 entries: the normal tail beyond 14 deviations is 1e-44.
        most = parties * part.bound + 14 * share * math.sqrt(parties)
        steps = Fraction(most) / Fraction(part.encoding.step) + parties
        # Where noise never leaves the bank in shares it is within the bound already.
        assert part.bound == entry_bound(plan, kind)
        assert steps < 2 ** (part.encoding.bits - 1) * (1.02 if share == 0 or name == "local" else 1)
    assert ENTRIES == 2**40


@pytest.mark.parametrize("kind", ["sketch", "train", "evaluate"])
def test_the_grid_is_that_of_the_noise_where_there_is_any_and_whole_numbers_for_counts_without(kind: Kind) -> None:
    for plan in (PLAIN, SHARED, COVERED):
        mechanism = plan.mechanism(kind)
        for part in parts_of(plan, kind, WIDTH, 6):
            if mechanism is not None:
                assert part.encoding.step == mechanism.share_deviation / 3
            else:
                assert part.encoding.step == (2.0**-20 if kind == "train" else 1.0)


def test_updates_are_bounded_by_the_plans_norm_and_clipped_sums_by_its_bound() -> None:
    assert entry_bound(PLAIN, "train") == PLAIN.max_update_norm
    assert entry_bound(SHARED, "train") == SHARED.privacy.sum_bound * SHARED.privacy.clip_norm


# Members.

BANKS = tuple(f"bank-{number:03d}" for number in range(1, 21))


@given(st.sets(st.sampled_from(BANKS)), st.integers(1, 20))
def test_members_come_back_as_they_were_spelled(members: set[str], count: int) -> None:
    banks = BANKS[:count]
    meant = tuple(bank for bank in banks if bank in members)
    text = spell_members(meant, banks)
    assert len(text) == 2 * math.ceil(count / 8)
    assert read_members(text, banks) == meant


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "take 0 bytes, expected one bit for each of 6 banks"),
        ("fcfc", "take 2 bytes"),
        ("zz", "'zz' are not hexadecimal digits"),
        ("f", "are not hexadecimal digits"),
        ("ff", "name more than the 6 banks that there are"),
        ("02", "name more than the 6 banks that there are"),
        ("é", "are not hexadecimal digits"),
    ],
)
def test_members_that_cannot_be_about_these_banks_are_refused(text: str, match: str) -> None:
    with pytest.raises(WireError, match=match):
        read_members(text, BANKS[:6])


def attempt(plan: Plan, kind: Kind = "train", instance: str = INSTANCE, where: tuple[int, int] = (1, 1)) -> str:
    return attempt_of(plan, instance, kind, where, BANKS[:6], "ab" * 32).digest


def test_everything_that_tells_attempts_apart_is_in_the_digest() -> None:
    base = attempt_of(PLAIN, INSTANCE, "train", (1, 1), BANKS[:6], "ab" * 32)
    others = [
        attempt(SHARED),
        attempt(PLAIN, "sketch"),
        attempt(PLAIN, instance="other"),
        attempt(PLAIN, where=(2, 1)),
        attempt(PLAIN, where=(1, 2)),
        replace(base, cohort=BANKS[:5]).digest,
        replace(base, peers="cd" * 32).digest,
    ]
    assert len({base.digest, *others}) == 8
    assert attempt(PLAIN) == base.digest


def test_encodings_of_both_sides_agree_though_one_read_the_plan_from_json() -> None:
    for plan in PLANS.values():
        read = Plan.from_json(plan.canonical_json())
        for kind in (one for one in SUMMED if one in plan.releases):
            assert parts_of(read, kind, WIDTH, 6) == parts_of(plan, kind, WIDTH, 6)
    assert np.log2(ENTRIES) == 40
