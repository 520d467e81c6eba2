"""Named figures from a profile's vector: one bank's own, or the sum over banks with what noise leaves uncertain."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fraudfl.assessment.spec import (
    BANK_FRAUDS,
    BANK_MONTHS,
    CLASSES,
    COLUMNS,
    DELAY,
    DELAY_DAYS,
    FRAUDS,
    MONTHS,
    PARTS,
    Part,
    ProfileSpec,
)
from fraudfl.errors import WireError
from fraudfl.features.sketch import bin_edges
from fraudfl.privacy.denoise import plausible_counts

Floats = NDArray[np.float64]
_TWO_SIDED = 1.959963984540054
_VISIBLE = 4.0
"""Standard deviations of noise above which a single bin is taken to hold something."""


@dataclass(frozen=True)
class Figure:
    """A figure, and between which values it lies for the noise in it (95 %); both ends are the figure without noise."""

    value: float
    low: float
    high: float

    @classmethod
    def counted(cls, value: float, deviation: float) -> Figure:
        """A count with noise of a standard deviation; none below zero."""
        reach = _TWO_SIDED * deviation
        return cls(max(0.0, value), max(0.0, value - reach), max(0.0, value + reach))

    @property
    def noisy(self) -> bool:
        """Whether noise leaves it uncertain."""
        return self.low < self.high

    def over(self, whole: Figure) -> Figure:
        """This count as a share of one that contains it; 0 to 1 where the whole may be nothing."""
        if whole.low <= 0:
            return Figure(0.0, 0.0, 1.0 if whole.high > 0 else 0.0)
        share = min(1.0, self.value / whole.value)
        # The whole's own noise counts, too: the delta method, with both taken as independent.
        reach = math.hypot(self.high - self.low, share * (whole.high - whole.low)) / 2 / whole.value
        return Figure(share, max(0.0, share - reach), min(1.0, share + reach))

    def to_dict(self) -> dict[str, float]:
        """For JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Spread:
    """Where a numeric column's values lie, as far as coarse bins tell.

    Attributes:
        median: Between which edges; wider where noise leaves it uncertain.
        middle: Edges that the middle half of the values lies between.
        ends: Outer edges of the first and the last bin that visibly hold values; infinite beyond the bins.
    """

    median: tuple[float, float]
    middle: tuple[float, float]
    ends: tuple[float, float]


