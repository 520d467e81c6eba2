"""What a monitoring plan fixes: which windows are looked at, when labels are known, and over which public bins."""

from __future__ import annotations

import math
from datetime import date, timedelta

from pydantic import Field

from fraudfl.errors import DataError
from fraudfl.features.sketch import EncoderSpec, sketch_size
from fraudfl.frozen import Frozen


class WatchSpec(Frozen):
    """Windows of equal length, one after the other, counted from 1.

    Attributes:
        first: First day of the first window.
        window_days: Length of each.
        windows: How many are looked at; the plan pays for no more.
        quiet: How many of the first windows are the reference for later ones.
        labels_after_days: So long after a window's end its labels are taken to be known.
        features: Public bins of the features; coarse, see `coarse`.
    """

    first: date
    window_days: int = Field(default=30, ge=1, le=366)
    windows: int = Field(default=16, ge=1, le=1200)
    quiet: int = Field(default=4, ge=1, le=120)
    labels_after_days: float = Field(default=30, ge=0, le=3660)
    features: EncoderSpec

    @property
    def size(self) -> int:
        """Length of one window's counts of features."""
        return sketch_size(self.features)

    def days_of(self, window: int) -> tuple[date, date]:
        """First and last day of a window, both inside it.

        Raises:
            DataError: when the plan has no such window.
        """
        if not 1 <= window <= self.windows:
            raise DataError(f"window {window} is none of this plan's; expected 1 to {self.windows}")
        first = self.first + timedelta(days=(window - 1) * self.window_days)
        return first, first + timedelta(days=self.window_days - 1)

    def name_of(self, window: int) -> str:
        """What people call a window: its first and last day."""
        first, last = self.days_of(window)
        return f"{first.isoformat()}..{last.isoformat()}"

    def ends(self, window: int) -> date:
        """The day with whose beginning a window is over."""
        return self.days_of(window)[1] + timedelta(days=1)

    def labels_known(self, window: int) -> date:
        """The day with whose beginning a window's labels are taken to be known."""
        return self.ends(window) + timedelta(days=math.ceil(self.labels_after_days))


def coarse(spec: EncoderSpec, bins_per_decade: int = 5) -> EncoderSpec:
    """The plan's own features over fewer public bins: cheap to send, and each count large enough to stand out of noise.

    Args:
        spec: What the encoder is made from.
        bins_per_decade: At least 4; ten groups of a drift test need no more than five or so.
    """
    return spec.model_copy(update={"bins_per_decade": min(bins_per_decade, spec.bins_per_decade)})
