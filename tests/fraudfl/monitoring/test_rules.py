"""Alert rules: they hold for as long as they must, say why, and are raised once."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from pydantic import ValidationError

from fraudfl.monitoring.alert_rate import AlertRate
from fraudfl.monitoring.calibration import Calibration
from fraudfl.monitoring.drift import Drift
from fraudfl.monitoring.performance import Performance
from fraudfl.monitoring.report import WindowReport
from fraudfl.monitoring.rules import alerts, measure
from fraudfl.monitoring.scores import Estimate
from fraudfl.monitoring.settings import MEASURES, AlertRule


def drift(name, psi, p_value=1e-6):
    return Drift(name, psi, 0.001, 50.0, 9, p_value, p_value, 1.0, 10)


def report(window, *drifts, **more):
    return WindowReport(window, ("quiet",), 1000, drifts, **more)


def labelled(window, drop, low, high):
    figures = {"auprc": Estimate(0.5 - drop, 0.4, 0.6)}
    return report(window, performance=Performance(1000, 10, figures, {"auprc": Estimate(drop, low, high)}))


PSI = AlertRule(name="drift", measure="psi_max", at_least=0.1)
DROP = AlertRule(name="worse", measure="auprc_drop", at_least=0.02, action="retrain", severity="critical")


def test_the_largest_change_that_is_no_chance_raises_an_alert_that_names_it():
    found = alerts([PSI], [report("m1", drift("amount", 0.12), drift("hour", 0.4, p_value=0.3), drift("channel", 0.3))])
    assert len(found) == 1
    assert found[0].reason == "psi_max in m1 is 0.3 in channel (p = 1e-06); rule 'drift' alerts at at least 0.1"
    assert (found[0].window, found[0].since, found[0].action) == ("m1", "m1", "none")


def test_a_large_psi_that_chance_explains_raises_none():
    assert alerts([PSI], [report("m1", drift("amount", 0.9, p_value=0.02))]) == ()


def test_the_score_has_a_measure_of_its_own():
    rule = AlertRule(name="score", measure="psi_score", at_least=0.1)
    one = report("m1", drift("amount", 0.5), drift("score", 0.2))
    assert measure(rule, one).value == 0.2
    assert measure(PSI, one).value == 0.5
    assert measure(rule, report("m1", drift("amount", 0.5))) is None


def test_changed_features_are_counted_and_named():
    rule = AlertRule(name="many", measure="drifted_features", at_least=2)
    found = alerts([rule], [report("m1", drift("a", 0.1), drift("b", 0.1), drift("c", 0.1, p_value=0.5))])
    assert "is 2: a, b" in found[0].reason


def test_a_rule_must_hold_for_its_windows_in_a_row():
    rule = PSI.model_copy(update={"windows": 2})
    high, low = drift("amount", 0.2), drift("amount", 0.01)
    history = [report(f"m{i}", one) for i, one in enumerate([high, low, high, high, high, low, high, high])]
    found = alerts([rule], history)
    assert [(alert.since, alert.window) for alert in found] == [("m2", "m3"), ("m6", "m7")]
    assert "for 2 windows since m2" in found[0].reason


def test_a_rule_that_goes_on_holding_raises_one_alert_however_often_history_is_looked_at():
    history = [report(f"m{i}", drift("amount", 0.2)) for i in range(4)]
    keys = [{alert.key for alert in alerts([PSI], history[:end])} for end in (1, 2, 3, 4)]
    assert keys == [{("drift", "m0")}] * 4


def test_windows_whose_labels_are_not_known_yet_are_passed_over():
    rule = DROP.model_copy(update={"windows": 2})
    history = [labelled("m1", 0.1, 0.05, 0.15), report("m2"), labelled("m3", 0.1, 0.05, 0.15)]
    assert [(alert.since, alert.window) for alert in alerts([rule], history)] == [("m1", "m3")]


def test_only_a_sure_drop_raises_an_alert_unless_the_point_is_asked_for():
    unsure = [labelled("m1", 0.1, -0.01, 0.2)]
    assert alerts([DROP], unsure) == ()
    assert len(alerts([DROP.model_copy(update={"bound": "point"})], unsure)) == 1
    sure = alerts([DROP], [labelled("m1", 0.1, 0.03, 0.2)])
    assert (sure[0].action, sure[0].severity) == ("retrain", "critical")
    assert "auprc_drop in m1 is 0.1 (0.03 to 0.2)" in sure[0].reason


def test_at_most_looks_at_the_upper_end():
    rule = AlertRule(name="low", measure="auprc", at_most=0.5)
    one = labelled("m1", 0.1, 0.0, 0.2)
    assert alerts([rule], [one]) == ()  # 0.4, but up to 0.6
    assert len(alerts([rule.model_copy(update={"at_most": 0.6})], [one])) == 1


def test_alerts_calibration_and_its_shift_are_measures():
    one = report(
        "m1",
        alert_rate=AlertRate(Estimate(0.02, 0.018, 0.022), 0.01),
        calibration=Calibration(0.03, 0.004, Estimate(1.5, 1.2, 1.8), ()),
        performance=Performance(1000, 10, {}, {}, Estimate(2.0, 1.5, 2.5), Estimate(3.0, 2.0, 4.0)),
    )
    values = {
        name: measure(AlertRule(name="r", measure=name, at_least=0), one)
        for name in ("alerts_of_budget", "ece", "brier", "calibration_shift", "missed_ratio")
    }
    assert {name: one.value for name, one in values.items()} == {
        "alerts_of_budget": 2.0, "ece": 0.03, "brier": 0.004, "calibration_shift": 2.0, "missed_ratio": 3.0,
    }  # fmt: skip
    assert values["alerts_of_budget"].low == pytest.approx(1.8)


@pytest.mark.parametrize("name", MEASURES)
def test_no_measure_fails_on_a_report_that_has_nothing_yet(name):
    rule = AlertRule(name="r", measure=name, at_least=1e-9)
    assert alerts([rule], [report("m1")]) == ()


def test_an_unknown_measure_is_refused_with_those_that_exist():
    with pytest.raises(ValidationError, match="measure 'psi' is unknown; expected one of psi_max, psi_score"):
        AlertRule(name="r", measure="psi", at_least=1)


@pytest.mark.parametrize("thresholds", [{}, {"at_least": 1, "at_most": 2}])
def test_a_rule_without_one_threshold_is_refused(thresholds):
    with pytest.raises(ValidationError, match="needs either `at_least` or `at_most`"):
        AlertRule(name="r", measure="ece", **thresholds)


def test_alerts_and_reports_can_be_written_as_json():
    one = replace(labelled("m1", 0.1, 0.03, 0.2), drifts=(drift("amount", 0.2),))
    assert json.loads(json.dumps(one.to_dict()))["performance"]["drops"]["auprc"] == {
        "value": 0.1, "low": 0.03, "high": 0.2,
    }  # fmt: skip
    assert json.loads(json.dumps(alerts([PSI], [one])[0].to_dict()))["rule"] == "drift"


def test_an_interval_that_is_wide_for_once_is_no_end_of_a_trouble_and_a_value_that_is_back_is():
    history = [
        labelled("m1", 0.1, 0.05, 0.15),
        labelled("m2", 0.1, 0.00, 0.30),
        labelled("m3", 0.1, 0.05, 0.15),
        labelled("m4", 0.01, 0.00, 0.02),
        labelled("m5", 0.1, 0.05, 0.15),
    ]
    assert [alert.window for alert in alerts([DROP], history)] == ["m1", "m5"]


def test_a_value_that_may_be_chance_begins_no_trouble():
    assert alerts([DROP], [labelled("m1", 0.1, 0.00, 0.30), labelled("m2", 0.1, 0.00, 0.30)]) == ()
