"""The schema that a consortium agrees on after its assessment, and a configuration that follows it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from typing import Literal

from pydantic import Field

from fraudfl.assessment.demands import Demands
from fraudfl.assessment.profile import Profile
from fraudfl.config import FraudflConfig
from fraudfl.errors import WireError
from fraudfl.frozen import Frozen


class LeftOut(Frozen):
    """A column that later phases do without, and why.

    Attributes:
        reason: `few-banks`: too few have it at all; `few-rows`: too few transactions hold a value.
        found: Share of banks, or of transactions, that have it, as far as is known.
        least: What was asked for.
    """

    column: str
    reason: Literal["few-banks", "few-rows"]
    found: float = Field(ge=0, le=1)
    least: float = Field(ge=0, le=1)

    @property
    def words(self) -> str:
        """The reason in a sentence."""
        who = "banks have it" if self.reason == "few-banks" else "transactions hold a value"
        return f"{self.found:.0%} of the {who}; at least {self.least:.0%} are asked for"


class Schema(Frozen):
    """What later phases use.

    Attributes:
        left_out: Columns that they do without.
        doubtful: Columns that stay although noise does not tell whether they reach what is asked for.
        categories: Public list of values per categorical column that stays: those that are frequent enough.
        units: Per numeric column that stays: edges that the median magnitude lies between, which says its unit.
        period: First and last month of the plan in which the consortium has transactions.
    """

    left_out: tuple[LeftOut, ...] = ()
    doubtful: tuple[str, ...] = ()
    categories: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    units: dict[str, tuple[float, float]] = Field(default_factory=dict)
    period: tuple[date, date] | None = None

    def refuse_strangers(self, profile: Profile) -> None:
        """Raise WireError when it names columns or values that were not asked about."""
        values = profile.spec.values.categorical
        columns = {entry.column for entry in self.left_out} | set(self.doubtful)
        numbers = set(profile.spec.values.numeric)
        if not (
            columns <= set(profile.spec.optional) and set(self.categories) <= set(values) and set(self.units) <= numbers
        ):
            raise WireError("the negotiated schema names columns that this assessment did not ask about")
        if any(not set(kept) <= set(values[name]) for name, kept in self.categories.items()):
            raise WireError("the negotiated schema lists values that this assessment did not ask about")


def negotiate(profile: Profile, demands: Demands) -> Schema:
    """Keep what enough banks have. A column goes only when its figure misses for certain, whatever the noise did."""
    left_out, doubtful = [], []
    for column in profile.spec.optional:
        whole = float(profile.banks)
        banks, rows = profile.banks_with(column), profile.present(column)
        if banks.high < demands.least_banks * whole:
            left_out.append(_left_out(column, "few-banks", banks.value / whole, demands.least_banks))
        elif rows.high < demands.least_rows:
            left_out.append(_left_out(column, "few-rows", rows.value, demands.least_rows))
        elif banks.low < demands.least_banks * whole or rows.low < demands.least_rows:
            doubtful.append(column)
    gone = {entry.column for entry in left_out}
    lists = {
        name: tuple(
            value
            for value, count in profile.categories(name).items()
            # A count that noise alone might make is no count.
            if count.value >= demands.min_count and count.low > 0
        )
        for name in profile.spec.values.categorical
        if name not in gone
    }
    months = [month for month, rows in profile.months().items() if rows.low > 0]
    return Schema(
        left_out=tuple(left_out),
        doubtful=tuple(doubtful),
        categories=lists,
        units={name: ends for name in profile.spec.values.numeric if name not in gone for ends in _unit(profile, name)},
        period=(months[0], months[-1]) if months else None,
    )


def negotiated(config: FraudflConfig, schema: Schema) -> FraudflConfig:
    """The configuration as later phases use it: columns left out are no features, and lists are the agreed ones.

    The contract stays as it is: a bank's table keeps its columns, and plans do without some of them.
    """
    exclude = dict.fromkeys([*config.features.exclude, *(entry.column for entry in schema.left_out)])
    gone = {entry.column for entry in schema.left_out}
    lists = {name: values for name, values in config.encoder.categories.items() if name not in gone}
    agreed: Mapping[str, tuple[str, ...]] = {
        name: schema.categories.get(name, values) for name, values in lists.items()
    }
    return config.model_copy(
        update={
            "features": config.features.model_copy(update={"exclude": tuple(exclude)}),
            "encoder": config.encoder.model_copy(update={"categories": dict(agreed)}),
        }
    )


def _unit(profile: Profile, column: str) -> list[tuple[float, float]]:
    """One pair of edges, or none where no value is visible or the bins end."""
    ends = profile.magnitude(column)
    return [] if ends is None or math.isinf(ends[1]) else [ends]


def _left_out(column: str, reason: Literal["few-banks", "few-rows"], found: float, least: float) -> LeftOut:
    return LeftOut(column=column, reason=reason, found=min(1.0, max(0.0, found)), least=least)
