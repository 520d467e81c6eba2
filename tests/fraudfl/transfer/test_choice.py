"""A codec for a budget of bytes: bounds that no message breaks, and the finest that fits them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_fleet import SECURE, tiny_config

from fraudfl.config import Codec, CodecConfig, FraudflConfig
from fraudfl.data.simulate import GENERATED_CONTRACT
from fraudfl.errors import PlanError
from fraudfl.models.mlp import build_model, layout
from fraudfl.plan import Plan
from fraudfl.planning import make_plan
from fraudfl.secagg.bitpack import pack
from fraudfl.summed import parts_of
from fraudfl.transfer.choice import (
    DOWN_ENVELOPE,
    MEMBERS,
    SMALLEST_KEEP,
    UP_ENVELOPE,
    Travelling,
    choose_codec,
    most_bytes,
)
from fraudfl.transfer.codec import encode

CODECS = ("float32", "float16", "int8", "topk")
SMALL = Travelling(size=1000, tensors=4)
BESIDE = UP_ENVELOPE + DOWN_ENVELOPE


def vectors(size: int, seed: int) -> dict[str, np.ndarray]:
    """Such as compress badly, well, and such whose largest entries lie where their positions cost most."""
    random = np.random.default_rng(seed)
    far = np.zeros(size)
    far[-(size // 5 + 1) :] = 1.0
    return {
        "normal": random.normal(size=size),
        "bits": random.uniform(-1, 1, size=size) * 2.0 ** random.integers(-12, 12, size),
        "zeros": np.zeros(size),
        "far": far,
        "clumped": np.where(np.arange(size) % 37 < 3, 1.0, 1e-9) * random.normal(size=size),
    }


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 700), keep=st.floats(0.005, 1.0), seed=st.integers(0, 2**16))
def test_no_message_is_longer_than_its_bound(codec: Any, size: int, keep: float, seed: int) -> None:
    shape = (("a", (size - size // 3,)), ("b", (size // 3,)))
    for vector in vectors(size, seed).values():
        data = encode(vector.astype(np.float32), codec, shape, keep=keep, rng=np.random.default_rng(seed))
        assert len(data) <= most_bytes(codec, size, 2, keep)


@pytest.mark.parametrize("codec", CODECS)
def test_the_bound_is_near_what_updates_take(codec: Any) -> None:
    size = 20_000
    vector = np.random.default_rng(5).uniform(-1, 1, size).astype(np.float32)
    data = encode(vector, codec, (("a", (size,)),), keep=0.1, rng=np.random.default_rng(1))
    assert most_bytes(codec, size, 1, 0.1) <= 1.2 * len(data)


AUTO = {"up": "auto", "down": "auto"}
# The bounds of 1,000 values in four tensors: 4,003, 2,003 and 1,019 bytes.
TAKEN = {"float32": 4003, "float16": 2003, "int8": 1019}


@pytest.mark.parametrize(
    ("asked", "budget", "chosen"),
    [
        (AUTO, 4003 + 4003, ("float32", "float32")),
        (AUTO, 4003 + 4003 - 1, ("float32", "float16")),
        (AUTO, 4003 + 2003 - 1, ("float16", "float16")),
        (AUTO, 2003 + 2003 - 1, ("float16", "int8")),
        (AUTO, 2003 + 1019 - 1, ("int8", "int8")),
        (AUTO, 1019 + 1019 - 1, ("topk", "int8")),
        ({"up": "auto", "down": "float32"}, 1019 + 4003, ("int8", "float32")),
        ({"up": "auto", "down": "float16"}, 1019 + 2003 - 1, ("topk", "float16")),
        ({"up": "float32", "down": "auto"}, 4003 + 1019, ("float32", "int8")),
        ({"up": "topk", "down": "auto", "keep": 0.05}, 8006, ("topk", "float32")),
        ({"up": "int8", "down": "int8"}, 1019 + 1019, ("int8", "int8")),
    ],
)
def test_the_finest_codec_that_fits_is_chosen(asked: dict[str, Any], budget: int, chosen: tuple[str, str]) -> None:
    assert {codec: most_bytes(codec, 1000, 4) for codec in CODECS[:3]} == TAKEN
    found = choose_codec(CodecConfig(**asked, max_bytes_per_round=BESIDE + budget), SMALL, "phase pilot")
    assert (found.up, found.down) == chosen
    assert SMALL.most_bytes(found) <= BESIDE + budget


@given(st.integers(0, 1500))
def test_of_the_largest_entries_as_many_are_kept_as_fit(room: int) -> None:
    budget = BESIDE + TAKEN["int8"] + room
    asked = CodecConfig(**AUTO, max_bytes_per_round=budget)
    least = SMALL.most_bytes(Codec(up="topk", down="int8", keep=SMALLEST_KEEP))
    if budget < least:
        with pytest.raises(PlanError, match=f"takes up to {least:,} bytes"):
            choose_codec(asked, SMALL, "phase pilot")
        return
    found = choose_codec(asked, SMALL, "phase pilot")
    assert SMALL.most_bytes(found) <= budget
    if found.up == "topk":
        more = found.model_copy(update={"keep": found.keep + 0.002})
        assert SMALL.most_bytes(more) > budget


def test_the_error_names_the_smallest_size_and_it_is_the_smallest() -> None:
    with pytest.raises(
        PlanError, match=r"phase pilot: codec.max_bytes_per_round is 500, .* up to 1,000 weights"
    ) as one:
        choose_codec(CodecConfig(**AUTO, max_bytes_per_round=500), SMALL, "phase pilot")
    least = int(str(one.value).split("Allow ")[1].split(", leave")[0].replace(",", ""))
    assert choose_codec(CodecConfig(**AUTO, max_bytes_per_round=least), SMALL, "").keep == SMALLEST_KEEP
    with pytest.raises(PlanError, match=f"Allow {least:,}"):
        choose_codec(CodecConfig(**AUTO, max_bytes_per_round=least - 1), SMALL, "")


def test_a_codec_that_was_named_is_held_to_its_budget() -> None:
    with pytest.raises(
        PlanError, match=r"\(up: float32, down: float32\). Allow 10,206, leave `up` and `down` to `auto`"
    ):
        choose_codec(CodecConfig(max_bytes_per_round=9000), SMALL, "phase pilot")


def test_auto_needs_a_budget() -> None:
    with pytest.raises(ValueError, match="set `max_bytes_per_round`"):
        CodecConfig(down="auto")


# In a plan.


def config(codec: dict[str, Any], **phase: Any) -> FraudflConfig:
    return tiny_config({**phase, "codec": codec})


def plan_of(codec: dict[str, Any], **phase: Any) -> Plan:
    made = config(codec, **phase)
    return make_plan(made, made.phases[0], GENERATED_CONTRACT)


def test_a_plan_names_its_codec_and_knows_nothing_of_the_budget() -> None:
    plan = plan_of({**AUTO, "max_bytes_per_round": 100_000})
    assert plan.codec == Codec(up="float32", down="float32")
    assert plan.hash == plan_of({"up": "float32", "down": "float32"}).hash
    assert plan_of({**AUTO, "max_bytes_per_round": 2600}).codec.up == "topk"


def test_the_plan_counts_with_as_many_inputs_as_an_encoder_can_have() -> None:
    plan = plan_of({})
    most = plan.encoder.most_inputs
    assert most == 2 * len(plan.encoder.numeric) + sum(len(listed) + 2 for listed in plan.encoder.categorical.values())
    shape = layout(build_model(plan.model, most))
    exact = Travelling(plan.model.size(most), len(shape))
    for budget in range(exact.most_bytes(Codec(up="int8", down="int8")) - 2, 3000):
        asked = {**AUTO, "max_bytes_per_round": budget}
        assert plan_of(asked).codec == choose_codec(CodecConfig(**asked), exact, "")


def fixed_bytes(plan: Plan, parties: int) -> tuple[int, Travelling]:
    """Bytes of one masked update, and what else travels."""
    (part,) = parts_of(plan, "train", plan.encoder.most_inputs, parties)
    masked = len(pack(np.zeros(part.size, dtype=np.uint64), part.encoding.bits))
    return masked, Travelling(part.size, len(layout(build_model(plan.model, plan.encoder.most_inputs))), masked)


def test_under_secure_aggregation_only_the_way_down_is_chosen_and_the_error_names_the_levers() -> None:
    masked, travelling = fixed_bytes(plan_of({}, **SECURE), 5000)
    beside = UP_ENVELOPE + DOWN_ENVELOPE + MEMBERS + masked
    down = {codec: most_bytes(codec, travelling.size, travelling.tensors) for codec in ("float16", "int8")}
    asked = {"down": "auto", "max_bytes_per_round": beside + down["float16"]}
    assert plan_of(asked, **SECURE).codec == Codec(up="float32", down="float16")
    asked = {"down": "auto", "max_bytes_per_round": beside + down["int8"] - 1}
    with pytest.raises(
        PlanError, match=rf"{masked:,} of them are the masked update.*asking it in fewer \(`cohort`, `r"
    ):
        plan_of(asked, **SECURE)
    with pytest.raises(ValueError, match=r"codec.up is 'auto', but masked vectors have an encoding of their own"):
        config({**AUTO, "max_bytes_per_round": 10**6}, **SECURE)


def test_where_banks_take_turns_the_whole_model_fits_the_budget_like_a_step() -> None:
    masked, travelling = fixed_bytes(plan_of({}, **SECURE), 4)
    enough = UP_ENVELOPE + DOWN_ENVELOPE + MEMBERS + masked + most_bytes("int8", travelling.size, travelling.tensors)
    asked = {"down": "auto", "max_bytes_per_round": enough}
    assert plan_of(asked, **SECURE, cohort=4).codec == Codec(down="int8")
    with pytest.raises(PlanError, match=f"Allow {enough:,}"):
        plan_of({**asked, "max_bytes_per_round": enough - 1}, **SECURE, cohort=4)
