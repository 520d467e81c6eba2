"""What a gate can look at: each measure by name, how it is read from a phase's outcome, and what it means."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from fraudfl.metrics.bootstrap import Interval
from fraudfl.metrics.figures import FIGURES
from fraudfl.metrics.gain_bins import GainBins

Baseline = Literal["alone", "xgboost"]
PhaseOutcome = Mapping[str, Any]
"""One entry of `phases` in `summary.json`."""


@dataclass(frozen=True)
class Measured:
    """A measure's value in one outcome.

    Attributes:
        value: The figure; infinite where something is known to have no bound.
        interval: Its 95 % interval; None where there is none.
        exact: Whether the figure is a count or a spend, which no other sample of transactions would change.
        note: What should be said beside the figure.
    """

    value: float
    interval: Interval | None = None
    exact: bool = False
    note: str = ""


@dataclass(frozen=True)
class Unknown:
    """Why an outcome does not hold a measure."""

    reason: str


Read = Callable[[PhaseOutcome, float], Measured | Unknown]


@dataclass(frozen=True)
class Measure:
    """Something that a gate can look at.

    Attributes:
        meaning: In words, for reasons.
        read: Takes it from an outcome; the second argument is the gate's `more_than`.
        low, high: Range of its values, which a threshold must lie in.
        baselines: What the phase must be compared with for the measure to exist.
    """

    meaning: str
    read: Read
    low: float = 0.0
    high: float = 1.0
    baselines: tuple[Baseline, ...] = ()


BANKS_LOSING = "banks_losing"
_WORDS = {
    "auprc": "AUPRC",
    "auroc": "AUROC",
    "balanced_accuracy": "balanced accuracy",
    "recall_at_budget": "recall at the alert budget",
}


def _figure(outcome: PhaseOutcome, _more_than: float, *, contender: str, figure: str) -> Measured | Unknown:
    """A figure of the model on all banks' test rows, or one kept beside it under `contender`."""
    metrics = outcome.get("metrics") or {}
    value = (metrics.get(contender) or {}).get(figure)
    if value is None:
        return Unknown(f"the outcome holds no {_WORDS[figure]} for `{contender}`")
    return Measured(value, _interval(metrics, contender, figure))


def _gain(outcome: PhaseOutcome, _more_than: float, *, over: Baseline, figure: str) -> Measured | Unknown:
    metrics = outcome.get("metrics") or {}
    federated, other = ((_row(metrics, name) or {}).get(figure) for name in ("federated", over))
    if federated is None or other is None:
        return Unknown(f"the outcome holds no {_WORDS[figure]} of both the federated model and `{over}`")
    return Measured(federated - other, _interval(metrics, f"gain_over_{over}", figure))


def _gain_over_best(outcome: PhaseOutcome, more_than: float, *, figure: str) -> Measured | Unknown:
    """The gain over the stronger of each bank's own MLP and own XGBoost: the smaller of both gains."""
    gains = {over: _gain(outcome, more_than, over=over, figure=figure) for over in _RIVALS}
    found = {over: gain for over, gain in gains.items() if isinstance(gain, Measured)}
    if len(found) < len(gains):
        return next(gain for gain in gains.values() if isinstance(gain, Unknown))
    over, least = min(found.items(), key=lambda item: item[1].value)
    return Measured(least.value, least.interval, note=f"the stronger one alone is `{over}`")


def _banks_losing(outcome: PhaseOutcome, more_than: float) -> Measured | Unknown:
    metrics = outcome.get("metrics") or {}
    bins = _gain_bins(metrics)
    found = bins.share_losing(more_than) if bins is not None else None
    if bins is None or found is None:
        return Unknown("the outcome holds neither `gain_bins` nor `per_bank`, or no bank had a fraud to test on")
    share, interval = found
    note = f"banks without a fraud to test on, not counted: {bins.undefined:g}" if bins.undefined >= 1 else ""
    return Measured(share, interval if bins.noise else None, exact=not bins.noise, note=note)


def _gain_bins(metrics: Mapping[str, Any]) -> GainBins | None:
    if metrics.get("gain_bins"):
        return GainBins.from_dict(metrics["gain_bins"])
    banks = metrics.get("per_bank") or {}
    own = [(row["federated"], row["alone"]) for row in banks.values()]
    gains = [None if federated is None or alone is None else federated - alone for federated, alone in own]
    return GainBins.of_gains(gains) if gains else None


def _epsilon(outcome: PhaseOutcome, _more_than: float) -> Measured | Unknown:
    privacy = outcome["privacy"]
    if privacy["mode"] == "none":
        return Measured(math.inf, exact=True, note="the phase promises no differential privacy")
    if privacy["epsilon_max"] is None:
        return Unknown("the outcome does not say what was spent of ε")
    return Measured(privacy["epsilon_max"], exact=True)


def _not_covered(outcome: PhaseOutcome, _more_than: float) -> Measured | Unknown:
    listed = outcome["privacy"]["not_covered"]
    return Measured(len(listed), exact=True, note=", ".join(listed))


def _participation(outcome: PhaseOutcome, _more_than: float) -> Measured | Unknown:
    if not outcome["roster"]:
        return Unknown("no bank was asked")
    return Measured(outcome["banks"] / outcome["roster"], exact=True)


