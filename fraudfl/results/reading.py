"""A phase's outcome as values of the report: nothing is computed here but differences and the better of two."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from fraudfl.metrics.figures import FIGURES, FigureName
from fraudfl.results.facts import Gate, Released
from fraudfl.results.measured import (
    Compared,
    Contender,
    Estimate,
    GainBins,
    Kind,
    Round,
    Source,
    Spent,
    TookPart,
    Transfer,
    Way,
)
from fraudfl.transfer.meter import Traffic

Outcome = Mapping[str, Any]
"""A phase's outcome, as its folder holds it: `summary.json`'s entry, and what only reports look at."""
_RIVALS: tuple[tuple[Literal["alone", "xgboost alone"], str], ...] = (
    ("alone", "gain_over_alone"),
    ("xgboost alone", "gain_over_xgboost"),
)


def source(outcome: Outcome) -> Source | None:
    """Where the figures come from; None without figures."""
    metrics = outcome["metrics"]
    found: Source | None = None if metrics is None else metrics["source"]
    return found


def ways(outcome: Outcome) -> tuple[Contender, ...]:
    """Ways to train, set side by side; none without figures."""
    metrics = outcome["metrics"]
    if metrics is None:
        return ()
    trees = metrics["xgboost"] or {}
    rows: dict[Way, Mapping[str, Any] | None] = {
        "federated": metrics["federated"],
        "alone": metrics["alone"],
        "xgboost alone": trees.get("alone"),
        "pooled": metrics["pooled"],
        "xgboost pooled": trees.get("pooled"),
    }
    return tuple(_contender(metrics, way, row) for way, row in rows.items() if row is not None)


def compared(outcome: Outcome) -> tuple[Compared, ...]:
    """Federated against the better way to train alone, by every figure that both have."""
    found = {one.way: one for one in ways(outcome)}
    rivals = [(found[way], gains) for way, gains in _RIVALS if way in found]
    compared = (_compared(outcome, name, found["federated"], rivals) for name in FIGURES if rivals)
    return tuple(one for one in compared if one is not None)


def gains(outcome: Outcome) -> GainBins | None:
    """Banks per bin of gain, where they were counted."""
    bins = (outcome["metrics"] or {}).get("gain_bins")
    return None if bins is None else GainBins.model_validate(bins)


def transfer(outcome: Outcome, traffic: Mapping[str, Traffic]) -> Transfer:
    """Bytes and savings.

    Args:
        traffic: By kind of message, as the meter has it.
    """
    found, banks = outcome["transfer"], outcome.get("savings_over_banks")
    raw = bool(found["raw_csv_bytes"])
    low, high = (None, None) if banks is None else (banks["low"], banks["high"])
    return Transfer(
        up=found["bytes_up"],
        down=found["bytes_down"],
        kinds=tuple(Kind(kind=kind, up=one.up, down=one.down) for kind, one in traffic.items()),
        raw_csv=found["raw_csv_bytes"] if raw else None,
        raw_parquet=found["raw_parquet_bytes"] if raw else None,
        vs_csv=Estimate(value=found["savings_vs_csv"], low=low, high=high) if raw else None,
        vs_parquet=found["savings_vs_parquet"] if raw else None,
        worst=found["worst_bank_savings_vs_csv"] if raw else None,
    )


def gates(outcome: Outcome) -> tuple[Gate, ...]:
    """What the gates said, and who released them."""
    return tuple(
        Gate(
            name=gate["name"],
            outcome=gate["outcome"],
            reason=gate["reason"],
            released=Released.model_validate(gate["released"]) if "released" in gate else None,
        )
        for gate in outcome["gates"]
    )


def spent(outcome: Outcome, promised: float | None) -> Spent:
    """Privacy, as the outcome tells it.

    Args:
        promised: The plan's ε; None where nothing is promised.
    """
    found = outcome["privacy"]
    return Spent(
        mode=found["mode"],
        unit=found["unit"],
        promised=promised,
        epsilon=found["epsilon_max"],
        delta=found["delta"],
        secure_aggregation=found["secure_aggregation"],
        not_covered=tuple(found["not_covered"]),
    )


def rounds(history: Iterable[Mapping[str, float]]) -> tuple[Round, ...]:
    """Rounds of training, from the coordinator's checkpoint."""
    return tuple(
        Round(number=number, banks=round(one["banks"]), auprc=one.get("auprc"), loss=one.get("loss"))
        for number, one in enumerate(history, start=1)
    )


def took_part(outcome: Outcome, trained: Iterable[int]) -> TookPart:
    """Who took part.

    Args:
        trained: Rounds whose update was received, for each bank that took the plan.
    """
    counts = sorted(trained) if outcome["rounds"] else []
    return TookPart(
        asked=outcome["roster"],
        banks=outcome["banks"],
        fewest=counts[0] if counts else None,
        median=counts[len(counts) // 2] if counts else None,
        most=counts[-1] if counts else None,
        left_out=len(outcome["excluded"]),
    )


def _contender(metrics: Mapping[str, Any], way: Way, row: Mapping[str, Any]) -> Contender:
    ends = metrics["intervals"].get(way) or {}
    figures = {name: _estimate(row[name], ends.get(name)) for name in FIGURES}
    return Contender(way=way, **figures)


def _estimate(value: float | None, ends: list[float] | None) -> Estimate | None:
    if value is None:
        return None
    return Estimate(value=value) if ends is None else Estimate(value=value, low=ends[0], high=ends[1])


def _compared(
    outcome: Outcome, name: FigureName, federated: Contender, rivals: list[tuple[Contender, str]]
) -> Compared | None:
    own = federated.figure(name)
    known = [(figure.value, rival, gains) for rival, gains in rivals if (figure := rival.figure(name)) is not None]
    if own is None or not known:
        return None
    value, rival, gains = max(known, key=lambda one: one[0])
    alone = rival.figure(name)
    gain = _estimate(own.value - value, (outcome["metrics"]["intervals"].get(gains) or {}).get(name))
    assert alone is not None  # it was compared
    assert gain is not None  # a difference of two figures
    assert rival.way in ("alone", "xgboost alone")
    return Compared(figure=name, rival=rival.way, alone=alone, federated=own, gain=gain)