@dataclass(frozen=True)
class Profile:
    """A profile: what one bank counted, or a sum over banks.

    Attributes:
        spec: What the entries mean.
        vector: float64, shape (spec.size,); with noise, entries may be below zero.
        banks: Over how many banks it is summed.
        deviation: Standard deviation of the noise in each entry; 0 where there is none.
    """

    spec: ProfileSpec
    vector: Floats
    banks: int = 1
    deviation: float = 0.0

    def __post_init__(self) -> None:
        """Raises WireError when the vector cannot be a profile of this specification."""
        if self.vector.shape != (self.spec.size,) or not np.isfinite(self.vector).all():
            raise WireError(f"a profile has shape {self.vector.shape}; expected {self.spec.size} finite numbers")
        if self.banks < 1 or not (math.isfinite(self.deviation) and self.deviation >= 0):
            raise WireError(
                f"a profile over {self.banks} banks with noise of {self.deviation}; expected 1 and 0, or more"
            )

    def without(self, own: Floats) -> Profile:
        """The sum over the other banks, for a bank that knows its own part."""
        return Profile(self.spec, self.vector - own, max(1, self.banks - 1), self.deviation)

    @cached_property
    def rows(self) -> Figure:
        """Transactions counted."""
        return self._total(min(self._whole, key=lambda name: self._block(name).size))

    def rows_in(self, part: Part) -> Figure:
        """Transactions of a window."""
        return self._count(self._classes(part))

    def frauds_in(self, part: Part) -> Figure:
        """Frauds in a window."""
        return self._count(self._classes(part)[1:])

    def present(self, column: str) -> Figure:
        """Share of transactions in which a column holds a value."""
        numeric = column in self.spec.values.numeric
        missing = self._count(self._block(f"{'value' if numeric else 'category'}: {column}")[-1:])
        share = missing.over(self.rows)
        return Figure(1 - share.value, 1 - share.high, 1 - share.low)

    def banks_with(self, column: str) -> Figure:
        """Banks that have a column; under noise those with few values in it count in part."""
        if column not in self.spec.optional:
            return Figure(self.banks, self.banks, self.banks)
        count = float(self._block(COLUMNS)[self.spec.optional.index(column)])
        return self._of_banks(count, self.spec.enough_rows)

    def categories(self, column: str) -> Mapping[str, Figure]:
        """Transactions per listed value of a column."""
        counts = self._block(f"category: {column}")
        return {value: self._count(counts[[place]]) for place, value in enumerate(self.spec.values.categorical[column])}

    def unlisted(self, column: str) -> Figure:
        """Transactions with a value that is not on the column's list."""
        return self._count(self._block(f"category: {column}")[-2:-1])

    def spread(self, column: str) -> Spread | None:
        """Where a numeric column's values lie; None where it visibly has none."""
        counts = self._block(f"value: {column}")[:-1]
        visible = np.flatnonzero(counts > _VISIBLE * self.deviation)
        edges = np.concatenate([[-np.inf], bin_edges(self.spec.values).astype(np.float64), [np.inf]])
        if not visible.size:
            return None
        likely = plausible_counts(counts).astype(np.float64) if self.deviation else counts
        below, total = np.cumsum(likely), likely.sum()
        reach = _TWO_SIDED * self.deviation * math.sqrt(visible.size)

        def between(first: float, last: float) -> tuple[float, float]:
            low = int(np.searchsorted(below + reach, first * total))
            high = int(np.searchsorted(below - reach, last * total))
            return float(edges[low]), float(edges[min(high, counts.size - 1) + 1])

        return Spread(
            median=between(0.5, 0.5),
            middle=between(0.25, 0.75),
            ends=(float(edges[visible[0]]), float(edges[visible[-1] + 1])),
        )

    def magnitude(self, column: str) -> tuple[float, float] | None:
        """Edges that the median magnitude of a numeric column's values other than zero lies between; None without any.

        Unlike the median of values on both sides of zero, it moves with their unit alone.
        """
        counts = self._block(f"value: {column}")[:-1]
        half = counts.size // 2
        folded = counts[half + 1 :] + counts[:half][::-1]
        reach = self.deviation * math.sqrt(2 * half)
        if folded.sum() <= _VISIBLE * reach:
            return None
        edges = np.append(bin_edges(self.spec.values)[half:].astype(np.float64), np.inf)
        likely = plausible_counts(folded).astype(np.float64) if self.deviation else folded
        below, middle = np.cumsum(likely), likely.sum() / 2
        low = int(np.searchsorted(below + _TWO_SIDED * reach / 2, middle))
        high = int(np.searchsorted(below - _TWO_SIDED * reach / 2, middle))
        return float(edges[low]), float(edges[min(high, half - 1) + 1])

    def months(self) -> Mapping[date, Figure]:
        """Transactions per calendar month of the plan; empty where the split is not by time."""
        if not self.spec.months:
            return {}
        counts = self._block(MONTHS)
        return {month: self._count(counts[[place]]) for place, month in enumerate(self.spec.months)}

    def outside_months(self) -> Figure:
        """Transactions before the first month and after the last."""
        return self._count(self._block(MONTHS)[-2:])

    def labels_within(self) -> Mapping[float, Figure]:
        """Share of labels known within so many days; empty where label times are not there."""
        if not self.spec.label_time:
            return {}
        counts = self._block(DELAY)
        return {
            days: self._count(counts[: place + 1]).over(self._count(counts)) for place, days in enumerate(DELAY_DAYS)
        }

    def banks_with_frauds(self) -> Mapping[int, Figure]:
        """Banks with at least so many frauds in their training window.

        Counted in layers, a bank with at least e frauds fills the layer below e, and one that fills any of the layer
        above has them: the number lies between what both come to.
        """
        counts = self._block(BANK_FRAUDS)
        if self.spec.enough_rows == 1:
            above = np.cumsum(counts[::-1])[::-1]
            return {
                least: self._of_banks(float(above[place]), 1, len(FRAUDS) - place)
                for place, least in enumerate(FRAUDS)
                if place
            }
        widths = np.diff(FRAUDS)
        filled = [self._of_banks(float(counts[place]), int(width)) for place, width in enumerate(widths)]
        nobody = Figure(0.0, 0.0, 0.0)
        return {
            least: Figure((above.value + below.value) / 2, min(above.low, below.high), below.high)
            for least, below, above in zip(FRAUDS[1:], filled, [*filled[1:], nobody], strict=True)
        }

    def banks_with_months(self) -> Mapping[date, Figure]:
        """Banks that cover each training month; under noise those with few transactions in it count in part."""
        first, count = self.spec.training_months
        months = self.spec.months[first : first + count]
        counts = self._block(BANK_MONTHS) if months else np.zeros(0)
        return {
            month: self._of_banks(float(found), self.spec.enough_rows)
            for month, found in zip(months, counts, strict=True)
        }

    @property
    def _whole(self) -> tuple[str, ...]:
        """Blocks over all transactions; where accounts are bounded, `classes` counts more of them than the others."""
        others = tuple(name for name in self.spec.count_blocks if name != CLASSES)
        return others or (CLASSES,)

    def _classes(self, part: Part) -> Floats:
        start = 2 * PARTS.index(part)
        return self._block(CLASSES)[start : start + 2]

    def _block(self, name: str) -> Floats:
        return self.vector[self.spec.blocks[name]]

    def _total(self, name: str) -> Figure:
        return self._count(self._block(name))

    def _count(self, bins: Floats) -> Figure:
        return Figure.counted(float(bins.sum()), self.deviation * math.sqrt(bins.size))

    def _of_banks(self, count: float, bound: int, bins: int = 1) -> Figure:
        """Banks, of which each counts up to `bound`; at most all."""
        found = Figure.counted(count / bound, self.deviation * math.sqrt(bins) / bound)
        return Figure(*(min(float(self.banks), end) for end in (found.value, found.low, found.high)))
