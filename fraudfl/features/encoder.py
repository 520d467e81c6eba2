"""The encoder that all banks share: from features to a network's inputs, fitted from summed sketches alone.

`quantile` scaling maps a value through the consortium's distribution to a normal score. Each occupied bin gives one
knot: its centre, and the normal score of its middle rank; between knots the map is linear. So the many zeros of a
count share one input in the middle of their ranks, and the rare large values, where fraud is, keep their distances.
Knots that the line between their neighbours replaces within `_KNOT_TOLERANCE` are left out.

Stated error: with r = 10^(1/bins_per_decade) and F the exact distribution, the input of a positive value x that
occurred, between smallest and largest, lies between the normal scores of F(x / r²) and F(x r²), give or take
`_KNOT_TOLERANCE`; for negative values alike.

`robust` and `standard` scaling are (s - centre) / scale of s = sign(x) log(1 + |x|), clipped. Centre and scale are the
median and IQR / 1.349 (a normal distribution's IQR), or mean and standard deviation. Where nearly all values lie close
together and frauds far away, `robust` drives the frauds into the clip; `standard` does not.
"""

from __future__ import annotations

import hashlib
import json
import math
from functools import cached_property, lru_cache
from typing import Annotated, Literal, Self, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from fraudfl.config import Frozen
from fraudfl.errors import WireError
from fraudfl.features.sketch import EncoderSpec, Sketch, bin_edges, category_index, numeric_values

_CLIP_SCORE = 4.0
_CLIP_SCALED = 6.0
_KNOT_TOLERANCE = 0.01
_NORMAL_IQR = 1.349
_NO_SPREAD = 1e-3  # below it all values are taken for one
_BLOCK = 1 << 15  # rows encoded at a time, so that intermediate arrays stay in the processor's cache

Finite = Annotated[float, Field(allow_inf_nan=False)]
Score = Annotated[float, Field(ge=-_CLIP_SCORE, le=_CLIP_SCORE)]
Floats = NDArray[np.float32]
_Float = TypeVar("_Float", np.float32, np.float64)


