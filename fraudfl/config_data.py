"""Where transactions come from, who holds which, and how they are split: the YAML's sections about data."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from fraudfl.config_changes import ChangesConfig
from fraudfl.frozen import Frozen

Days = tuple[int, int]


class GeneratorConfig(Frozen):
    """The embedded default data set: a generated consortium.

    Attributes:
        banks: Number of issuing banks.
        transactions: Transactions over all banks.
        days: Length of the history in days.
        fraud_rate: Share of transactions that are fraud.
        merchants: Merchants shared between banks; by default one per 150 transactions.
        size_skew: 0 makes equal banks; 1 makes sizes fall like 1/rank.
        start: First day.
        changes: Drifts and new kinds of fraud during the history; none by default.
    """

    banks: int = Field(default=10, ge=1, le=5000)
    transactions: int = Field(default=300_000, ge=1000, le=100_000_000)
    days: int = Field(default=120, ge=10, le=3660)
    fraud_rate: float = Field(default=0.01, gt=0, lt=0.5)
    merchants: int | None = Field(default=None, ge=10)
    size_skew: float = Field(default=0.8, ge=0, le=3)
    start: date = date(2025, 1, 1)
    changes: ChangesConfig = ChangesConfig()


Text = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)]
"""A value as text; YAML may have read it as a whole number."""


class ColumnMap(Frozen):
    """Which source column holds which contract column. `None` means the source has none.

    Attributes:
        numeric: Extra numeric columns, kept under their own names.
        categorical: Extra categorical columns, kept under their own names.
        named: For extra columns that this source calls otherwise: contract name to the source's own; null where the
            source has none, so that the column (or `currency`) is there and all of it is missing.
    """

    transaction_id: str | None = "transaction_id"
    time: str | None = "time"
    account: str | None = "account"
    counterparty: str | None = "counterparty"
    amount: str | None = "amount"
    currency: str | None = None
    label: str = "label"
    label_time: str | None = None
    bank: str | None = None
    region: str | None = None
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    named: dict[str, str | None] = {}

    @model_validator(mode="after")
    def _named_columns_are_there(self) -> Self:
        extra = {*self.numeric, *self.categorical}
        for name, source in self.named.items():
            if name not in extra and not (name == "currency" and source is None and self.currency is None):
                raise ValueError(
                    f"`named` has {name!r}, which is neither among `numeric` nor `categorical`; list it there (of the "
                    "others, only `currency` may be named, as null, where `currency` itself is left out)"
                )
        return self


class TableConfig(Frozen):
    """A user's own table: where it is and how its columns map to the contract.

    Attributes:
        kind: `transactions` (windows are computed) or `features` (columns are used as they are).
        format: How to read it.
        path: File, folder or glob; for `sql` a SQLAlchemy URL without a password in it.
        query: SQL text, or a table's name, for `sql`.
        password_file: File (mode 0600) with the database password, for `sql`.
        delimiter: CSV field separator.
        decimal: CSV decimal mark.
        time_format: strptime format for text times; ISO 8601 when absent.
        columns: Column mapping.
        map: Values that this source writes otherwise: contract column to (source's value: contract's value).
        scale: Factors that bring numbers to the consortium's unit, by contract column: cents times 0.01 are euros.
    """

    kind: Literal["transactions", "features"] = "transactions"
    format: Literal["csv", "parquet", "sql"] = "csv"
    path: str | None = None
    query: str | None = None
    password_file: str | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    decimal: Literal[".", ","] = "."
    time_format: str | None = None
    columns: ColumnMap = ColumnMap()
    map: dict[str, dict[Text, Text]] = {}
    scale: dict[str, Annotated[float, Field(gt=0)]] = {}

    @model_validator(mode="after")
    def _changes_columns_that_are_there(self) -> Self:
        own = self.columns
        texts = {"label", *(name for name in ("currency", "bank", "region") if getattr(own, name)), *own.categorical}
        numbers = {*(("amount",) if self.kind == "transactions" else ()), *own.numeric}
        for field, known in (("map", texts), ("scale", numbers)):
            unknown = sorted(set(getattr(self, field)) - known)
            if unknown:
                raise ValueError(
                    f"`{field}` names column {unknown[0]!r}, which this table does not have as "
                    f"{'text' if field == 'map' else 'a number'}; expected one of {', '.join(sorted(known)) or 'none'}"
                )
        return self


AdapterName = Literal["handbook", "fsi5", "ulb", "baf", "ieee-cis", "paysim", "sparkov"]


class DataConfig(Frozen):
    """Where transactions come from.

    Attributes:
        source: `generated`, `table`, or a public data set's adapter by name.
        path: The data set's file or folder; `--data NAME:PATH` sets it too.
    """

    source: Literal["generated", "table", AdapterName] = "generated"
    path: str | None = None
    generator: GeneratorConfig = GeneratorConfig()
    table: TableConfig | None = None

    @model_validator(mode="after")
    def _table_is_described(self) -> Self:
        if (self.source == "table") != (self.table is not None):
            raise ValueError("source `table` needs a `table:` section, and only that source may have one")
        return self


class PartitionConfig(Frozen):
    """How one data set becomes banks.

    Attributes:
        by: `natural` (the set's own bank column), `region` (regions shared out among banks), `account-hash`
            (each account at one bank, shares by `shares` or by `skew`), or `dirichlet` (accounts drawn so that
            each bank's fraud mix and size follow a Dirichlet with `alpha`).
        count: Number of banks; not for `natural`.
        skew: For account-hash: 0 equal shares, 1 shares like 1/rank.
        shares: For account-hash: explicit shares, summing to 1.
        alpha: Dirichlet concentration; smaller means more unequal.
    """

    by: Literal["natural", "region", "account-hash", "dirichlet"] = "natural"
    count: int | None = Field(default=None, ge=1, le=5000)
    skew: float = Field(default=1.0, ge=0, le=3)
    shares: tuple[float, ...] | None = None
    alpha: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _count_fits(self) -> Self:
        if self.by != "natural" and self.count is None and self.shares is None:
            raise ValueError(f"partition by `{self.by}` needs `count`")
        if self.shares is not None:
            if abs(sum(self.shares) - 1) > 1e-6 or min(self.shares) <= 0:
                raise ValueError("`shares` must be positive and sum to 1")
            if self.count not in (None, len(self.shares)):
                raise ValueError(
                    f"`count` is {self.count} and `shares` has {len(self.shares)} entries; leave `count` out"
                )
        return self


class SplitConfig(Frozen):
    """Out-of-time split with a label delay, or the split that the data set brings.

    Attributes:
        by: `time`, or `given` when the set has its own.
        origin: Public day zero.
        train_days, test_days: First and last day, inclusive, counted from `origin`.
        label_delay_days: When a row carries no label time, its label is known this long after it.
        validation_days: The last days of training, kept for thresholds (by time).
        validation_share: The share kept by hash of the transaction id, where the split is `given`.
    """

    by: Literal["time", "given"] = "time"
    origin: date | None = None
    train_days: Days | None = None
    test_days: Days | None = None
    label_delay_days: float = Field(default=7, ge=0)
    validation_days: int = Field(default=7, ge=0)
    validation_share: float = Field(default=0.1, gt=0, lt=0.9)

    @model_validator(mode="after")
    def _days_are_in_order(self) -> Self:
        if self.by == "given":
            return self
        if self.origin is None or self.train_days is None or self.test_days is None:
            raise ValueError("a split by time needs `origin`, `train_days` and `test_days`")
        (first, last), (test_first, test_last) = self.train_days, self.test_days
        if not (first <= last < test_first <= test_last):
            raise ValueError(f"train_days {first}–{last} must end before test_days {test_first}–{test_last} begin")
        if last - first + 1 <= self.validation_days:
            raise ValueError("`validation_days` leaves no training days")
        if test_first - last - 1 < self.label_delay_days:
            raise ValueError(
                f"test begins {test_first - last - 1} days after training ends, but labels take "
                f"{self.label_delay_days:g} days; leave a gap of at least that"
            )
        return self
