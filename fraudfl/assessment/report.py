"""The consortium's readiness as JSON: what the data amounts to, what is agreed, what comes, and what it can show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fraudfl.assessment.demands import HopeConfig
from fraudfl.assessment.estimates import Estimate
from fraudfl.assessment.negotiated import Schema
from fraudfl.assessment.profile import Figure, Profile
from fraudfl.assessment.spec import PARTS
from fraudfl.errors import DataError
from fraudfl.metrics.power import Hope, Power, Window, power_of

ENOUGH_FRAUDS = 10
"""From so many frauds in its training window on, a bank counts as ready: with fewer it cannot tell what it gains."""

READINESS = "readiness.json"
"""The file of the consortium's readiness, in the phase's folder."""


def consortium_readiness(
    profile: Profile,
    schema: Schema,
    lacking: Mapping[str, Sequence[str]] | None,
    power: Power | str,
    ahead: Sequence[Estimate],
) -> dict[str, Any]:
    """Everything that an assessment found.

    Args:
        profile: The sum over the banks that answered.
        schema: What was negotiated from it.
        lacking: Column to the banks that lack it; None where the coordinator sees the sum alone, or noise in each.
        power: Of the pilot's test window, or why that cannot be said.
        ahead: What the phases to come will take.
    """
    return {
        "banks": profile.banks,
        "ready_banks": ready_banks(profile).to_dict(),
        "noise": profile.deviation,
        "rows": profile.rows.to_dict(),
        "windows": {
            part: {"rows": profile.rows_in(part).to_dict(), "frauds": profile.frauds_in(part).to_dict()}
            for part in PARTS
        },
        "columns": [_column(profile, schema, name, lacking) for name in _columns(profile)],
        "months": _months(profile),
        "labels_within_days": {f"{days:.6g}": share.to_dict() for days, share in profile.labels_within().items()},
        "banks_by_frauds": {str(least): banks.to_dict() for least, banks in profile.banks_with_frauds().items()},
        "schema": schema.model_dump(mode="json"),
        "power": {"words": power} if isinstance(power, str) else power.to_dict(),
        "ahead": [estimate.model_dump(mode="json") for estimate in ahead],
    }


def ready_banks(profile: Profile) -> Figure:
    """Banks with frauds enough in their training window to tell what they gain."""
    return profile.banks_with_frauds()[ENOUGH_FRAUDS]


def power_check(profile: Profile, hope: HopeConfig, asked: float | None) -> Power | str:
    """Whether the test window holds enough fraud to show what the pilot's gate asks for; else why nobody can say.

    Args:
        asked: What the gate asks of the lower end of the gain in AUPRC; None without such a gate: any gain above 0.
    """
    frauds, rows = profile.frauds_in("test"), profile.rows_in("test")
    window = Window(
        frauds=frauds.value,
        others=max(0.0, rows.value - frauds.value),
        design_effect=hope.design_effect,
        noise=profile.deviation,
    )
    try:
        return power_of(
            window,
            Hope(
                alone=hope.alone, gain=hope.gain, asked=asked or 0.0, correlation=hope.correlation, wanted=hope.wanted
            ),
        )
    except DataError as error:
        return f"Nothing can be said of the power: {error}."


def _columns(profile: Profile) -> tuple[str, ...]:
    return (*profile.spec.values.numeric, *profile.spec.values.categorical)


def _months(profile: Profile) -> list[dict[str, Any]]:
    """Transactions per month, and for training months the banks that cover it."""
    banks = profile.banks_with_months()
    return [
        {
            "month": f"{month:%Y-%m}",
            "rows": rows.to_dict(),
            "banks": banks[month].to_dict() if month in banks else None,
        }
        for month, rows in profile.months().items()
    ]


def _column(profile: Profile, schema: Schema, name: str, lacking: Mapping[str, Sequence[str]] | None) -> dict[str, Any]:
    left = next((entry for entry in schema.left_out if entry.column == name), None)
    facts: dict[str, Any] = {
        "column": name,
        "banks": profile.banks_with(name).to_dict(),
        "present": profile.present(name).to_dict(),
        "kept": left is None,
        "reason": "" if left is None else left.words,
        "doubtful": name in schema.doubtful,
        "lacking": None if lacking is None else list(lacking.get(name, ())),
    }
    if name in profile.spec.values.numeric:
        spread = profile.spread(name)
        if spread is None:
            return facts | {"median": None, "middle": None, "range": None}
        return facts | {
            "median": _ends(spread.median),
            "middle": _ends(spread.middle),
            "range": _ends(spread.ends),
        }
    return facts | {
        "values": {value: count.to_dict() for value, count in profile.categories(name).items()},
        "unlisted": profile.unlisted(name).to_dict(),
        "agreed": list(schema.categories.get(name, ())),
    }


def _ends(ends: tuple[float, float]) -> list[float | None]:
    """JSON has no infinity: None is open."""
    return [end if math.isfinite(end) else None for end in ends]