class Knots(Frozen):
    """A rising piecewise-linear map; constant outside its first and last knot.

    Attributes:
        at: Feature values, strictly increasing.
        score: Normal scores there, never falling.
    """

    at: tuple[Finite, ...] = Field(min_length=1)
    score: tuple[Score, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if len(self.at) != len(self.score):
            raise ValueError(f"{len(self.at)} knots have {len(self.score)} scores")
        if not all(a < b for a, b in zip(self.at, self.at[1:], strict=False)):
            raise ValueError("knots must be strictly increasing")
        if not all(a <= b for a, b in zip(self.score, self.score[1:], strict=False)):
            raise ValueError("scores must not fall")
        return self


class Scale(Frozen):
    """Centre and scale on the signed-log axis."""

    centre: Finite
    scale: float = Field(gt=0)


class NumericInput(Frozen):
    """How one numeric feature becomes inputs.

    Attributes:
        quantile: Map to normal scores; None when not asked for, or when no bank had a value.
        scaled: Centre and scale; None likewise.
        missing: Whether an indicator column follows.
    """

    name: str
    quantile: Knots | None = None
    scaled: Scale | None = None
    missing: bool = False


class CategoryInput(Frozen):
    """How one categorical feature becomes inputs: a column for each kept value, one for all others.

    Attributes:
        values: Values frequent enough over all banks, in the order of the public list.
        missing: Whether an indicator column follows; else missing values count as unknown.
    """

    name: str
    values: tuple[str, ...]
    missing: bool = False


class Encoder(Frozen):
    """A fitted encoder; its canonical JSON is the same bytes at every bank."""

    version: Literal[1] = 1
    numeric: tuple[NumericInput, ...]
    categorical: tuple[CategoryInput, ...]

    @model_validator(mode="after")
    def _inputs_are_distinct(self) -> Self:
        if len(set(self.columns)) != self.width:
            raise ValueError("two inputs share a name")
        return self

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        names: list[str] = []
        for column in self.numeric:
            names += [column.name] if column.quantile else []
            names += [f"{column.name}:scaled"] if column.scaled else []
            names += [f"{column.name}:missing"] if column.missing else []
        for category in self.categorical:
            names += [f"{category.name}={value}" for value in category.values] + [f"{category.name}:unknown"]
            names += [f"{category.name}:missing"] if category.missing else []
        return tuple(names)

    @property
    def width(self) -> int:
        """Number of inputs."""
        return len(self.columns)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, in hexadecimal."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """The encoder's one spelling: canonical JSON with sorted keys, UTF-8."""
        facts = self.model_dump(mode="json")
        return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()

    @staticmethod
    def from_bytes(data: bytes) -> Encoder:
        """Read what `to_bytes` wrote, and nothing else.

        Raises:
            WireError: not JSON, not an encoder, not finite, or not its canonical spelling.
        """
        return _read(data)

    def transform(self, table: pa.Table) -> Floats:
        """Encode feature rows.

        Args:
            table: The feature columns that the encoder names; numeric ones with null or NaN where missing.

        Returns:
            float32, shape (rows, width), C-contiguous and finite.

        Raises:
            SchemaError: a column is missing or is not numeric.
        """
        encoded = np.zeros((table.num_rows, self.width), dtype=np.float32)
        for start in range(0, max(table.num_rows, 1), _BLOCK):
            block = table.slice(start, _BLOCK)
            columns: list[Floats] = []
            for numeric in self.numeric:
                columns += _encode_numeric(numeric, numeric_values(block, numeric.name))
            for category in self.categorical:
                columns += _encode_category(category, category_index(block, category.name, category.values))
            for position, column in enumerate(columns):
                encoded[start : start + _BLOCK, position] = column
        return encoded


@lru_cache(maxsize=8)
def _read(data: bytes) -> Encoder:
    """An encoder never changes, and each round asks for it once for every bank: the same bytes are read once."""
    try:
        encoder = Encoder.model_validate_json(data, strict=True)
        canonical = encoder.to_bytes()
    except (ValidationError, ValueError) as error:
        raise WireError(f"the encoder cannot be read: {error}") from error
    if canonical != data:
        raise WireError("the encoder is not spelled canonically; it was altered on the way, or written by others")
    return encoder


def fit_encoder(spec: EncoderSpec, total: Sketch) -> Encoder:
    """Fit the shared encoder from the sum of banks' sketches.

    Args:
        spec: The plan's public bins and lists.
        total: The summed sketch; negative counts, as noise leaves them, are taken for zero.
    """
    centres = _bin_centres(spec)
    counts = {name: np.maximum(column, 0) for name, column in total.counts.items()}
    numeric = tuple(_fit_numeric(name, counts[name], centres, spec.scaling) for name in spec.numeric)
    categorical = tuple(
        CategoryInput(
            name=name,
            values=tuple(
                value
                for value, count in zip(values, counts[name][: len(values)], strict=True)
                if count >= spec.min_category_count
            ),
            missing=bool(counts[name][-1] > 0),
        )
        for name, values in spec.categorical.items()
    )
    return Encoder(numeric=numeric, categorical=categorical)


def _fit_numeric(name: str, counts: NDArray[np.int64], centres: NDArray[np.float64], scaling: str) -> NumericInput:
    occupied = np.flatnonzero(counts[:-1])
    missing = bool(counts[-1] > 0)
    if len(occupied) == 0:
        return NumericInput(name=name, missing=missing)
    weights = counts[occupied].astype(np.float64)
    ranks = (np.cumsum(weights) - weights / 2) / weights.sum()
    quantile = _quantile_knots(centres[occupied], ranks) if scaling in ("quantile", "both") else None
    scaled = None
    if scaling != "quantile":
        logs = _signed_log(centres[occupied])
        scaled = _standard_scale(logs, weights) if scaling == "standard" else _robust_scale(logs, ranks)
    return NumericInput(name=name, quantile=quantile, scaled=scaled, missing=missing)


def _quantile_knots(at: NDArray[np.float64], ranks: NDArray[np.float64]) -> Knots:
    # Imported on use: only fitting needs SciPy, and reading a plan or a bundle does not wait for it.
    from scipy.special import ndtri

    scores = np.clip(ndtri(ranks), -_CLIP_SCORE, _CLIP_SCORE)
    kept = _needed_knots(at, scores)
    # Six digits of the place and four of the score are far below the bins' own resolution, and keep the encoder small.
    return Knots(
        at=tuple(float(f"{value:.6g}") for value in at[kept]),
        score=tuple(round(float(value), 4) + 0.0 for value in scores[kept]),
    )


def _needed_knots(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[int]:
    """Pick knots so that the line through them misses no other by more than half the tolerance (Douglas-Peucker)."""
    kept, open_spans = {0, len(x) - 1}, [(0, len(x) - 1)]
    while open_spans:
        first, last = open_spans.pop()
        if last - first < 2:
            continue
        inner = slice(first + 1, last)
        line = y[first] + (y[last] - y[first]) * (x[inner] - x[first]) / (x[last] - x[first])
        misses = np.abs(y[inner] - line)
        worst = int(np.argmax(misses))
        if misses[worst] > _KNOT_TOLERANCE / 2:
            middle = first + 1 + worst
            kept.add(middle)
            open_spans += [(first, middle), (middle, last)]
    return sorted(kept)


def _standard_scale(logs: NDArray[np.float64], weights: NDArray[np.float64]) -> Scale:
    mean = float(np.average(logs, weights=weights))
    deviation = math.sqrt(float(np.average((logs - mean) ** 2, weights=weights)))
    return _scale(mean, deviation)


def _robust_scale(logs: NDArray[np.float64], ranks: NDArray[np.float64]) -> Scale:
    centre = float(np.interp(0.5, ranks, logs))
    # Where half of all values are one value, wider ranges are tried before giving up.
    for low, high, normal in ((0.25, 0.75, _NORMAL_IQR), (0.05, 0.95, 3.29), (0.005, 0.995, 5.152)):
        spread = float(np.interp(high, ranks, logs) - np.interp(low, ranks, logs)) / normal
        if spread > _NO_SPREAD:
            break
    return _scale(centre, spread)


def _scale(centre: float, spread: float) -> Scale:
    return Scale(centre=round(centre, 6), scale=round(spread, 6) if spread > _NO_SPREAD else 1.0)


def _signed_log(values: NDArray[_Float]) -> NDArray[_Float]:
    logs: NDArray[_Float] = np.copysign(np.log1p(np.abs(values)), values)
    return logs


def _bin_centres(spec: EncoderSpec) -> NDArray[np.float64]:
    """Geometric centre of each bin, ascending; 0 for the zero bin."""
    edges = bin_edges(spec).astype(np.float64)
    positive = edges[len(edges) // 2 :]
    centres = positive * math.sqrt(10.0 ** (1 / spec.bins_per_decade))
    return np.concatenate([-centres[::-1], [0.0], centres])


def _encode_numeric(column: NumericInput, values: Floats) -> list[Floats]:
    absent = np.isnan(values)
    columns: list[Floats] = []
    if column.quantile:
        columns.append(np.interp(values, column.quantile.at, column.quantile.score).astype(np.float32))
    if column.scaled:
        bounded = np.clip(values, -np.finfo(np.float32).max, np.finfo(np.float32).max)
        scaled = (_signed_log(bounded) - np.float32(column.scaled.centre)) / np.float32(column.scaled.scale)
        columns.append(np.clip(scaled, -_CLIP_SCALED, _CLIP_SCALED))
    for encoded in columns:
        encoded[absent] = 0.0
    return [*columns, absent.astype(np.float32)] if column.missing else columns


def _encode_category(column: CategoryInput, index: NDArray[np.int64]) -> list[Floats]:
    unknown, absent = len(column.values), len(column.values) + 1
    if not column.missing:
        index = np.where(index == absent, unknown, index)
    width = unknown + 2 if column.missing else unknown + 1
    return [(index == position).astype(np.float32) for position in range(width)]
