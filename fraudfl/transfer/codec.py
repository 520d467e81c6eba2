"""Weight vectors as bytes and back: float32, float16, int8 with stochastic rounding, sparse top-k.

A message is one byte (codec, and whether the body is a Zstandard frame), the vector's size as a varint, and the body:

| codec | body |
|---|---|
| float32, float16 | the values little-endian, byte planes one after another (signs and exponents compress together) |
| int8 | a float32 scale per tensor, then a signed byte per value |
| topk | a varint k, a float32 scale per tensor, k signed bytes, then the k positions as Rice-coded gaps |

`topk` also rounds the kept values to int8 stochastically: half of what float16 would take, and error feedback carries
the rounding error, with all that was not kept, into the next message.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from fraudfl.config import CodecName
from fraudfl.errors import CheckpointError, NonFiniteError, WireError
from fraudfl.transfer.indices import decode_indices, encode_indices
from fraudfl.transfer.quantise import Uniforms, dequantise, quantise
from fraudfl.transfer.squeeze import SQUEEZED, expand, squeeze
from fraudfl.transfer.varints import encode_varints, read_varint

Layout = tuple[tuple[str, tuple[int, ...]], ...]
"""Name and shape of each tensor, in the order in which they lie in the flat vector."""

Vector = npt.NDArray[np.float32]

_IDS: Final[dict[CodecName, int]] = {"float32": 1, "float16": 2, "int8": 3, "topk": 4}
_NAMES: Final[dict[int, CodecName]] = {number: name for name, number in _IDS.items()}


def layout_size(layout: Layout) -> int:
    """Number of values in a vector of this layout."""
    return sum(math.prod(shape) for _, shape in layout)


def encode(
    vector: Vector, codec: CodecName, layout: Layout, *, keep: float = 0.1, rng: Uniforms | None = None
) -> bytes:
    """Encode a weight vector.

    Args:
        vector: Finite float32, shape (layout_size(layout),).
        codec: How.
        layout: The vector's tensors; int8 and topk keep a scale for each.
        keep: Share of entries that topk keeps, largest magnitude first (over the whole vector; ties by position).
        rng: Source of stochastic rounding; int8 and topk need it.

    Raises:
        NonFiniteError: if a value is not finite, or too large for float16. Nothing has been encoded then.
        ValueError: if the shape does not fit, or `rng` is missing.
    """
    size = layout_size(layout)
    if vector.shape != (size,):
        raise ValueError(f"vector has shape {vector.shape}; the layout has {size} values")
    values = np.ascontiguousarray(vector, dtype=np.float32)
    _refuse_nonfinite(values, "the vector")
    if codec == "float32":
        body = _planes(values.astype("<f4"))
    elif codec == "float16":
        body = _planes(_as_float16(values))
    elif rng is None:
        raise ValueError(f"codec {codec} rounds stochastically and needs `rng`")
    elif codec == "int8":
        scales, codes = quantise(values, _owners(layout), len(layout), rng)
        body = scales.astype("<f4").tobytes() + codes.tobytes()
    else:
        body = _sparse_body(values, layout, keep, rng)
    flag, packed = squeeze(body)
    return bytes([_IDS[codec] | flag]) + encode_varints(np.array([size])) + packed


def decode(data: bytes, layout: Layout, *, expected: CodecName | None = None) -> Vector:
    """Decode a weight vector, float32 of shape (layout_size(layout),).

    Args:
        data: One whole message.
        layout: What the receiver expects; the message must fit it exactly.
        expected: The codec that the plan names; another is refused. Any is taken when absent.

    Raises:
        WireError: if the message is malformed in any way; the text says what was found and what was expected.
    """
    codec, flag, body = _open(data, layout_size(layout), expected)
    size, tensors = layout_size(layout), len(layout)
    if codec == "topk":
        return _sparse_values(expand(flag, body, limit=16 + 4 * tensors + 8 * size), layout)
    length = {"float32": 4 * size, "float16": 2 * size, "int8": 4 * tensors + size}[codec]
    body = expand(flag, body, limit=length)
    if len(body) != length:
        raise WireError(f"{codec} body has {len(body)} bytes; expected {length} for {size} values")
    if codec == "int8":
        scales = np.frombuffer(body, dtype="<f4", count=tensors)
        return dequantise(scales, np.frombuffer(body, dtype=np.int8, offset=4 * tensors), _owners(layout))
    values = _from_planes(body, "<f4" if codec == "float32" else "<f2").astype(np.float32)
    if not np.all(np.isfinite(values)):
        raise WireError(f"value {int(np.flatnonzero(~np.isfinite(values))[0])} is not finite; expected finite weights")
    return values


@dataclass
class ErrorFeedback:
    """Top-k with memory: what one message leaves out is added to the next.

    Attributes:
        layout: The vector's tensors.
        keep: Share of entries that each message keeps.
        residual: float32, shape (layout_size(layout),): what is still owed; zeros at first.

    Source: Stich et al. 2018, "Sparsified SGD with memory".
    """

    layout: Layout
    keep: float
    residual: Vector

    def compress(self, vector: Vector, rng: Uniforms) -> bytes:
        """Encode `vector` plus what is owed as `topk`, and remember what this message leaves out.

        Raises:
            NonFiniteError: if the sum is not finite; what is owed is unchanged then.
        """
        owed = vector + self.residual
        data = encode(owed, "topk", self.layout, keep=self.keep, rng=rng)
        self.residual = owed - decode(data, self.layout)
        return data

    def to_bytes(self) -> bytes:
        """The residual as a `.npy` file."""
        buffer = io.BytesIO()
        np.save(buffer, self.residual, allow_pickle=False)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, layout: Layout, keep: float) -> ErrorFeedback:
        """Restore what `to_bytes` kept.

        Raises:
            CheckpointError: if it is damaged or belongs to another model.
        """
        try:
            residual = np.load(io.BytesIO(data), allow_pickle=False)
        except (ValueError, EOFError, OSError, SyntaxError) as error:
            raise CheckpointError(f"stored residual is not a .npy array: {error}; start the phase again") from error
        size = layout_size(layout)
        if not isinstance(residual, np.ndarray) or residual.dtype != np.float32 or residual.shape != (size,):
            raise CheckpointError(f"stored residual does not fit; expected float32 of shape ({size},)")
        if not np.all(np.isfinite(residual)):
            raise CheckpointError("stored residual is not finite; start the phase again")
        return cls(layout, keep, residual)


def _open(data: bytes, size: int, expected: CodecName | None) -> tuple[CodecName, int, bytes]:
    """Read and check the header: codec, flag and body."""
    if not data:
        raise WireError("weight message is empty; expected a codec byte")
    codec = _NAMES.get(data[0] & ~SQUEEZED)
    if codec is None:
        raise WireError(f"unknown codec id {data[0] & ~SQUEEZED}; expected one of {_IDS}")
    if expected is not None and codec != expected:
        raise WireError(f"message uses codec {codec}; the plan says {expected}")
    found, body = read_varint(data[1:])
    if found != size:
        raise WireError(f"message holds {found} values; expected {size}")
    return codec, data[0] & SQUEEZED, body


def _refuse_nonfinite(values: npt.NDArray[np.floating], what: str) -> None:
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise NonFiniteError(f"{what} has {bad.size} values that are not finite, the first at position {bad[0]}")


def _as_float16(values: Vector) -> npt.NDArray[np.float16]:
    with np.errstate(over="ignore"):
        half = values.astype("<f2")
    _refuse_nonfinite(half, "the vector as float16 (largest magnitude 65504; use float32 or int8)")
    return half


def _planes(values: npt.NDArray[np.floating]) -> bytes:
    return np.ascontiguousarray(values.view(np.uint8).reshape(-1, values.itemsize).T).tobytes()


def _from_planes(body: bytes, dtype: str) -> npt.NDArray[np.floating]:
    planes = np.frombuffer(body, dtype=np.uint8).reshape(np.dtype(dtype).itemsize, -1)
    values: npt.NDArray[np.floating] = np.ascontiguousarray(planes.T).reshape(-1).view(dtype)
    return values


def _owners(layout: Layout) -> npt.NDArray[np.int64]:
    """Which tensor each value of the flat vector belongs to."""
    return np.repeat(np.arange(len(layout)), [math.prod(shape) for _, shape in layout]).astype(np.int64)


def _sparse_body(values: Vector, layout: Layout, keep: float, rng: Uniforms) -> bytes:
    if not 0 < keep <= 1:
        raise ValueError(f"keep is {keep}; expected a share above 0 and at most 1")
    # 0.1 x 3130 is a little above 313 in floating point; the subtraction keeps that from making 314.
    count = min(values.size, max(1, math.ceil(keep * values.size - 1e-9)))
    kept = np.sort(np.argsort(-np.abs(values), kind="stable")[:count]).astype(np.int64)
    scales, codes = quantise(values[kept], _owners(layout)[kept], len(layout), rng)
    head = encode_varints(np.array([count])) + scales.astype("<f4").tobytes()
    return head + codes.tobytes() + encode_indices(kept)


def _sparse_values(body: bytes, layout: Layout) -> Vector:
    size, tensors = layout_size(layout), len(layout)
    count, rest = read_varint(body)
    if count > size or len(rest) < 4 * tensors + count:
        raise WireError(
            f"topk body says {count} of {size} values and has {len(body)} bytes; it is cut short or damaged"
        )
    scales = np.frombuffer(rest, dtype="<f4", count=tensors)
    codes = np.frombuffer(rest, dtype=np.int8, count=count, offset=4 * tensors)
    kept = decode_indices(rest[4 * tensors + count :], count, size)
    values = np.zeros(size, dtype=np.float32)
    values[kept] = dequantise(scales, codes, _owners(layout)[kept])
    return values
