"""Float vectors as signed bytes, one scale per tensor, rounded at random so that the mean is kept."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from fraudfl.errors import WireError

STEPS = 127
"""Levels on each side of zero; -128 is not used, so that the code is symmetric."""

_LARGEST = float(np.finfo(np.float32).max)


class Uniforms(Protocol):
    """A source of random numbers, such as `numpy.random.Generator`."""

    def random(self, size: int, /) -> npt.NDArray[np.float64]:
        """Draw `size` numbers uniformly from [0, 1)."""
        ...


def quantise(
    values: npt.NDArray[np.float32], tensors: npt.NDArray[np.int64], count: int, rng: Uniforms
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]:
    """Round each value to a multiple of its tensor's scale, up or down at random, unbiased.

    Args:
        values: Finite float32, shape (n,).
        tensors: Which tensor each value belongs to, int64 below `count`, shape (n,).
        count: Number of tensors.
        rng: Source of the rounding.

    Returns:
        Scales, float32 of shape (count,), the largest magnitude of each tensor / 127; and codes, int8 of shape (n,).
        `scale * code` is within one scale of the value, and equals it in expectation.

    Source: Alistarh et al. 2017 (QSGD), with the maximum norm per tensor.
    """
    largest = np.zeros(count, dtype=np.float64)
    np.maximum.at(largest, tensors, np.abs(values.astype(np.float64)))
    scales = (largest / STEPS).astype(np.float32)
    # Rounding to float32 may have made the scale too small for the largest value; then it would be clipped, a bias.
    short = scales.astype(np.float64) * STEPS < largest
    scales[short] = np.nextafter(scales[short], np.float32(np.inf))
    step = np.where(scales > 0, scales, 1).astype(np.float64)[tensors]
    codes = np.floor(values.astype(np.float64) / step + rng.random(values.size))
    return scales, np.clip(codes, -STEPS, STEPS).astype(np.int8)


def dequantise(
    scales: npt.NDArray[np.float32], codes: npt.NDArray[np.int8], tensors: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Undo `quantise`: `scale * code` as float32, shape (n,).

    Raises:
        WireError: if a scale is negative or not finite, or a code is -128.
    """
    bad = scales[~(np.isfinite(scales) & (scales >= 0))]
    if bad.size:
        raise WireError(f"scales must be finite and not negative; found {bad[0]}")
    if bool(np.any(codes == -128)):
        raise WireError("code -128 is not in use; expected -127 to 127")
    exact = scales.astype(np.float64)[tensors] * codes
    return np.clip(exact, -_LARGEST, _LARGEST).astype(np.float32)
