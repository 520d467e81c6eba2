"""Sketches: counts of a bank's features over public bins. They store no values, and they add up over banks.

A numeric feature is counted in signed logarithmic bins: magnitudes from `smallest` to `largest`, `bins_per_decade` to
a decade, for either sign; one bin around zero; one for missing values. Larger magnitudes share the outermost bin. Two
values in one bin differ by a factor of at most 10^(1/bins_per_decade), and that is the sketch's resolution.
A categorical feature is counted over its public list, plus one count for all other values and one for missing ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, field_validator, model_validator

from fraudfl.config import Frozen
from fraudfl.errors import SchemaError, WireError

LABEL = "label"
_BLOCK = 1 << 16  # rows binned at a time, so that intermediate arrays stay in the processor's cache


class EncoderSpec(Frozen):
    """What the encoder is made from; public, and fixed in the plan.

    Attributes:
        numeric: Numeric features, in order.
        categorical: Public list of values per categorical feature; kept sorted by the feature's name.
        bins_per_decade, smallest, largest: The public bins.
        scaling: How numeric features are scaled.
        min_category_count: Categories rarer than this, after summation, share the unknown bucket.
    """

    numeric: tuple[str, ...]
    categorical: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    bins_per_decade: int = Field(default=48, ge=4, le=500)
    smallest: float = Field(default=1e-3, ge=1e-30)
    largest: float = Field(default=1e9, le=1e38)
    scaling: Literal["quantile", "robust", "standard", "both"] = "quantile"
    min_category_count: int = Field(default=20, ge=1)

    @field_validator("categorical")
    @classmethod
    def _in_one_order(cls, lists: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        """Counts are laid out in this order, and a plan's JSON, which sorts its keys, must not change it."""
        return dict(sorted(lists.items()))

    @model_validator(mode="after")
    def _describes_distinct_columns(self) -> Self:
        names = [LABEL, *self.numeric, *self.categorical]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"features {doubled} are named twice (`{LABEL}` is taken); rename them")
        for name, values in self.categorical.items():
            if len(set(values)) != len(values):
                raise ValueError(f"the public list of `{name}` names a value twice; remove the doubles")
        if not self.smallest * 10 <= self.largest:
            raise ValueError(f"bins from {self.smallest:g} to {self.largest:g}; expected at least one decade")
        return self

    @property
    def most_inputs(self) -> int:
        """No encoder fitted to this has more: per number its scales and a mark of absence, a place per category."""
        scales = 2 if self.scaling == "both" else 1
        return (scales + 1) * len(self.numeric) + sum(len(values) + 2 for values in self.categorical.values())


def numeric_bin_count(spec: EncoderSpec) -> int:
    """Counts per numeric feature: negative bins, zero, positive bins, missing."""
    return 2 * _magnitudes(spec) + 2


def sketch_size(spec: EncoderSpec) -> int:
    """Length of a sketch's vector."""
    return max(int(where.stop) for where in _layout(spec).values())


def bin_edges(spec: EncoderSpec) -> NDArray[np.float32]:
    """Inner edges of the bins for values in ascending order, float32, shape (numeric_bin_count - 2,).

    Bin k holds values v with edges[k-1] <= v < edges[k] (for negative values the mirrored, half-open other way round).
    """
    steps = np.arange(_magnitudes(spec), dtype=np.float64)
    positive = (spec.smallest * 10.0 ** (steps / spec.bins_per_decade)).astype(np.float32)
    negative = np.nextafter(-positive[::-1], np.float32(np.inf), dtype=np.float32)
    return np.concatenate([negative, positive])


