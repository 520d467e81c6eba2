"""Compiles a feature declaration to DuckDB SQL and computes it over a bank's whole history, out of core.

Sums are taken over integers (amounts and log amounts in ten-thousandths), because a floating-point sum depends on the
order in which DuckDB adds: so a feature is the same to the last bit whatever happens later, with any number of
threads, and when it is updated one transaction at a time.

Most of the time goes into finding each row's frame, once per aggregate call. So two integers travel in one 128-bit
sum: count and money, or the first and second moment of log amounts. Both are shifted to be positive, so that the low
bits are a plain remainder; they hold up to 2^31 transactions in one window.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from fraudfl.data.schema import Contract
from fraudfl.errors import DataError, SourceError
from fraudfl.features.declaration import Feature, categorical_columns

_DAY = 86_400_000_000  # microseconds
_MICROS = 1_000_000
_SCALE = 10_000  # ISO 4217 currencies have at most four decimals
_LARGEST_AMOUNT = 4e14  # larger magnitudes are taken for this one; 4e14 * _SCALE < _MONEY_SHIFT
_MONEY_SHIFT = 2**62
_COUNT_BITS = 32
_HABIT_SHIFT = 2**19  # log(1 + 4e14) * _SCALE < 2^19
_HABIT_BITS = 52
_HABIT_PRIOR = 0.5  # standard deviation of log amounts believed before any payment was seen, with one payment's weight
_KEYS = {"account": "account", "counterparty": "counterparty", "pair": "account, counterparty"}
_CALENDAR = {
    "hour_sin": f"sin(2 * pi() * (t % {_DAY}) / {_DAY})",
    "hour_cos": f"cos(2 * pi() * (t % {_DAY}) / {_DAY})",
    "weekday": "isodow(make_timestamp(t)) - 1",
    "is_weekend": "(isodow(make_timestamp(t)) >= 6)::INT",
    "is_night": f"(t % {_DAY} < {_DAY // 4})::INT",
}


@dataclass(frozen=True)
class DuckDbLimits:
    """What one computation may use of the machine.

    Attributes:
        threads: Worker threads.
        memory_limit: Memory before DuckDB spills to disk, in DuckDB's notation.
    """

    threads: int = 1
    memory_limit: str = "1GB"


_DEFAULT_LIMITS = DuckDbLimits()


def compute_features(
    source: Path,
    features: Sequence[Feature],
    destination: Path,
    *,
    contract: Contract,
    temp_directory: Path | None = None,
    limits: DuckDbLimits = _DEFAULT_LIMITS,
) -> None:
    """Compute declared features for every transaction of a bank and write them as Parquet, atomically.

    Where the contract has label times, a label is known from that time on; else after each feature's own delay.

    Args:
        source: Parquet file with contract columns (times as timestamps in UTC).
        features: The declaration.
        destination: Written in the source's row order: `transaction_id` where the source has it, one float32 column
            per feature (null = missing), then the categorical columns as strings.
        contract: What the source's columns are; its categorical columns (and currency) are carried over.
        temp_directory: Where DuckDB spills, in a folder removed afterwards; beside the destination when None.
        limits: Threads and memory.

    Raises:
        SourceError: the source is missing or is no readable Parquet file.
        DataError: it lacks a column that a feature needs, or the computation does not fit the limits.
    """
    _check_columns(source, _read_schema(source), features, contract)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".features-", dir=temp_directory or destination.parent) as spill:
        unfinished = destination.with_name(f".{destination.name}.{os.getpid()}.part")
        try:
            with duckdb.connect(config=_settings(limits, spill)) as connection:
                for statement in _compile(source, features, contract):
                    connection.execute(statement)
                target = _text(str(unfinished))
                query = _final_query(features, contract)
                connection.execute(
                    f"COPY ({query}) TO {target} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
                )
            unfinished.replace(destination)
        except duckdb.OutOfMemoryException as error:
            raise DataError(
                f"{source}: features do not fit into memory_limit={limits.memory_limit} with {limits.threads} threads "
                f"({error}). Raise the memory limit, or lower the threads."
            ) from error
        except duckdb.Error as error:
            raise DataError(f"{source}: features could not be computed: {error}. Validate the source first.") from error
        finally:
            unfinished.unlink(missing_ok=True)


def _settings(limits: DuckDbLimits, spill: str) -> dict[str, str | bool | int | float | list[str]]:
    return {
        "threads": limits.threads,
        "memory_limit": limits.memory_limit,
        "temp_directory": spill,
        "preserve_insertion_order": True,
        "autoinstall_known_extensions": False,
    }


def _read_schema(source: Path) -> pa.Schema:
    try:
        return pq.read_schema(source)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"{source}: not a readable Parquet file ({error}); import the bank's data again.") from error


def _check_columns(source: Path, schema: pa.Schema, features: Sequence[Feature], contract: Contract) -> None:
    needed = set(contract.columns) & {"transaction_id", "label_time", *categorical_columns(contract)}
    needed |= {feature.name for feature in features if feature.aggregate == "value"}
    if any(feature.aggregate != "value" for feature in features):
        needed |= {"time"}
    if any(feature.entity != "row" for feature in features):
        needed |= {"account", "counterparty", "amount"}
    if any(feature.aggregate == "fraud_rate" for feature in features):
        needed |= {"label"}
    missing = sorted(needed - set(schema.names))
    if missing:
        raise DataError(
            f"{source}: columns {missing} are missing; found {schema.names}. Map them in the source's `columns`, or "
            "leave out the features that need them."
        )


# --- SQL -------------------------------------------------------------------------------------------------------------


def _compile(source: Path, features: Sequence[Feature], contract: Contract) -> list[str]:
    """Give the statements that build table `base` and one narrow table of finished features per entity."""
    statements = [_base_statement(source, features, contract)]
    for entity in ("account", "counterparty", "pair"):
        own = [feature for feature in features if feature.entity == entity]
        rates = [feature for feature in own if feature.aggregate == "fraud_rate" and contract.label_time]
        history = [feature for feature in own if feature not in rates]
        if history:
            statements.append(_history_statement(entity, history))
        if rates:
            statements.append(_label_events_statement(entity, rates))
    return statements


def _base_statement(source: Path, features: Sequence[Feature], contract: Contract) -> str:
    columns = ["file_row_number AS i"]
    if contract.transaction_id:
        columns.append("transaction_id")
    if any(feature.aggregate != "value" for feature in features):
        columns.append("epoch_us(time) AS t")
    if any(feature.entity != "row" for feature in features):
        amount = "CASE WHEN amount IS NULL OR isnan(amount) THEN error('an amount is missing') ELSE amount END"
        clamped = f"greatest(least({amount}, {_LARGEST_AMOUNT:.0f}), -{_LARGEST_AMOUNT:.0f})"
        columns += [
            "account",
            "counterparty",
            f"round({clamped} * {_SCALE})::BIGINT AS money",
            f"{_HABIT_SHIFT} + round(sign({clamped}) * ln(1 + abs({clamped})) * {_SCALE})::BIGINT AS habit",
        ]
    if any(feature.aggregate == "fraud_rate" for feature in features):
        columns.append("label::TINYINT AS label")
        if contract.label_time:
            columns.append("epoch_us(label_time) AS known")
    values = [feature.name for feature in features if feature.aggregate == "value"]
    columns += [f"{_real(_name(name))} AS {_name('value ' + name)}" for name in values]
    columns += [f"{_name(name)}::VARCHAR AS {_name('category ' + name)}" for name in categorical_columns(contract)]
    # DuckDB reads these characters in a path as a glob; in brackets each stands for itself.
    path = _text(re.sub(r"([*?\[])", r"[\1]", str(source)))
    return f"CREATE TABLE base AS SELECT {', '.join(columns)} FROM read_parquet({path}, file_row_number = true)"


def _history_statement(entity: str, features: Sequence[Feature]) -> str:
    """Aggregate an entity's past transactions: one sort, one named frame per window, few calls per frame."""
    frames = {_frame(feature)[0]: _frame(feature)[1] for feature in features}
    calls = {f"{_frame(f)[0]}_{name}": f"{call} OVER {_frame(f)[0]}" for f in features for name, call in _calls(f)}
    windows = ", ".join(
        f"{name} AS (PARTITION BY {_KEYS[entity]} ORDER BY t RANGE BETWEEN {bounds})" for name, bounds in frames.items()
    )
    called = ", ".join(f"{call} AS {name}" for name, call in calls.items())
    unpacked = ", ".join(_unpack(call) for call in calls)
    results = ", ".join(f"({_result(feature)})::FLOAT AS {_name(feature.name)}" for feature in features)
    return (
        f"CREATE TABLE {entity}_history AS SELECT i, {results} FROM "
        f"(SELECT i, t, money, habit, {unpacked} FROM "
        f"(SELECT i, t, money, habit, {called} FROM base WINDOW {windows}))"
    )