def _missed_rounds(outcome: PhaseOutcome, _more_than: float) -> Measured | Unknown:
    asked = outcome["roster"] * outcome["rounds"]
    if not asked:
        return Unknown("the phase had no rounds")
    # A bank that missed several attempts of one round missed that round once.
    missed = {(item["bank"], item["round"]) for item in outcome["excluded"] if item["round"] >= 1}
    return Measured(len(missed) / asked, exact=True)


def _savings(outcome: PhaseOutcome, _more_than: float, *, name: str, raw: str) -> Measured | Unknown:
    transfer = outcome["transfer"]
    if not transfer[raw]:
        return Unknown("the size of the banks' raw data is not known here, so there is nothing to compare with")
    return Measured(transfer[name], exact=True)


def _drift(outcome: PhaseOutcome, _more_than: float) -> Measured | Unknown:
    value = (outcome.get("drift") or {}).get("psi_max")
    return Unknown("the outcome holds no drift") if value is None else Measured(value, exact=True)


def _power(outcome: PhaseOutcome, _more_than: float) -> Measured | Unknown:
    power = (outcome.get("assessment") or {}).get("power") or {}
    if "power" not in power:
        return Unknown((power.get("words") or "the outcome holds no assessment").rstrip("."))
    low, value, needed = power["power_low"], power["power"], power["frauds_needed"]
    note = f"{power['frauds']:,.0f} frauds to test on"
    note += "" if needed is None or power["enough"] else f"; {needed:,} would do"
    return Measured(value, (low, value) if low < value else None, exact=low >= value, note=note)


def _ready_banks(outcome: PhaseOutcome, _more_than: float) -> Measured | Unknown:
    found = outcome.get("assessment")
    if not found or not outcome["roster"]:
        return Unknown("the outcome holds no assessment")
    value, low, high = (found["ready_banks"][end] / outcome["roster"] for end in ("value", "low", "high"))
    return Measured(value, (low, high) if low < high else None, exact=low >= high)


def _left_out(outcome: PhaseOutcome, _more_than: float) -> Measured | Unknown:
    found = outcome.get("assessment")
    if not found:
        return Unknown("the outcome holds no assessment")
    columns = found["schema"]["left_out"]
    return Measured(len(columns), exact=True, note=", ".join(entry["column"] for entry in columns))


def _row(metrics: Mapping[str, Any], contender: str) -> Mapping[str, Any] | None:
    row: Mapping[str, Any] | None = metrics.get(contender)
    return (row or {}).get("alone") if contender == "xgboost" else row


def _interval(metrics: Mapping[str, Any], contender: str, figure: str) -> Interval | None:
    ends = ((metrics.get("intervals") or {}).get(contender) or {}).get(figure)
    return (float(ends[0]), float(ends[1])) if ends else None


_RIVALS: Mapping[Baseline, str] = {"alone": "training alone", "xgboost": "XGBoost alone"}


def _measures() -> Iterator[tuple[str, Measure]]:
    for figure in FIGURES:
        word = _WORDS[figure]
        yield figure, Measure(word, partial(_figure, contender="federated", figure=figure))
        for over, rival in _RIVALS.items():
            gain = partial(_gain, over=over, figure=figure)
            yield f"gain_over_{over}.{figure}", Measure(f"gain in {word} over {rival}", gain, -1.0, 1.0, (over,))
        best = partial(_gain_over_best, figure=figure)
        meaning = f"gain in {word} over the better of MLP and XGBoost alone"
        yield f"gain_over_best_alone.{figure}", Measure(meaning, best, -1.0, 1.0, tuple(_RIVALS))
    for figure in ("auprc", "recall_at_budget"):
        meaning = f"{_WORDS[figure]} at the worst bank, as a share of the banks' mean"
        yield f"fairness.{figure}", Measure(meaning, partial(_figure, contender="fairness", figure=figure))
    yield BANKS_LOSING, Measure("share of banks that lose", _banks_losing, baselines=("alone",))
    yield "epsilon_max", Measure("ε spent at the bank that spent most", _epsilon, high=math.inf)
    yield "not_covered", Measure("kinds of release that ε does not cover", _not_covered, high=math.inf)
    yield "participation", Measure("share of the roster that took part", _participation)
    yield "missed_rounds", Measure("share of banks' rounds that were missed", _missed_rounds)
    for name, raw, words in _SAVINGS:
        meaning = f"share of the raw data's bytes that was not transferred, {words}"
        yield name, Measure(meaning, partial(_savings, name=name, raw=raw), low=-math.inf)
    yield "power", Measure("chance that the pilot's gate sees the gain that is hoped for", _power)
    yield "ready_banks", Measure("share of the roster with frauds enough to learn from", _ready_banks)
    yield "columns_left_out", Measure("columns that too few banks have", _left_out, high=math.inf)
    yield "drift.psi_max", Measure("largest drift of a feature or of the score (PSI)", _drift, high=math.inf)


_SAVINGS = (
    ("savings_vs_csv", "raw_csv_bytes", "against CSV"),
    ("savings_vs_parquet", "raw_parquet_bytes", "against Parquet"),
    ("worst_bank_savings_vs_csv", "raw_csv_bytes", "against CSV at the bank that saved least"),
)

MEASURES: Mapping[str, Measure] = dict(_measures())
"""All measures, by the name that a gate calls them."""
