"""Estimates of bytes and inputs: exact where sizes are fixed, and set against what codecs and masks really make."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from bank_tables import CONTRACT, LISTS, SPLIT, bank_table

from fraudfl.assessment.counting import count_profile
from fraudfl.assessment.estimates import Ahead, Envelopes, Rows, expected_inputs, traffic
from fraudfl.assessment.profile import Profile
from fraudfl.assessment.spec import profile_spec
from fraudfl.config import ConsortiumConfig, EncoderConfig, FraudflConfig
from fraudfl.errors import WireError
from fraudfl.models.mlp import build_model, layout
from fraudfl.plan import Plan
from fraudfl.planning import make_plan
from fraudfl.secagg.bitpack import pack
from fraudfl.summed import parts_of
from fraudfl.transfer.codec import encode
from fraudfl.transfer.meter import ByteMeter

NO_ENVELOPES = Envelopes(0, 0, 0)
INPUTS = 60
ROWS = Rows(train=3000, test=1000)


def plan_of(**phase: Any) -> Plan:
    config = FraudflConfig.model_validate(
        {
            "consortium": ConsortiumConfig(name="test"),
            "split": SPLIT,
            "encoder": EncoderConfig(categories={**LISTS}, min_category_count=1),
            "phases": [{"name": "pilot", "baselines": [], "strategy": {"weighting": "equal"}, **phase}],
        }
    )
    return make_plan(config, config.phases[0], CONTRACT)


def rounds_alone(plan: Plan, banks: int = 10, cohort: int | None = None, rounds: int = 50) -> tuple[float, float]:
    """Bytes up and down of one bank in one round: a phase of many rounds less one of few."""
    many, few = (
        traffic(Ahead(plan.model_copy(update={"rounds": number}), banks, cohort), INPUTS, ROWS, NO_ENVELOPES)
        for number in (rounds + 1, 1)
    )
    asked = (cohort or banks) * rounds
    return (many[0] - few[0]) / asked, (many[1] - few[1]) / asked


@pytest.mark.parametrize("codec", ["float32", "float16", "int8"])
def test_a_round_takes_what_the_codec_makes_of_a_model(codec: str) -> None:
    plan = plan_of(codec={"up": codec, "down": codec if codec != "topk" else "int8"}, evaluate_every=100)
    shape = layout(build_model(plan.model, INPUTS))
    draw = np.random.default_rng(1)
    update = draw.normal(scale=0.02, size=plan.model.size(INPUTS)).astype(np.float32)
    made = len(encode(update, codec, shape, rng=draw))  # type: ignore[arg-type]
    up, down = rounds_alone(plan)
    assert up == pytest.approx(made, rel=0.05)
    assert down == pytest.approx(made, rel=0.1)  # the digests that name a model come on top


def test_a_masked_round_takes_exactly_what_is_packed() -> None:
    plan = plan_of(secure_aggregation={"min_cohort": 5, "recover": False})
    (part,) = parts_of(plan, "train", INPUTS, 10)
    residues = np.random.default_rng(1).integers(0, 2**20, part.size).astype(np.uint64)
    assert rounds_alone(plan)[0] == pytest.approx(len(pack(residues, part.encoding.bits)), abs=1)


def test_banks_that_are_not_asked_every_round_get_the_model_whole_more_often() -> None:
    plan = plan_of(secure_aggregation={"min_cohort": 5, "recover": False}, cohort=5, codec={"down": "int8"})
    all_asked, half_asked = rounds_alone(plan)[1], rounds_alone(plan, cohort=5)[1]
    assert half_asked > 1.5 * all_asked


def test_what_a_phase_starts_from_is_sent_once_and_nothing_is_sketched() -> None:
    fresh, given = plan_of(rounds=1), plan_of(rounds=1, start="champion")
    ups, downs = zip(
        *(traffic(Ahead(plan, 10), INPUTS, ROWS, NO_ENVELOPES) for plan in (fresh, given)),
        strict=True,
    )
    assert ups[0] > ups[1]
    weights = 4 * given.model.size(INPUTS) * 10
    assert downs[1] - downs[0] == pytest.approx(weights, rel=0.8)


def test_envelopes_are_those_of_messages_that_carried_a_known_load() -> None:
    meter = ByteMeter()
    for bank in ("a", "b"):
        meter.add(bank, "down", "readiness", 1500)
        meter.add(bank, "up", "readiness", 600)
        meter.add(bank, "down", "hello", 300)
        meter.add(bank, "up", "hello", 400)
    assert Envelopes.measured(meter, 900) == Envelopes(down=600, up=600, hello=700)
    plan = plan_of()
    bare, dressed = (
        traffic(Ahead(plan, 2), INPUTS, ROWS, envelopes) for envelopes in (NO_ENVELOPES, Envelopes.measured(meter, 900))
    )
    questions = plan.rounds + 3  # join, sketch, the rounds, evaluate
    assert dressed[0] - bare[0] == pytest.approx(2 * (350 + 600 * questions), abs=1)


def test_without_messages_there_is_nothing_to_measure() -> None:
    with pytest.raises(WireError, match="nothing was measured"):
        Envelopes.measured(ByteMeter(), 10)


def test_columns_with_missing_values_and_rare_values_decide_the_inputs() -> None:
    plan, spec = plan_of(), profile_spec(CONTRACT, SPLIT, LISTS)
    full = {"score": [1.0] * 400, "channel": ["web"] * 400, "currency": ["EUR"] * 400}
    profile = Profile(spec, count_profile(bank_table(400, **full), spec, SPLIT).astype(np.float64))
    gaps = Profile(spec, count_profile(bank_table(400), spec, SPLIT).astype(np.float64))
    # A mark of absence for score and for channel; USD and shop are frequent enough there.
    assert expected_inputs(plan, gaps) - expected_inputs(plan, profile) == 2 + 2
    noisy = replace(gaps, deviation=50.0)
    assert math.isclose(expected_inputs(plan, noisy), expected_inputs(plan, gaps), abs_tol=3)