def _label_events_statement(entity: str, features: Sequence[Feature]) -> str:
    """Average the labels that became known in each window: transactions and label arrivals on one time line."""
    key = _KEYS[entity]
    columns = ", ".join(f"(avg(label) OVER w{n})::FLOAT AS {_name(f.name)}" for n, f in enumerate(features))
    windows = ", ".join(
        f"w{n} AS (PARTITION BY {key} ORDER BY t RANGE BETWEEN {_bounds(_window(feature), 0)})"
        for n, feature in enumerate(features)
    )
    return (
        f"CREATE TABLE {entity}_labels AS SELECT i, {columns} FROM "
        f"(SELECT i, {key}, t, NULL::TINYINT AS label FROM base "
        f"UNION ALL SELECT NULL, {key}, known, label FROM base) "
        f"WINDOW {windows} QUALIFY i IS NOT NULL"
    )


def _final_query(features: Sequence[Feature], contract: Contract) -> str:
    columns = ["transaction_id"] if contract.transaction_id else []
    tables: dict[str, None] = {}
    for feature in features:
        if feature.entity == "row":
            expression = (
                _name("value " + feature.name) if feature.aggregate == "value" else _CALENDAR[feature.aggregate]
            )
            columns.append(f"{expression}::FLOAT AS {_name(feature.name)}")
            continue
        from_labels = feature.aggregate == "fraud_rate" and contract.label_time
        table = f"{feature.entity}_{'labels' if from_labels else 'history'}"
        tables[table] = None
        columns.append(f"{table}.{_name(feature.name)}")
    columns += [f"{_name('category ' + name)} AS {_name(name)}" for name in categorical_columns(contract)]
    joins = "".join(f" JOIN {table} USING (i)" for table in tables)
    return f"SELECT {', '.join(columns)} FROM base{joins} ORDER BY i"


