"""A bank's own readiness: its exact table against the consortium's sums. All of it is for that bank only."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from fraudfl.assessment.counting import (
    Mask,
    columns_there,
    count_profile,
    label_delay_days,
    training_months_there,
)
from fraudfl.assessment.negotiated import Schema
from fraudfl.assessment.profile import Profile
from fraudfl.assessment.spec import ProfileSpec
from fraudfl.config import SplitConfig
from fraudfl.data.split import split_rows
from fraudfl.features.sketch import numeric_values
from fraudfl.frozen import Frozen

Verdict = Literal["good", "warning", "bad"]
FEW_FRAUDS = 10
"""Fewer frauds than this say next to nothing about one bank."""
_UNLISTED, _MISSING = 0.01, 0.2
_NEAR_POWER, _WIDEST = 0.3, 1.0
_EXAMPLES = 10


class Remark(Frozen):
    """One thing that was looked at.

    Attributes:
        topic: `rows`, `fraud`, `label delay`, `months`, or `column NAME`.
        advice: What the bank can do; empty where there is nothing to do.
        found: The figures behind the text.
    """

    topic: str
    verdict: Verdict
    text: str
    advice: str = ""
    found: dict[str, float | str] = {}


@dataclass(frozen=True)
class OwnData:
    """What a bank is compared by.

    Attributes:
        table: All its transactions.
        spec, split: The plan's.
        others: The sum over all other banks.
        schema: What was negotiated.
    """

    table: pa.Table
    spec: ProfileSpec
    split: SplitConfig
    others: Profile
    schema: Schema


def own_readiness(
    table: pa.Table, consortium: Profile, schema: Schema, split: SplitConfig, account_rows: int | None = None
) -> tuple[Remark, ...]:
    """Compare one bank with the others.

    Args:
        table: The bank's transactions; contract columns.
        consortium: The sum over banks, this one's counts in it.
        schema: What was negotiated.
        split: The plan's.
        account_rows: As in the counts that are in the sum.
    """
    spec = consortium.spec
    counted = count_profile(table, spec, split, account_rows).astype(np.float64)
    own = OwnData(table, spec, split, consortium.without(counted), schema)
    return tuple(_remarks(own))


def _remarks(own: OwnData) -> Iterator[Remark]:
    parts = split_rows(own.table, own.split)
    train = parts.train | parts.validation
    yield _rows(own, train, parts.test)
    yield _fraud(own.table, train, parts.test)
    yield from _delay(own, train)
    yield from _months(own, train)
    there = dict(zip(own.spec.optional, columns_there(own.table, own.spec), strict=True))
    for column in (*own.spec.values.numeric, *own.spec.values.categorical):
        if not there.get(column, True):
            yield _lacking(own, column)
        elif column in own.spec.values.numeric:
            yield from _numeric(own, column)
        else:
            yield from _categorical(own, column)


def _rows(own: OwnData, train: Mask, test: Mask) -> Remark:
    trained, tested = int(train.sum()), int(test.sum())
    verdict: Verdict = "good" if trained and tested else "bad"
    advice = "" if verdict == "good" else "Bring transactions of both windows, or sit this one out."
    return Remark(
        topic="rows",
        verdict=verdict,
        text=f"{own.table.num_rows:,} transactions: {trained:,} in the training window, {tested:,} in the test window",
        advice=advice,
        found={"rows": own.table.num_rows, "train": trained, "test": tested},
    )


def _fraud(table: pa.Table, train: Mask, test: Mask) -> Remark:
    labels = table["label"].to_numpy()
    trained, tested = int(labels[train].sum()), int(labels[test].sum())
    said = f"{trained:,} frauds in the training window, {tested:,} in the test window"
    found: dict[str, float | str] = {"train": trained, "test": tested}
    if tested < FEW_FRAUDS:
        advice = (
            "Your own figures will not tell whether the model is better for you; the consortium's do. More months of "
            "labelled history, or a longer test window, would change that."
        )
        return Remark(
            topic="fraud", verdict="warning", text=f"{said}: too few to test at this bank", advice=advice, found=found
        )
    if trained < FEW_FRAUDS:
        advice = "Training alone would learn next to nothing here; the federated model learns from the others' frauds."
        return Remark(topic="fraud", verdict="warning", text=f"{said}: few to learn from", advice=advice, found=found)
    return Remark(topic="fraud", verdict="good", text=said, found=found)


def _delay(own: OwnData, train: Mask) -> Iterator[Remark]:
    if not own.spec.label_time or own.split.origin is None:
        return
    first, last = own.split.train_days or (0, 0)
    days = (own.table["time"].to_numpy() - np.datetime64(own.split.origin, "us")) / np.timedelta64(1, "D")
    wanted = (days >= first) & (days < last + 1)
    if not wanted.any():
        return
    late = 1 - float(train.sum()) / float(wanted.sum())
    slowest = float(np.quantile(label_delay_days(own.table)[wanted], 0.95))
    others = next((days for days, share in own.others.labels_within().items() if share.value >= 0.95), None)
    said = f"95 % of labels are known within {slowest:.1f} days"
    if others is not None:
        said += f" (elsewhere within {others:g})"
    advice = ""
    if late > _UNLISTED:
        said += f"; {late:.0%} of the training days' labels came too late to be used"
        advice = "Confirm labels earlier, or ask the consortium for a longer gap before the test window."
    yield Remark(
        topic="label delay",
        verdict="warning" if late > _UNLISTED else "good",
        text=said,
        advice=advice,
        found={"days_95": slowest, "too_late": late},
    )


def _months(own: OwnData, train: Mask) -> Iterator[Remark]:
    if not own.spec.training_months[1]:
        return
    first, count = own.spec.training_months
    there = training_months_there(own.table, own.spec, train)
    months = own.spec.months[first : first + count]
    others = own.others.months()
    gone = [month for month, covered in zip(months, there, strict=True) if not covered and others[month].low > 0]
    names = ", ".join(f"{month:%B %Y}" for month in gone)
    if gone:
        text = f"{len(gone)} of {count} training months have no transaction that can be used: {names}"
        advice = "Bring those months, with labels; behavioural windows are poorer without them."
        yield Remark(topic="months", verdict="warning", text=text, advice=advice, found={"missing": names})
    else:
        yield Remark(topic="months", verdict="good", text=f"all {count} training months are covered")


def _lacking(own: OwnData, column: str) -> Remark:
    left = next((entry for entry in own.schema.left_out if entry.column == column), None)
    topic = f"column {column}"
    if left is not None:
        return Remark(topic=topic, verdict="good", text=f"not here, and left out for all: {left.words}")
    banks = own.others.banks_with(column)
    return Remark(
        topic=topic,
        verdict="warning",
        text=f"not here; {banks.value:.0f} of {own.others.banks} other banks have it, and models will use it",
        advice=f"Map a column of yours to it (`columns` in the source), or take part with {column} missing.",
    )


def _numeric(own: OwnData, column: str) -> Iterator[Remark]:
    topic = f"column {column}"
    values = numeric_values(own.table, column).astype(np.float64)
    yield from _missing(own, column, float(np.isnan(values).mean()))
    magnitudes = np.abs(values[~np.isnan(values) & (values != 0)])
    others = own.others.magnitude(column)
    if not magnitudes.size or others is None:
        return
    middle = float(np.median(magnitudes))
    text = f"median magnitude {middle:.4g}; elsewhere between {others[0]:.4g} and {others[1]:.4g}"
    found: dict[str, float | str] = {"median": middle, "others_low": others[0], "others_high": others[1]}
    power = _power_of_ten(middle, others)
    if power == 0:
        yield Remark(topic=topic, verdict="good", text=text, found=found)
        return
    factor = 10.0**-power
    yield Remark(
        topic=topic,
        verdict="bad",
        text=f"{text}: about {10.0**power:g} times as large, as if in another unit",
        advice=f"If it is another unit, set `scale: {{{column}: {factor:g}}}` in the source and import again.",
        found=found | {"factor": factor},
    )


def _power_of_ten(middle: float, others: tuple[float, float]) -> int:
    """Which power of ten lies between this bank's and the others' magnitudes; 0 for none, or where nobody can tell."""
    low, high = (math.log10(end) if math.isfinite(end) else math.inf for end in others)
    if high - low > _WIDEST:
        return 0
    off = math.log10(middle) - (low + high) / 2
    return round(off) if abs(off - round(off)) <= _NEAR_POWER else 0


def _categorical(own: OwnData, column: str) -> Iterator[Remark]:
    topic = f"column {column}"
    values = own.table[column].combine_chunks()
    yield from _missing(own, column, values.null_count / max(1, len(values)))
    listed = own.spec.values.categorical[column]
    if not listed:
        return
    counted = {entry["values"]: entry["counts"] for entry in values.drop_null().value_counts().to_pylist()}
    strange = dict(sorted(((v, n) for v, n in counted.items() if v not in listed), key=lambda item: -item[1]))
    share = sum(strange.values()) / max(1, len(values))
    if not strange:
        yield Remark(topic=topic, verdict="good", text=f"all {len(counted)} values are on the consortium's list")
        return
    shown = {str(value)[:60]: count for value, count in list(strange.items())[:_EXAMPLES]}
    what = "a value that is" if len(strange) == 1 else f"{len(strange)} values that are"
    text = f"{share:.1%} of transactions hold {what} not on the list: "
    yield Remark(
        topic=topic,
        verdict="bad" if share > 0.5 else "warning" if share > _UNLISTED else "good",
        text=text + ", ".join(f"{value} ({count:,})" for value, count in shown.items()),
        advice=_mapping(column, tuple(shown), listed),
        found={"share": share, **{f"value {value}": count for value, count in shown.items()}},
    )


def _mapping(column: str, shown: tuple[str, ...], listed: tuple[str, ...]) -> str:
    """How to write the values that look like listed ones; the others are named only."""
    folded = {value.casefold().strip(): value for value in listed}
    near = {
        value: folded[match[0]]
        for value in shown
        if (match := difflib.get_close_matches(value.casefold().strip(), folded, n=1, cutoff=0.75))
    }
    if near:
        pairs = ", ".join(f"{ours}: {theirs}" for ours, theirs in near.items())
        return f"If they mean the same, set `map: {{{column}: {{{pairs}}}}}` in the source and import again."
    return f"They count as unknown. `map: {{{column}: {{YOURS: THEIRS}}}}` in the source writes them as listed ones."


def _missing(own: OwnData, column: str, share: float) -> Iterator[Remark]:
    """Only where far more is missing than elsewhere."""
    elsewhere = 1 - own.others.present(column).low
    if share - elsewhere <= _MISSING:
        return
    yield Remark(
        topic=f"column {column}",
        verdict="warning",
        text=f"{share:.0%} missing; elsewhere at most {elsewhere:.0%}",
        advice="Check that the right column is mapped, and what this bank writes for an unknown value.",
        found={"missing": share, "others_missing": elsewhere},
    )
