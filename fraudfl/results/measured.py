"""What a phase measured: figures with intervals, gains, bytes, rounds, who took part, and the privacy it cost."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fraudfl.frozen import Frozen
from fraudfl.metrics.figures import FigureName

_TWO_SIDED = 1.959963984540054
Count = Annotated[int, Field(ge=0)]
Source = Literal["exact", "released"]
"""Where a figure comes from: computed where all rows were at hand, or summed from what banks released."""
Way = Literal["federated", "alone", "xgboost alone", "pooled", "xgboost pooled"]
"""A way to train: together, or each bank alone or all rows pooled, with the consortium's network or XGBoost."""


class Estimate(Frozen):
    """A figure and its 95 % interval; both ends are None where there is none."""

    value: float
    low: float | None = None
    high: float | None = None


class Contender(Frozen):
    """How well one way to train scored the same later transactions; figures that are not defined are None."""

    way: Way
    auprc: Estimate | None
    balanced_accuracy: Estimate | None
    auroc: Estimate | None
    recall_at_budget: Estimate | None

    def figure(self, name: FigureName) -> Estimate | None:
        """One figure, by its name."""
        found: Estimate | None = getattr(self, name)
        return found


class Compared(Frozen):
    """Federated against the better way to train alone, by one figure.

    Attributes:
        rival: The better of each bank's own network and each bank's own XGBoost.
        gain: Federated less alone; its interval is that of the difference, drawn in pairs.
    """

    figure: FigureName
    rival: Literal["alone", "xgboost alone"]
    alone: Estimate
    federated: Estimate
    gain: Estimate


class GainBins(Frozen):
    """Banks per bin of gain in AUPRC over training alone.

    Attributes:
        edges: Ascending; a bin holds the gains from its lower edge, inclusive, to its upper edge.
        counts: One more than edges; with noise they need not be whole.
        undefined: Banks whose test rows hold no fraud.
        noise: Standard deviation of the noise in each count.
    """

    edges: tuple[float, ...]
    counts: tuple[float, ...]
    undefined: float
    noise: float

    def tell(self, banks: int) -> bool:
        """Whether the noise leaves something to be seen of so many banks."""
        return self.noise * _TWO_SIDED < banks


class Kind(Frozen):
    """Bytes of one kind of message, over all banks."""

    kind: str
    up: Count
    down: Count


class Transfer(Frozen):
    """Bytes that crossed the banks' borders, all kinds of message, both ways.

    Attributes:
        raw_csv, raw_parquet: The banks' training windows as files; None where nobody may measure them.
        vs_csv: Share of the CSV bytes that was not transferred: exact for the whole, the interval over banks.
        vs_parquet: The same for the whole, against zstd Parquet.
        worst: At the bank that saved least, against CSV.
    """

    up: Count
    down: Count
    kinds: tuple[Kind, ...]
    raw_csv: Count | None
    raw_parquet: Count | None
    vs_csv: Estimate | None
    vs_parquet: float | None
    worst: float | None


class Round(Frozen):
    """One round of training; AUPRC and loss are those that banks released, of the model that entered the round."""

    number: Count
    banks: Count
    auprc: float | None
    loss: float | None


class TookPart(Frozen):
    """Who took part.

    Attributes:
        asked, banks: Banks on the phase's roster, and those that took part.
        fewest, median, most: Rounds per bank that took part; None without rounds.
        left_out: Times that a bank was left out of a round.
    """

    asked: Count
    banks: Count
    fewest: Count | None
    median: Count | None
    most: Count | None
    left_out: Count


class Spent(Frozen):
    """Privacy of a phase.

    Attributes:
        promised: The plan's ε; None where nothing is promised.
        epsilon: The most that one bank spent; None where nothing was, or nobody here can tell.
        not_covered: What left without being covered by ε.
    """

    mode: Literal["none", "local", "distributed"]
    unit: str
    promised: float | None
    epsilon: float | None
    delta: float | None
    secure_aggregation: bool
    not_covered: tuple[str, ...]