def _window(feature: Feature) -> int:
    if feature.window_days is None:
        raise DataError(f"feature {feature.name}: aggregate {feature.aggregate} needs a window; declare window_days.")
    return round(feature.window_days * _DAY)


def _bounds(window: int, delay: int) -> str:
    """Frame of the open interval (t - delay - window, t - delay) in whole microseconds."""
    return f"{delay + window - 1} PRECEDING AND {delay + 1} PRECEDING"


def _frame(feature: Feature) -> tuple[str, str]:
    if feature.aggregate == "since_last":
        return "ever", "UNBOUNDED PRECEDING AND 1 PRECEDING"
    window, delay = _window(feature), round(feature.delay_days * _DAY)
    return f"w{window}_{delay}", _bounds(window, delay)


def _calls(feature: Feature) -> list[tuple[str, str]]:
    """Name the window calls that a feature is made of; features with the same frame share them."""
    money = ("money", f"sum((money + {_MONEY_SHIFT}::HUGEINT) * {2**_COUNT_BITS} + 1)")
    habit = ("habit", f"sum(habit::HUGEINT * habit * {2**_HABIT_BITS} + habit)")
    return {
        "count": [money],
        "sum": [money],
        "mean": [money],
        "distance": [money, habit],
        "fraud_rate": [("rate", "avg(label)")],
        "since_last": [("last", "last_value(t)")],
    }[feature.aggregate]


def _unpack(call: str) -> str:
    """Take the integers of a packed sum apart; null over an empty frame becomes zero."""
    frame, kind = call.rsplit("_", 1)
    if kind == "money":
        count = f"coalesce({call} & {2**_COUNT_BITS - 1}, 0)"
        money = f"coalesce(({call} >> {_COUNT_BITS}) - {count} * {_MONEY_SHIFT}, 0)"
        return f"{count} AS {frame}_n, {money} AS {frame}_sum"
    if kind == "habit":
        return f"{call} & {2**_HABIT_BITS - 1} AS {frame}_s, {call} >> {_HABIT_BITS} AS {frame}_s2"
    return call


def _result(feature: Feature) -> str:
    """Give the SQL expression of a feature from its unpacked calls and the transaction's own columns."""
    frame, _ = _frame(feature)
    count, total = f"({frame}_n + 1)", f"(({frame}_sum + money)::DOUBLE / {_SCALE})"
    return {
        "count": count,
        "sum": total,
        "mean": f"{total} / {count}",
        "distance": _distance(f"{frame}_n", f"{frame}_s", f"{frame}_s2"),
        "fraud_rate": f"{frame}_rate",
        "since_last": f"(t - {frame}_last) / {_MICROS}",
    }[feature.aggregate]


def _distance(n: str, s: str, s2: str) -> str:
    """z-score of the log amount, its variance shrunk towards the prior: (prior² + Σ(x - mean)²) / (n + 1)."""
    prior = (_HABIT_PRIOR * _SCALE) ** 2
    count = f"nullif({n}, 0)"
    deviations = f"({n} * {s2} - {s} * {s})::DOUBLE / {count}"
    return f"(habit - {s}::DOUBLE / {count}) / sqrt(({prior:.0f} + {deviations}) / ({n} + 1))"


def _real(expression: str) -> str:
    """Cast to float32: NaN becomes missing, and what float32 cannot hold its largest finite value."""
    value = f"({expression})::DOUBLE"
    largest = "3.4028234e38::DOUBLE"
    # DuckDB's least and greatest skip nulls, so a null must not reach them.
    bounded = f"greatest(least({value}, {largest}), -{largest})::FLOAT"
    return f"CASE WHEN {value} IS NULL OR isnan({value}) THEN NULL ELSE {bounded} END"


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
