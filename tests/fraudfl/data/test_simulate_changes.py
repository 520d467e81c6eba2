"""Changes in a generated history: nothing moves before they begin, and what moves then is what was asked for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from fraudfl.config import GeneratorConfig
from fraudfl.config_changes import ChangesConfig, DriftConfig, NewFraudConfig, first_day
from fraudfl.data import simulate
from fraudfl.data.schema import validate
from fraudfl.errors import ConfigError

CONFIG = GeneratorConfig(transactions=20_000, banks=4, days=150)
BEGIN = pd.Timestamp(CONFIG.start) + pd.Timedelta(days=first_day(4))
DRIFTS = [DriftConfig(month=4, kind=kind, strength=0.4) for kind in ("amounts", "merchants", "channel")]
NEW_FRAUDS = [NewFraudConfig(month=4, kind=kind, rate=0.02) for kind in ("cash_out", "stolen_card")]
EVERYTHING = ChangesConfig(drifts=tuple(DRIFTS), new_frauds=tuple(NEW_FRAUDS))


def changed(*changes: DriftConfig | NewFraudConfig) -> ChangesConfig:
    return ChangesConfig(
        drifts=tuple(change for change in changes if isinstance(change, DriftConfig)),
        new_frauds=tuple(change for change in changes if isinstance(change, NewFraudConfig)),
    )


def history(changes: ChangesConfig, seed: int = 11) -> pd.DataFrame:
    table, kinds = simulate.generate_with_kinds(CONFIG, seed, changes)
    return table.to_pandas().assign(kind=kinds)


@pytest.fixture(scope="module")
def unchanged() -> pd.DataFrame:
    return history(ChangesConfig())


def test_a_month_is_thirty_days():
    assert [first_day(month) for month in (1, 2, 5)] == [0, 30, 120]


@pytest.mark.parametrize("changes", [*(changed(one) for one in (*DRIFTS, *NEW_FRAUDS)), EVERYTHING])
def test_every_row_before_the_change_is_the_same_in_every_column(unchanged, changes):
    frame = history(changes)
    before = frame[frame.time < BEGIN]
    assert len(frame) == CONFIG.transactions
    pd.testing.assert_frame_equal(before, unchanged[unchanged.time < BEGIN])
    assert not frame[len(before) :].equals(unchanged[len(before) :])


def test_a_later_change_leaves_the_months_between_as_an_earlier_one_made_them():
    drift = DriftConfig(month=2, kind="merchants", strength=0.3)
    alone, both = history(changed(drift)), history(changed(drift, NEW_FRAUDS[0]))
    pd.testing.assert_frame_equal(both[both.time < BEGIN], alone[alone.time < BEGIN])


def test_the_same_seed_gives_the_same_changes():
    assert simulate.generate(CONFIG, 3, EVERYTHING).equals(simulate.generate(CONFIG, 3, EVERYTHING))


def test_a_changed_history_keeps_its_contract():
    table = simulate.generate(CONFIG, 11, EVERYTHING)
    assert validate(table, simulate.GENERATED_CONTRACT, where="generated").equals(table)
    assert table.schema == simulate.generate(CONFIG, 11).schema


def test_amounts_grow_by_the_share_asked_for(unchanged):
    frame = history(changed(DRIFTS[0]))
    later = frame.time >= BEGIN
    assert np.allclose(frame.amount[later], unchanged.amount[later] * 1.4, atol=0.006)
    pd.testing.assert_frame_equal(frame.drop(columns="amount"), unchanged.drop(columns="amount"))


def test_the_share_asked_for_of_good_payments_goes_to_other_merchants(unchanged):
    frame = history(changed(DRIFTS[1]))
    good = (frame.time >= BEGIN) & (frame.kind == 0)
    grown = frame.merchant_category[good].isin(["travel", "electronics", "gaming"]).mean()
    usual = unchanged.merchant_category[good].isin(["travel", "electronics", "gaming"]).mean()
    assert grown == pytest.approx(0.4 + 0.6 * usual, abs=0.02)
    pd.testing.assert_frame_equal(frame[frame.kind > 0], unchanged[frame.kind > 0])


def test_payments_move_from_tills_to_online_shops_with_their_amounts_and_currencies(unchanged):
    frame = history(changed(DRIFTS[2]))
    later = (frame.time >= BEGIN) & (frame.kind == 0)
    at_till = later & (unchanged.channel == "pos")
    moved = frame[at_till].channel == "online"
    assert moved.mean() == pytest.approx(0.4, abs=0.03)
    same = ["amount", "currency", "account", "time", "label"]
    pd.testing.assert_frame_equal(frame[same], unchanged[same])
    others = later & (unchanged.channel != "pos")
    assert (frame[others].channel == unchanged[others].channel).all()


@pytest.mark.parametrize(("fraud", "kind"), [(NEW_FRAUDS[0], simulate.CASH_OUT), (NEW_FRAUDS[1], simulate.STOLEN_CARD)])
def test_a_new_kind_of_fraud_begins_in_its_month_at_its_rate(unchanged, fraud, kind):
    frame = history(changed(fraud))
    new = frame[frame.kind == kind]
    assert len(new) == round(0.02 * (frame.time >= BEGIN).sum())
    assert new.time.min() >= BEGIN
    assert (new.label == 1).all()
    assert frame.label.sum() == unchanged.label.sum() + len(new)
    assert new.bank.nunique() == CONFIG.banks


def test_cash_is_drawn_at_machines_and_stolen_cards_pay_at_tills_by_day():
    frame = history(changed(*NEW_FRAUDS))
    cash, cards = frame[frame.kind == simulate.CASH_OUT], frame[frame.kind == simulate.STOLEN_CARD]
    assert set(cash.channel) == {"atm"}
    assert cash.time.dt.hour.between(9, 19).all()
    assert set(cards.merchant_category) <= {"fuel", "pharmacy"}
    assert cards.time.dt.hour.between(9, 20).all()


def test_new_frauds_are_reported_as_late_as_the_others():
    frame = history(changed(*NEW_FRAUDS))
    new = frame[frame.kind >= simulate.STOLEN_CARD]
    delay = (new.label_time - new.time) / pd.Timedelta(days=1)
    assert 4 < delay.median() < 6
    assert delay.max() <= 30


def test_a_change_after_the_end_is_refused_with_the_days():
    late = changed(DriftConfig(month=6, kind="amounts", strength=0.1))
    with pytest.raises(ConfigError, match="month 6 begins on day 150, but the history has 150 days"):
        simulate.generate(CONFIG, 1, late)


def test_a_share_above_one_and_a_kind_named_twice_are_refused():
    with pytest.raises(ValidationError, match="is a share of payments; found 2"):
        DriftConfig(month=2, kind="channel", strength=2)
    with pytest.raises(ValidationError, match="a kind of fraud is new once"):
        changed(NEW_FRAUDS[0], NEW_FRAUDS[0])