@dataclass(frozen=True)
class Sketch:
    """Counts of one bank, or the sum of many.

    Attributes:
        spec: What the counts mean.
        flat: All counts, int64, shape (sketch_size(spec),): label (0, 1), then each numeric feature's bins from the
            most negative to the most positive and missing, then each category's public list, others and missing.
    """

    spec: EncoderSpec
    flat: NDArray[np.int64]

    @cached_property
    def counts(self) -> Mapping[str, NDArray[np.int64]]:
        """The counts by feature name, and under `label` the rows with label 0 and 1."""
        return {name: self.flat[where] for name, where in _layout(self.spec).items()}

    def __add__(self, other: Sketch) -> Sketch:
        """The sketch of both banks' rows; both must follow one specification."""
        if self.spec != other.spec:
            raise ValueError("sketches over different bins cannot be added")
        return Sketch(self.spec, self.flat + other.flat)

    def each(self, change: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> Sketch:
        """The same with every column's counts, and the labels', changed by a function."""
        flat = self.flat.copy()
        for where in _layout(self.spec).values():
            flat[where] = change(flat[where])
        return Sketch(self.spec, flat)

    def without_labels(self) -> Sketch:
        """The same with the label counts at 0: what a bank releases when the plan does not ask for them."""
        flat = self.flat.copy()
        flat[_layout(self.spec)[LABEL]] = 0
        return Sketch(self.spec, flat)

    def vector(self) -> NDArray[np.int64]:
        """All counts as one int64 vector, in an order that the specification alone decides."""
        return self.flat.copy()

    @classmethod
    def from_vector(cls, spec: EncoderSpec, vector: ArrayLike) -> Sketch:
        """Read back what `vector` gave, or a sum of such. Counts may be negative, as noise leaves them.

        Raises:
            WireError: wrong length or type.
        """
        counts = np.asarray(vector)
        expected = sketch_size(spec)
        if counts.shape != (expected,) or counts.dtype != np.int64:
            raise WireError(
                f"sketch: found shape {counts.shape} of {counts.dtype}; expected int64 counts of shape ({expected},). "
                "Both sides must hold the same plan."
            )
        return cls(spec, counts.copy())


def sketch_table(table: pa.Table, labels: ArrayLike, spec: EncoderSpec) -> Sketch:
    """Count a bank's feature rows over the public bins.

    Args:
        table: Feature columns; numeric ones are read as float32.
        labels: 0 or 1, shape (rows,).
        spec: The public bins.

    Raises:
        SchemaError: a column is missing, or labels are not 0/1 or not as many as rows.
    """
    edges = bin_edges(spec)
    parts = [_label_counts(np.asarray(labels), table.num_rows)]
    parts += [_numeric_counts(numeric_values(table, name), edges) for name in spec.numeric]
    for name, values in spec.categorical.items():
        index = category_index(table, name, values)
        parts.append(np.bincount(index, minlength=len(values) + 2))
    return Sketch(spec, np.concatenate(parts).astype(np.int64))


def numeric_values(table: pa.Table, name: str) -> NDArray[np.float32]:
    """Read a numeric column as float32, NaN where missing; raises SchemaError when it is not there or not numeric."""
    column = _column(table, name)
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)):
        raise SchemaError(
            f"features: column `{name}` holds {column.type}; expected numbers. Compute the features again."
        )
    if column.type != pa.float32():
        with np.errstate(over="ignore"):  # beyond float32 is infinite, and shares the outermost bin
            values: NDArray[np.float32] = column.cast(pa.float64()).to_numpy().astype(np.float32)
        return values
    return np.asarray(column.to_numpy(), dtype=np.float32)


def category_index(table: pa.Table, name: str, values: tuple[str, ...]) -> NDArray[np.int64]:
    """Index each value in its public list; `len(values)` for any other, `len(values) + 1` for missing."""
    column = _column(table, name).cast(pa.string())
    index = pc.index_in(column, value_set=pa.array(values, pa.string()))
    index = pc.fill_null(pc.cast(index, pa.int64()), len(values))
    index = pc.if_else(pc.is_null(column), len(values) + 1, index)
    return np.asarray(index.to_numpy(), dtype=np.int64)


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise SchemaError(
            f"features: column `{name}` is missing; found {table.column_names}. Compute the features again."
        )
    return table[name]


def _label_counts(labels: NDArray[np.generic], rows: int) -> NDArray[np.int64]:
    if labels.shape != (rows,):
        raise SchemaError(f"labels: found shape {labels.shape}; expected one label for each of {rows} feature rows.")
    positives = int(np.count_nonzero(labels == 1))
    negatives = int(np.count_nonzero(labels == 0))
    if positives + negatives != rows:
        raise SchemaError(f"labels: {rows - positives - negatives} of {rows} are neither 0 nor 1. Correct the source.")
    return np.array([negatives, positives], dtype=np.int64)


def _numeric_counts(values: NDArray[np.float32], edges: NDArray[np.float32]) -> NDArray[np.int64]:
    counts = np.zeros(len(edges) + 2, dtype=np.int64)
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        present = block[~np.isnan(block)]
        counts[-1] += len(block) - len(present)
        # Sorting first makes each search land next to the last one: several times faster than in random order.
        bins = np.searchsorted(edges, np.sort(present), side="right")
        counts[:-1] += np.bincount(bins, minlength=len(edges) + 1)
    return counts


def _magnitudes(spec: EncoderSpec) -> int:
    decades = math.log10(spec.largest / spec.smallest)
    return max(1, math.ceil(round(decades * spec.bins_per_decade, 6)))


def _layout(spec: EncoderSpec) -> dict[str, slice]:
    sizes = {LABEL: 2} | dict.fromkeys(spec.numeric, numeric_bin_count(spec))
    sizes |= {name: len(values) + 2 for name, values in spec.categorical.items()}
    ends = accumulate(sizes.values())
    return {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}
