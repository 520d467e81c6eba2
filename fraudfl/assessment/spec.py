"""What a bank counts of its data in an assessment: blocks over public bins, fixed in the plan, that add up over banks.

There are two kinds of blocks. In a *count block* each transaction counts once: in the bin of its value, its label and
window, its label's delay, its month. A *bank block* tells how many banks there are of some kind: which of the columns
that may be missing they have, which of the training months they cover, how many frauds they can learn from.

Without noise, a bank block says of each bank what is so: a 1 or a 0, and a single 1 among the bins of frauds. One
transaction can change that, and noise which hides a 1 hides how many banks there are. So under differential privacy a
bank block counts transactions, too, up to a bound: rows with a value in the column, rows of the month, up to
`enough_rows` each, and frauds in layers between the edges of the bins. One transaction moves such a count by one, a
bank by the whole bound, and the sum over the bound is close to the number of banks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, timedelta
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Literal, Self

from pydantic import Field, model_validator

from fraudfl.config import SplitConfig
from fraudfl.data.schema import Contract
from fraudfl.features.declaration import categorical_columns
from fraudfl.features.sketch import EncoderSpec, numeric_bin_count
from fraudfl.frozen import Frozen

Part = Literal["train", "test", "unused"]
PARTS: tuple[Part, ...] = ("train", "test", "unused")
"""The training window (validation included), the test window, and all other rows."""
DELAY_DAYS = (1 / 24, 1.0, 3.0, 7.0, 14.0, 30.0, 60.0, 90.0, 180.0)
"""Inner edges of the bins of label delay, in days."""
FRAUDS = (0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
"""Fewest frauds of each bin in which a bank's training window is counted."""
ENOUGH_ROWS = 100
"""Rows that make a bank count in full, where a bank block counts rows."""
CLASSES, DELAY, MONTHS = "classes", "label delay", "months"
COLUMNS, BANK_FRAUDS, BANK_MONTHS = "banks: columns", "banks: frauds", "banks: months"
_BINS_PER_DECADE = 4


class ProfileSpec(Frozen):
    """The blocks of a profile, in order; public, and fixed in the plan.

    Attributes:
        values: Numeric columns with coarse logarithmic bins, and categorical ones with their public lists.
        optional: Columns that a bank may lack: all of their values are missing then.
        label_time: Whether label delays are counted.
        months: First days of the calendar months that the split spans, in order; empty where it is not by time.
        training_months: How many of these, and from which on, the training days touch: (first index, count).
        enough_rows: Bound of what a bank counts in a bank block; with 1 it says what is so.
    """

    values: EncoderSpec
    optional: tuple[str, ...] = ()
    label_time: bool = False
    months: tuple[date, ...] = Field(default=(), max_length=1200)
    training_months: tuple[int, int] = (0, 0)
    enough_rows: int = Field(default=1, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        known = {*self.values.numeric, *self.values.categorical}
        strangers = sorted(set(self.optional) - known)
        if strangers or len(set(self.optional)) != len(self.optional):
            raise ValueError(f"`optional` must name profiled columns once each; found {strangers or self.optional}")
        if any(month.day != 1 for month in self.months) or any(_next(one) != two for one, two in pairwise(self.months)):
            raise ValueError("`months` must be the first days of calendar months that follow each other")
        first, count = self.training_months
        if first < 0 or count < 0 or first + count > len(self.months):
            raise ValueError("`training_months` lies outside of `months`")
        return self

    @cached_property
    def blocks(self) -> Mapping[str, slice]:
        """Where each block lies in the vector; `value: NAME` and `category: NAME` for columns."""
        sizes = {f"value: {name}": numeric_bin_count(self.values) for name in self.values.numeric}
        sizes |= {f"category: {name}": len(listed) + 2 for name, listed in self.values.categorical.items()}
        sizes[CLASSES] = 2 * len(PARTS)
        if self.label_time:
            sizes[DELAY] = len(DELAY_DAYS) + 1
        if self.months:
            sizes[MONTHS] = len(self.months) + 2
        if self.optional:
            sizes[COLUMNS] = len(self.optional)
        sizes[BANK_FRAUDS] = len(FRAUDS)
        if self.training_months[1]:
            sizes[BANK_MONTHS] = self.training_months[1]
        ends = accumulate(sizes.values())
        return {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}

    @property
    def size(self) -> int:
        """Entries of the vector."""
        return max(int(where.stop) for where in self.blocks.values())

    @property
    def count_blocks(self) -> tuple[str, ...]:
        """The blocks in which transactions are counted; the others are about the bank as a whole."""
        return tuple(name for name in self.blocks if not name.startswith("banks: "))

    def sensitivity(self, account_rows: int | None) -> float:
        """L2 bound of what one unit changes in one bank's vector.

        A transaction counts once in each count block, in each column that it fills, in one month, and among the frauds.
        Of an account, at most `account_rows` transactions count in each block, and in `classes` so many in each window.
        Where a bank says what is so, a column or a month may change by 1 and the single 1 of frauds may move, by √2.

        Args:
            account_rows: Bound on one account's transactions, or None where the unit is a transaction.
        """
        rows, bound = account_rows or 1, self.enough_rows
        blocks = len(self.count_blocks) + (0 if account_rows is None else len(PARTS) - 1)
        columns = len(self.optional) * min(rows, bound) ** 2
        months = min(rows**2, self.training_months[1] * bound**2)
        frauds = rows**2 if bound > 1 else 2
        return math.sqrt(blocks * rows**2 + columns + months + frauds)


def profile_spec(
    contract: Contract, split: SplitConfig, categories: Mapping[str, tuple[str, ...]], *, private: bool = False
) -> ProfileSpec:
    """What is counted under a contract.

    Args:
        contract: The columns that banks are to bring.
        split: Its days say which months are looked at.
        categories: Public list of values per categorical column; without one, listed values are not told apart.
        private: Whether the counts will carry noise.
    """
    categorical = categorical_columns(contract)
    months, training = _months(contract, split)
    return ProfileSpec(
        values=EncoderSpec(
            numeric=(*(("amount",) if contract.kind == "transactions" else ()), *contract.numeric),
            categorical={name: categories.get(name, ()) for name in categorical},
            bins_per_decade=_BINS_PER_DECADE,
        ),
        optional=(*contract.numeric, *categorical),
        label_time=contract.label_time,
        months=months,
        training_months=training,
        enough_rows=ENOUGH_ROWS if private else 1,
    )


def _months(contract: Contract, split: SplitConfig) -> tuple[tuple[date, ...], tuple[int, int]]:
    if split.origin is None or split.train_days is None or split.test_days is None or not contract.time:
        return (), (0, 0)
    first, last = (split.origin + timedelta(days=day) for day in split.train_days)
    months = [min(split.origin, first).replace(day=1)]
    while _next(months[-1]) <= split.origin + timedelta(days=split.test_days[1]):
        months.append(_next(months[-1]))
    start = months.index(first.replace(day=1))
    return tuple(months), (start, months.index(last.replace(day=1)) - start + 1)


def _next(month: date) -> date:
    return (month.replace(day=1) + timedelta(days=32)).replace(day=1)
