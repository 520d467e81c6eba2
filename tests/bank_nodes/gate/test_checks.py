"""What a draft may hold: names, numbers, shapes, codecs, bounds. Whatever else it holds stays at the bank."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_fleet import DISTRIBUTED, LAYOUT, MADE_UP, PRIVATE, SECURE, draft_of, plan_of, plan_with

from bank_nodes.gate.checks import Draft, check_draft
from fraudfl.errors import FraudflError, ReleaseRefused, WireError
from fraudfl.features.sketch import sketch_size
from fraudfl.plan import Plan
from fraudfl.protocols import Kind
from fraudfl.summed import part_sizes, parts_of
from fraudfl.transfer.codec import decode, encode
from fraudfl.transfer.pack import pack_counts, unpack_counts

OPEN, CLOSED = plan_of(), plan_of(**PRIVATE)
SEALED, SHARED = plan_of(**SECURE), plan_of(**DISTRIBUTED)
TRAINING: list[Kind] = [kind for kind in MADE_UP if kind in {*OPEN.releases, "peers"}]
FULL: list[Kind] = [kind for kind in TRAINING if kind not in ("join", "peers")]
SIZES = {"sketch": sketch_size(OPEN.encoder), "counts": 2 * OPEN.score_bins.size}


def with_payload(draft: Draft, name: str, data: bytes) -> Draft:
    return replace(draft, payloads={**draft.payloads, name: data})


def as_float32(values: np.ndarray[Any, Any]) -> bytes:
    """An update as the codec spells it, finite or not; the codec itself refuses to encode what is not."""
    planes = np.ascontiguousarray(values.astype("<f4").view(np.uint8).reshape(-1, 4).T)
    return bytes([1, len(values)]) + planes.tobytes()


@pytest.mark.parametrize("plan", [OPEN, CLOSED], ids=["open", "private"])
@pytest.mark.parametrize("kind", TRAINING)
def test_what_the_plan_lets_out_passes(plan: Plan, kind: Kind) -> None:
    check_draft(plan, kind, draft_of(plan, kind))


@pytest.mark.parametrize("kind", [kind for kind in MADE_UP if kind not in TRAINING])
def test_counts_of_other_phases_pass_and_nothing_beside_them(kind: Kind) -> None:
    plan = plan_with(kind)
    draft = draft_of(plan, kind)
    check_draft(plan, kind, draft)
    with pytest.raises(ReleaseRefused, match=r"may not hold \['rows'\]"):
        check_draft(plan, kind, with_payload(draft, "rows", b"x"))
    with pytest.raises(WireError, match="needs"):
        check_draft(plan, kind, replace(draft, payloads={}))
    name = next(iter(draft.payloads))
    short = pack_counts(np.ones(part_sizes(plan, kind)[name] - 1, dtype=np.int64))
    with pytest.raises(FraudflError):
        check_draft(plan, kind, with_payload(draft, name, short))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, name)
        for kind in TRAINING
        for name in ("rows", "labels", "update", "sketch", "test")
        if name not in draft_of(OPEN, kind).payloads
    ],
)
def test_a_payload_that_the_kind_does_not_list_stays_at_the_bank(kind: Kind, name: str) -> None:
    with pytest.raises(ReleaseRefused, match=rf"a reply to '{kind}' under this plan may not hold \['{name}'\]"):
        check_draft(OPEN, kind, with_payload(draft_of(OPEN, kind), name, b"x"))


@pytest.mark.parametrize("kind", TRAINING)
def test_a_value_that_the_kind_does_not_list_stays_at_the_bank(kind: Kind) -> None:
    with pytest.raises(ReleaseRefused, match=r"may not hold \['accounts'\]"):
        check_draft(OPEN, kind, replace(draft_of(OPEN, kind), values={"accounts": 7}))


@pytest.mark.parametrize("kind", FULL)
def test_a_reply_without_what_belongs_in_it_is_refused(kind: Kind) -> None:
    with pytest.raises(WireError, match=f"a reply to '{kind}' needs"):
        check_draft(OPEN, kind, replace(draft_of(OPEN, kind), payloads={}))


HISTOGRAM = pack_counts(np.ones(SIZES["counts"], dtype=np.int64))


@pytest.mark.parametrize(
    "extra", [{"values": {"loss": 0.5}}, {"values": {"examples": 9}}, {"payloads": {"scores": HISTOGRAM}}]
)
def test_loss_counts_and_scores_pass_in_the_open_and_not_under_privacy(extra: dict[str, Any]) -> None:
    for plan, passes in ((OPEN, True), (CLOSED, False)):
        usual = draft_of(plan, "train")
        draft = replace(usual, values=extra.get("values", {}), payloads={**usual.payloads, **extra.get("payloads", {})})
        if passes:
            check_draft(plan, "train", draft)
            continue
        with pytest.raises(ReleaseRefused, match="may not hold"):
            check_draft(plan, "train", draft)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_stays_at_the_bank(value: float) -> None:
    with pytest.raises(ReleaseRefused, match="'loss' is not finite"):
        check_draft(OPEN, "train", replace(draft_of(OPEN, "train"), values={"loss": value}))


@pytest.mark.parametrize("value", ["Jane Roe 4929-1111", True, None, [0.5], b"0.5"])
def test_a_value_that_is_no_number_stays_at_the_bank(value: Any) -> None:
    with pytest.raises(ReleaseRefused, match="'loss' is no number"):
        check_draft(OPEN, "train", replace(draft_of(OPEN, "train"), values={"loss": value}))


def test_a_private_update_by_another_mechanism_than_the_plans_is_refused() -> None:
    mechanism = CLOSED.round_mechanism
    assert mechanism is not None
    weaker = replace(mechanism, noise_multiplier=mechanism.noise_multiplier / 2)
    for wrong in (None, weaker, replace(mechanism, steps=mechanism.steps + 1)):
        with pytest.raises(ReleaseRefused, match="plan's mechanism"):
            check_draft(CLOSED, "train", replace(draft_of(CLOSED, "train"), mechanism=wrong))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_update_that_is_not_finite_is_refused(value: float) -> None:
    numbers = np.zeros(8, dtype=np.float32)
    check_draft(OPEN, "train", with_payload(draft_of(OPEN, "train"), "update", as_float32(numbers)))
    numbers[3] = value
    with pytest.raises(WireError, match="not finite"):
        check_draft(OPEN, "train", with_payload(draft_of(OPEN, "train"), "update", as_float32(numbers)))


def test_an_update_is_held_to_the_plans_norm_bound() -> None:
    plan = plan_of(max_update_norm=5.0)
    for values, passes in (([3, 4], True), ([3, 4.001], False), ([3e38, 3e38], False)):
        numbers = np.zeros(8, dtype=np.float32)
        numbers[[1, 6]] = values
        draft = with_payload(draft_of(plan, "train"), "update", encode(numbers, "float32", LAYOUT))
        if passes:
            check_draft(plan, "train", draft)
            continue
        with pytest.raises(ReleaseRefused, match="L2 norm is above the plan's bound of 5"):
            check_draft(plan, "train", draft)


def test_a_refused_norm_is_not_told() -> None:
    plan = plan_of(max_update_norm=5.0)
    draft = with_payload(draft_of(plan, "train"), "update", encode(np.full(8, 77, np.float32), "float32", LAYOUT))
    with pytest.raises(ReleaseRefused) as caught:
        check_draft(plan, "train", draft)
    assert "217" not in str(caught.value)  # 77 * sqrt(8)


@pytest.mark.parametrize("up", ["float16", "int8", "topk"])
def test_an_update_in_another_codec_than_the_plans_is_refused(up: str) -> None:
    plan = plan_of(codec={"up": up})
    check_draft(plan, "train", draft_of(plan, "train"))
    with pytest.raises(WireError, match=f"the plan says {up}"):
        check_draft(plan, "train", draft_of(OPEN, "train"))


def test_an_update_of_another_size_than_the_model_is_refused() -> None:
    short = encode(np.zeros(7, np.float32), "float32", (("w", (7,)),))
    for draft in (with_payload(draft_of(OPEN, "train"), "update", short), replace(draft_of(OPEN, "train"), layout=())):
        with pytest.raises(WireError, match="values; expected"):
            check_draft(OPEN, "train", draft)


@pytest.mark.parametrize(
    ("kind", "name"), [("sketch", "sketch"), ("train", "scores"), ("evaluate", "validation"), ("alone", "test")]
)
def test_counts_over_other_bins_than_the_plans_are_refused(kind: Kind, name: str) -> None:
    size = SIZES["sketch" if name == "sketch" else "counts"]
    for wrong in (size - 1, size + 1):
        draft = with_payload(draft_of(OPEN, kind), name, pack_counts(np.ones(wrong, dtype=np.int64)))
        with pytest.raises(WireError, match=f"holds {wrong} counts; expected {size}"):
            check_draft(OPEN, kind, draft)


FLIPS = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4)


def flipped(data: bytes, flips: list[tuple[int, int]], cut: int) -> bytes:
    changed = bytearray(data)
    for place, byte in flips:
        changed[place % len(data)] = byte
    return bytes(changed[: len(data) - cut] if cut >= 0 else changed + b"\x00")


@settings(max_examples=200)
@given(flips=FLIPS, cut=st.sampled_from([0, 0, 0, 1, -1]), kind=st.sampled_from(["sketch", "evaluate"]))
def test_counts_with_flipped_bytes_are_counts_over_the_plans_bins_or_are_refused_by_name(
    flips: list[tuple[int, int]], cut: int, kind: Kind
) -> None:
    name = "sketch" if kind == "sketch" else "test"
    draft = draft_of(OPEN, kind)
    data = flipped(draft.payloads[name], flips, cut)
    try:
        check_draft(OPEN, kind, with_payload(draft, name, data))
    except (WireError, ReleaseRefused):
        assert data != draft.payloads[name]
        return
    assert (unpack_counts(data, SIZES["sketch" if kind == "sketch" else "counts"]) >= 0).all()


@settings(max_examples=300)
@given(FLIPS, st.sampled_from([0, 0, 0, 1, -1]), st.sampled_from(["float32", "float16", "int8", "topk"]))
def test_an_update_with_flipped_bytes_is_finite_and_within_the_bound_or_is_refused_by_name(
    flips: list[tuple[int, int]], cut: int, up: str
) -> None:
    plan = plan_of(codec={"up": up}, max_update_norm=100.0)
    draft = draft_of(plan, "train")
    data = flipped(draft.payloads["update"], flips, cut)
    try:
        check_draft(plan, "train", with_payload(draft, "update", data))
    except (WireError, ReleaseRefused):
        assert data != draft.payloads["update"]
        return
    passed = decode(data, LAYOUT).astype(np.float64)
    assert np.isfinite(passed).all()
    assert np.sqrt((passed**2).sum()) <= 100.0


# Under secure aggregation a draft is vectors, to be added up.

WIDTH = 5


def vectors_of(plan: Plan, kind: Kind) -> Draft:
    found = {part.name: np.ones(part.size) for part in parts_of(plan, kind, WIDTH, 4)}
    return Draft(vectors=found, width=WIDTH, mechanism=plan.mechanism(kind))


def with_entry(plan: Plan, kind: Kind, value: float) -> Draft:
    draft = vectors_of(plan, kind)
    for vector in draft.vectors.values():
        vector[3] = value
    return draft


SUMS: list[tuple[Plan, Kind]] = [(plan, kind) for plan in (SEALED, SHARED) for kind in ("sketch", "train", "evaluate")]


@pytest.mark.parametrize(("plan", "kind"), SUMS)
def test_vectors_of_the_plans_names_and_sizes_pass_and_nothing_leaves_beside_them(plan: Plan, kind: Kind) -> None:
    draft = vectors_of(plan, kind)
    check_draft(plan, kind, draft)
    name = next(iter(draft.vectors))
    for extra in ({"payloads": {"scores": HISTOGRAM}}, {"payloads": {name: b"plain"}}, {"values": {"loss": 0.5}}):
        with pytest.raises(ReleaseRefused, match=r"may not hold \[.*\] outside of the sum"):
            check_draft(plan, kind, replace(draft, **extra))


@pytest.mark.parametrize(("plan", "kind"), SUMS)
def test_vectors_that_are_missing_or_others_than_the_plans_are_refused(plan: Plan, kind: Kind) -> None:
    draft = vectors_of(plan, kind)
    for wrong in ({}, {**draft.vectors, "rows": np.ones(3)}, {"other": np.ones(3)}):
        with pytest.raises(WireError, match=f"a reply to '{kind}' needs"):
            check_draft(plan, kind, replace(draft, vectors=wrong))


@pytest.mark.parametrize(("plan", "kind"), SUMS)
def test_a_vector_of_another_shape_or_type_is_refused(plan: Plan, kind: Kind) -> None:
    draft = vectors_of(plan, kind)
    name, vector = next(iter(draft.vectors.items()))
    for wrong in (vector[:-1], vector.astype(np.float32), vector.reshape(1, -1), vector.astype(np.int64)):
        with pytest.raises(ReleaseRefused, match=f"'{name}' is .*, expected float64 of shape"):
            check_draft(plan, kind, replace(draft, vectors={**draft.vectors, name: wrong}))


@pytest.mark.parametrize(("plan", "kind"), SUMS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_refused(plan: Plan, kind: Kind, value: float) -> None:
    with pytest.raises(ReleaseRefused, match="not finite"):
        check_draft(plan, kind, with_entry(plan, kind, value))


def test_an_entry_above_the_bound_that_the_modulus_has_room_for_is_refused() -> None:
    mechanism = SHARED.round_mechanism
    assert mechanism is not None
    # Clipped sums are clamped before the noise, which ends below ten deviations.
    most = SHARED.privacy.sum_bound * SHARED.privacy.clip_norm + 10 * mechanism.share_deviation
    bounds = ((SHARED, "train", most), (SEALED, "sketch", 2.0**28), (SEALED, "evaluate", 2.0**28))
    for plan, kind, bound in bounds:
        check_draft(plan, kind, with_entry(plan, kind, bound))  # type: ignore[arg-type]
        for beyond in (bound * 1.001, -bound * 1.001):
            with pytest.raises(ReleaseRefused, match="holds a number above the plan's bound"):
                check_draft(plan, kind, with_entry(plan, kind, beyond))  # type: ignore[arg-type]


@pytest.mark.parametrize("phase", [SECURE, {**SECURE, **PRIVATE}], ids=["none", "local"])
def test_an_update_that_is_added_up_is_held_to_the_plans_norm_bound_too(phase: dict[str, Any]) -> None:
    plan = plan_of(**phase, max_update_norm=5.0)
    short = vectors_of(plan, "train")
    size = len(short.vectors["update"])
    for norm, passes in ((4.99, True), (5.01, False)):
        draft = replace(short, vectors={"update": np.full(size, norm / np.sqrt(size))})
        if passes:
            check_draft(plan, "train", draft)
            continue
        with pytest.raises(ReleaseRefused, match="L2 norm is above the plan's bound of 5"):
            check_draft(plan, "train", draft)


def test_vectors_by_another_mechanism_than_the_plans_are_refused() -> None:
    draft = vectors_of(SHARED, "train")
    assert draft.mechanism is not None
    for wrong in (None, replace(draft.mechanism, parties=6), replace(draft.mechanism, colluding=0)):
        with pytest.raises(ReleaseRefused, match="plan's mechanism"):
            check_draft(SHARED, "train", replace(draft, mechanism=wrong))


def test_a_plain_payload_is_no_answer_where_sums_are_asked_for() -> None:
    with pytest.raises(ReleaseRefused, match="outside of the sum"):
        check_draft(SEALED, "train", draft_of(SEALED, "train"))


@pytest.mark.parametrize("kind", ["confirm", "reveal"])
def test_what_opens_a_sum_is_one_record_and_the_set_it_is_about(kind: Kind) -> None:
    name = {"confirm": "confirmation", "reveal": "reveal"}[kind]
    draft = Draft(values={"survivors": "fc"}, payloads={name: b"{}"})
    check_draft(SEALED, kind, draft)
    for extra in ({"update": b"x"}, {"rows": b"x"}):
        with pytest.raises(ReleaseRefused, match="may not hold"):
            check_draft(SEALED, kind, replace(draft, payloads={**draft.payloads, **extra}))
    with pytest.raises(ReleaseRefused, match="may not hold"):
        check_draft(SEALED, kind, replace(draft, values={**draft.values, "note": "Jane Roe"}))
    with pytest.raises(WireError, match="needs"):
        check_draft(SEALED, kind, replace(draft, payloads={}))
