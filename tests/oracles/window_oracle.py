"""Window features computed the slow way: for each row, look at every other row and apply the definitions' words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

_CALENDAR = {
    "hour_sin": lambda time: math.sin(_day_angle(time)),
    "hour_cos": lambda time: math.cos(_day_angle(time)),
    "weekday": lambda time: float(time.weekday()),
    "is_weekend": lambda time: float(time.weekday() in (5, 6)),
    "is_night": lambda time: float(time.hour < 6),
}


@dataclass(frozen=True)
class Row:
    time: datetime
    account: object
    counterparty: object
    amount: float
    label: int
    label_time: datetime | None = None


def expected(rows: list[Row], index: int, feature: object) -> float | None:
    """Value of one feature (anything with entity, aggregate, window_days, delay_days) at one row; None when missing."""
    row, aggregate = rows[index], feature.aggregate
    if feature.entity == "row":
        return row.amount if aggregate == "value" else _CALENDAR[aggregate](row.time)
    own = [other for other in rows if _key(other, feature.entity) == _key(row, feature.entity)]
    past = [other for other in own if other.time < row.time]
    if aggregate == "since_last":
        return (row.time - max(other.time for other in past)).total_seconds() if past else None
    window = timedelta(days=feature.window_days)
    if aggregate == "fraud_rate":
        known = [other.label for other in own if row.time - window < _known(other, feature.delay_days) < row.time]
        return sum(known) / len(known) if known else None
    recent = [other.amount for other in past if other.time > row.time - window]
    if aggregate == "distance":
        return _distance(row.amount, recent)
    amounts = [*recent, row.amount]
    return {"count": len(amounts), "sum": math.fsum(amounts), "mean": math.fsum(amounts) / len(amounts)}[aggregate]


def _known(row: Row, delay_days: float) -> datetime:
    return row.label_time if row.label_time is not None else row.time + timedelta(days=delay_days)


def _key(row: Row, entity: str) -> object:
    pair = (row.account, row.counterparty)
    return {"account": row.account, "counterparty": row.counterparty, "pair": pair}[entity]


def _distance(amount: float, past: list[float]) -> float | None:
    if not past:
        return None
    logs = [math.copysign(math.log1p(abs(value)), value) for value in past]
    mean = math.fsum(logs) / len(logs)
    variance = (0.5**2 + math.fsum((value - mean) ** 2 for value in logs)) / (len(logs) + 1)
    return (math.copysign(math.log1p(abs(amount)), amount) - mean) / math.sqrt(variance)


def _day_angle(time: datetime) -> float:
    midnight = time.replace(hour=0, minute=0, second=0, microsecond=0)
    return 2 * math.pi * (time - midnight) / timedelta(days=1)
