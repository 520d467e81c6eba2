"""What a consortium asks of its data before it trains: settings of an assessment."""

from __future__ import annotations

from pydantic import Field

from fraudfl.frozen import Frozen


class Demands(Frozen):
    """What a column or a value must reach to stay.

    Attributes:
        least_banks: Share of banks that have the column.
        least_rows: Share of transactions that hold a value in it.
        min_count: Transactions of a listed value, over all banks.
    """

    least_banks: float = Field(default=0.5, ge=0, le=1)
    least_rows: float = Field(default=0.05, ge=0, le=1)
    min_count: int = Field(default=100, ge=1)


class HopeConfig(Frozen):
    """What the consortium hopes to see in its pilot; see docs/gates.md on power.

    Attributes:
        alone: AUPRC expected of training alone.
        gain: Gain in AUPRC that one believes is there.
        correlation: Between both models' AUPRC over windows like this one.
        design_effect: How many frauds say as much as one, because those of one account resemble each other.
        wanted: Power that counts as enough.
    """

    alone: float = Field(default=0.5, gt=0, lt=1)
    gain: float = Field(default=0.05, gt=0, lt=1)
    correlation: float = Field(default=0.5, gt=-1, lt=1)
    design_effect: float = Field(default=1.0, ge=1)
    wanted: float = Field(default=0.8, gt=0, lt=1)
