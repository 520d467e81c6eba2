"""Noise and Poisson draws for differential privacy, from a stream cipher keyed by the operating system."""

from __future__ import annotations

import hashlib
import math
import os
from typing import NoReturn

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms
from scipy.special import ndtri

from fraudfl.errors import PrivacyError

_CHUNK_BYTES = 1 << 20
# ChaCha20's block counter has 32 bits (256 GiB); a new key long before that.
_BYTES_PER_KEY = 1 << 34


class NoiseSource:
    """A fresh, unpredictable stream of random numbers: ChaCha20 under a key that never leaves this object.

    Each instance draws its own key from `os.urandom`; a forked child draws a new one before its first number. No
    seed, of the configuration, of numpy or of torch, has any part in it. It cannot be copied or pickled, for two
    sources with one key would give two banks the same noise. One source belongs to one thread.

    Numbers are floating point: uniforms have 53 bits, and normals end at ±9.16 standard deviations (beyond that the
    normal has 5·10⁻²⁰ of its mass). Attacks on the low bits of floating-point noise (Mironov 2012) are not
    covered here; adding noise in integers is the answer to those.
    """

    def __init__(self) -> None:
        """Draw a fresh key."""
        self._zeros = bytes(_CHUNK_BYTES)
        self._rekey()

    @staticmethod
    def for_tests(seed: int) -> NoiseSource:
        """Make a repeatable source. For tests only: whoever knows the seed can subtract the noise."""
        return _RepeatableNoise(seed)

    def random_bytes(self, count: int) -> bytearray:
        """Return the next `count` bytes of the stream."""
        self._refresh_key(count)
        out = bytearray(count)
        view = memoryview(out)
        for start in range(0, count, _CHUNK_BYTES):
            part = view[start : start + _CHUNK_BYTES]
            self._stream.update_into(memoryview(self._zeros)[: len(part)], part)
        return out

    def uniform(self, count: int) -> npt.NDArray[np.float64]:
        """Return uniforms on multiples of 2⁻⁵³ in [0, 1), shape (count,)."""
        return (self._words(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def gaussian(self, shape: int | tuple[int, ...]) -> npt.NDArray[np.float64]:
        """Return independent standard normals, float64, by inverting the normal distribution function."""
        count = shape if isinstance(shape, int) else math.prod(shape)
        words = self._words(count)
        # Half the line from 63 bits and a sign from another: the tails are equal and never infinite.
        lower = ((words >> np.uint64(1)).astype(np.float64) + 0.5) * 2.0**-64
        normals: npt.NDArray[np.float64] = ndtri(lower)
        np.negative(normals, out=normals, where=(words & np.uint64(1)).astype(bool))
        return normals.reshape(shape)

    def poisson_draw(self, rows: int, rate: float) -> npt.NDArray[np.int64]:
        """Choose each row independently with probability `rate`, exact to 2⁻⁸⁰.

        Args:
            rows: Number of rows to choose from; may be zero.
            rate: Poisson sampling rate q in [0, 1].

        Returns:
            Chosen row numbers, ascending, int64, shape (chosen,).
        """
        if not 0 <= rate <= 1:
            raise PrivacyError(f"sampling rate is {rate}; expected a number from 0 to 1")
        if rate == 1:
            return np.arange(rows, dtype=np.int64)
        # Row i is chosen when an 80-bit number is below floor(q·2⁸⁰): 16 bits decide nearly always, and 64 more
        # are drawn for ties only. Rounding down means that q is never more than what was accounted for.
        first, rest = divmod(int(math.ldexp(rate, 80)), 1 << 64)
        draws = np.frombuffer(self.random_bytes(2 * rows), dtype=np.uint16)
        chosen = draws < np.uint16(first)
        ties = np.flatnonzero(draws == np.uint16(first))
        chosen[ties] = self._words(len(ties)) < np.uint64(rest)
        return np.flatnonzero(chosen).astype(np.int64, copy=False)

    def _words(self, count: int) -> npt.NDArray[np.uint64]:
        return np.frombuffer(self.random_bytes(8 * count), dtype=np.uint64)

    def _refresh_key(self, count: int) -> None:
        if self._process != os.getpid() or self._used + count > _BYTES_PER_KEY:
            self._rekey()
        self._used += count

    def _rekey(self) -> None:
        self._stream = _chacha20(os.urandom(32))
        self._process = os.getpid()
        self._used = 0

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse copies and pickles."""
        raise PrivacyError(
            "a noise source cannot be copied or pickled: two with one key give the same noise. Make a new one"
        )


class _RepeatableNoise(NoiseSource):
    """The same numbers for the same seed; nothing but a test may use it."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        super().__init__()

    def _refresh_key(self, count: int) -> None:
        """Keep the key, also in a forked child."""

    def _rekey(self) -> None:
        self._stream = _chacha20(hashlib.sha256(f"fraudfl test noise {self._seed}".encode()).digest())


def _chacha20(key: bytes) -> CipherContext:
    # The key is used for one stream only, so counter and nonce may be zero.
    return Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
