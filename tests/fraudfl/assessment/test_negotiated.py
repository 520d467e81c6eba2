"""Which columns and values stay after an assessment, and what later plans make of it."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from bank_tables import CONTRACT, LISTS, SPLIT, bank_table

from fraudfl.assessment.counting import count_profile
from fraudfl.assessment.demands import Demands
from fraudfl.assessment.negotiated import LeftOut, Schema, negotiate, negotiated
from fraudfl.assessment.profile import Profile
from fraudfl.assessment.spec import profile_spec
from fraudfl.config import ConsortiumConfig, EncoderConfig, FraudflConfig, PhaseConfig
from fraudfl.errors import WireError
from fraudfl.planning import make_plan

SPEC = profile_spec(CONTRACT, SPLIT, LISTS)
ROWS = 400


def summed(*tables, deviation=0.0):
    counted = np.sum([count_profile(table, SPEC, SPLIT) for table in tables], axis=0).astype(np.float64)
    return Profile(SPEC, counted, banks=len(tables), deviation=deviation)


def without_score(seed):
    return bank_table(ROWS, seed=seed, score=[None] * ROWS)


def config():
    return FraudflConfig(
        consortium=ConsortiumConfig(name="test"),
        split=SPLIT,
        encoder=EncoderConfig(categories={**LISTS}),
        phases=(PhaseConfig(name="pilot"),),
    )


def test_a_column_that_too_few_banks_have_goes_with_its_reason():
    schema = negotiate(summed(bank_table(seed=1), without_score(2), without_score(3)), Demands(least_banks=0.5))
    assert [entry.column for entry in schema.left_out] == ["score"]
    assert schema.left_out[0].words == "33% of the banks have it; at least 50% are asked for"


def test_a_column_that_just_enough_banks_have_stays():
    tables = (bank_table(seed=1), without_score(2))
    assert negotiate(summed(*tables), Demands(least_banks=0.5)).left_out == ()
    assert [entry.column for entry in negotiate(summed(*tables), Demands(least_banks=0.51)).left_out] == ["score"]


def test_a_column_that_all_banks_fill_in_too_few_rows_goes():
    rare = bank_table(ROWS, seed=1, channel=["web", *[None] * (ROWS - 1)])
    schema = negotiate(summed(rare), Demands(least_rows=0.05))
    assert [(entry.column, entry.reason) for entry in schema.left_out] == [("channel", "few-rows")]
    assert "channel" not in schema.categories


def test_units_and_the_period_are_written_down():
    schema = negotiate(summed(bank_table(seed=1), without_score(2)), Demands(least_banks=0.6))
    assert set(schema.units) == {"amount"}  # score is left out
    low, high = schema.units["amount"]
    assert low < 20.1 < high  # amounts are log-normal around e^3
    assert schema.period == (date(2025, 1, 1), date(2025, 3, 1))
    nobody = Profile(SPEC, np.zeros(SPEC.size), banks=2)
    assert (negotiate(nobody, Demands()).units, negotiate(nobody, Demands()).period) == ({}, None)


def test_under_noise_a_column_goes_only_when_it_misses_for_certain():
    tables = [bank_table(seed=1), *(without_score(seed) for seed in range(2, 8))]
    sure = negotiate(summed(*tables, deviation=0.5), Demands(least_banks=0.5))
    assert [entry.column for entry in sure.left_out] == ["score"]
    unsure = negotiate(summed(*tables, deviation=5.0), Demands(least_banks=0.5))
    assert unsure.left_out == ()
    assert "score" in unsure.doubtful


def test_rare_values_leave_the_lists_and_noise_is_not_taken_for_values():
    profile = summed(bank_table(seed=1))
    counts = {value: figure.value for value, figure in profile.categories("currency").items()}
    least = int(counts["USD"]) + 1
    assert negotiate(profile, Demands(min_count=least)).categories["currency"] == ("EUR",)
    assert negotiate(profile, Demands(min_count=1)).categories["currency"] == ("EUR", "USD")
    drowned = Profile(SPEC, profile.vector, 1, deviation=1000.0)
    assert negotiate(drowned, Demands(min_count=1)).categories["currency"] == ()


def test_later_plans_do_without_the_column_and_use_the_agreed_lists():
    left = LeftOut(column="score", reason="few-banks", found=0.2, least=0.5)
    agreed = negotiated(config(), Schema(left_out=(left,), categories={"currency": ("EUR",), "channel": ()}))
    plan = make_plan(agreed, agreed.phases[0], CONTRACT)
    assert "score" not in plan.encoder.numeric
    assert plan.encoder.categorical == {"currency": ("EUR",), "channel": ()}
    assert plan.contract == CONTRACT  # banks' tables keep the column
    assert negotiated(agreed, Schema(left_out=(left,))).features.exclude == ("score",)


def test_a_categorical_column_can_be_left_out_too():
    left = LeftOut(column="channel", reason="few-rows", found=0.01, least=0.05)
    agreed = negotiated(config(), Schema(left_out=(left,), categories={"currency": ("EUR", "USD")}))
    assert set(make_plan(agreed, agreed.phases[0], CONTRACT).encoder.categorical) == {"currency"}


@pytest.mark.parametrize(
    "schema",
    [
        Schema(doubtful=("password",)),
        Schema(left_out=(LeftOut(column="amount", reason="few-rows", found=0, least=0.1),)),
        Schema(categories={"currency": ("XXX",)}),
        Schema(categories={"password": ()}),
        Schema(units={"password": (1, 2)}),
    ],
)
def test_a_schema_that_names_what_was_not_asked_about_is_refused(schema):
    with pytest.raises(WireError):
        schema.refuse_strangers(summed(bank_table()))
