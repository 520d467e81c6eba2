"""What transfer saves against sending the data itself: raw sizes measured once, savings computed from the meter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fraudfl.errors import DataError
from fraudfl.transfer.meter import ByteMeter, Traffic

_ROWS_AT_A_TIME = 100_000


class RawSizes(NamedTuple):
    """What a bank's training window takes as files, in bytes."""

    csv_bytes: int
    parquet_bytes: int


@dataclass(frozen=True)
class TransferSummary:
    """The `transfer` section of a phase in `summary.json`. Savings are shares; below 0 means that nothing was saved."""

    bytes_up: int
    bytes_down: int
    raw_csv_bytes: int
    raw_parquet_bytes: int
    savings_vs_csv: float
    savings_vs_parquet: float
    worst_bank_savings_vs_csv: float


@dataclass(frozen=True)
class SavingsOverBanks:
    """How the saving against CSV differs from bank to bank: nobody's own figure, but for the two ends.

    Attributes:
        banks: How many it is over.
        low, median, high: The 2.5 %, 50 % and 97.5 % quantiles over banks.
        worst: The smallest.
    """

    banks: int
    low: float
    median: float
    high: float
    worst: float


@dataclass(frozen=True)
class WeightTraffic:
    """Weight vectors that crossed borders in one direction, as their codec packed them.

    Attributes:
        vectors: How many.
        bytes: What they took, without their envelopes.
    """

    vectors: int = 0
    bytes: int = 0

    def plus(self, size: int) -> WeightTraffic:
        """This traffic and one vector more."""
        return WeightTraffic(self.vectors + 1, self.bytes + size)

    def plain(self, parameters: int) -> int:
        """Bytes of as many vectors of so many weights, each as plain float32."""
        return 4 * parameters * self.vectors

    def saved(self, parameters: int) -> float | None:
        """The share of these that the codec did not send; None where no vector was."""
        return None if self.vectors == 0 or parameters == 0 else 1 - self.bytes / self.plain(parameters)


def raw_sizes(table: pa.Table) -> RawSizes:
    """Measure a table as CSV (pandas' default formatting, header included) and as zstd Parquet.

    Args:
        table: The contract columns of one bank's training window, and no others.
    """
    parquet = pa.MockOutputStream()
    pq.write_table(table, parquet, compression="zstd")
    return RawSizes(_csv_bytes(table), int(parquet.size()))


def saving(transferred: int, raw: int) -> float:
    """The share of `raw` bytes that was not transferred.

    Raises:
        DataError: if `raw` is not positive; then there is nothing to compare with.
    """
    if raw <= 0:
        raise DataError(f"raw data has {raw} bytes; expected a training window with data in it")
    return 1 - transferred / raw


def summarise(meter: ByteMeter, raw: Mapping[str, tuple[int, int]]) -> TransferSummary:
    """State the savings of a phase: all kinds of message, both ways, against the banks that took part.

    Args:
        meter: Everything that crossed a bank's border. Traffic of banks that `raw` does not name counts too.
        raw: `RawSizes` of each participating bank's training window.

    Raises:
        DataError: if `raw` is empty.
    """
    raw_csv, raw_parquet = (sum(sizes[form] for sizes in raw.values()) for form in (0, 1))
    traffic = meter.total()
    return TransferSummary(
        bytes_up=traffic.up,
        bytes_down=traffic.down,
        raw_csv_bytes=raw_csv,
        raw_parquet_bytes=raw_parquet,
        savings_vs_csv=saving(traffic.total, raw_csv),
        savings_vs_parquet=saving(traffic.total, raw_parquet),
        worst_bank_savings_vs_csv=min(_bank_savings(meter, raw)),
    )


def over_banks(meter: ByteMeter, raw: Mapping[str, tuple[int, int]]) -> SavingsOverBanks:
    """State how the saving differs between the banks that took part; arguments and errors as `summarise`."""
    savings = _bank_savings(meter, raw)
    low, median, high = (float(end) for end in np.quantile(savings, (0.025, 0.5, 0.975)))
    return SavingsOverBanks(len(savings), low, median, high, min(savings))


def _bank_savings(meter: ByteMeter, raw: Mapping[str, tuple[int, int]]) -> list[float]:
    by_bank = meter.by_bank()
    return [saving(by_bank.get(bank, Traffic()).total, csv) for bank, (csv, _) in raw.items()]


def _csv_bytes(table: pa.Table) -> int:
    header = len(table.slice(0, 0).to_pandas().to_csv(index=False).encode())
    parts = (table.slice(start, _ROWS_AT_A_TIME) for start in range(0, table.num_rows, _ROWS_AT_A_TIME))
    return header + sum(len(part.to_pandas().to_csv(index=False, header=False).encode()) for part in parts)
