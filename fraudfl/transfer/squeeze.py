"""Zstandard where it makes a body smaller, with a bound on what may come out of it."""

from __future__ import annotations

from functools import lru_cache

import zstandard

from fraudfl.errors import WireError

SQUEEZED = 0x80
"""Flag in a leading byte: the body is a Zstandard frame."""

_LEVEL = 19


@lru_cache(maxsize=8)
def squeeze(body: bytes) -> tuple[int, bytes]:
    """Compress a body if that makes it shorter; all banks get the same encoder, keys and model, in turn.

    Returns:
        `SQUEEZED` and the frame, or 0 and the body as it was.
    """
    frame = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=False).compress(body)
    return (SQUEEZED, frame) if len(frame) < len(body) else (0, body)


def expand(flag: int, body: bytes, *, limit: int) -> bytes:
    """Undo `squeeze`.

    The size that the frame announces is checked before anything is allocated, so a small message cannot ask for
    gigabytes.

    Args:
        flag: Leading byte; only the `SQUEEZED` bit counts.
        limit: Most bytes that the body may have.

    Raises:
        WireError: if the frame is damaged, announces no size or one above `limit`, or bytes follow it.
    """
    if not flag & SQUEEZED:
        if len(body) > limit:
            raise WireError(f"body has {len(body)} bytes; expected at most {limit}")
        return body
    try:
        announced = zstandard.frame_content_size(body)
        if not 0 <= announced <= limit:
            raise WireError(f"zstd frame announces {announced} bytes; expected 0 to {limit}")
        return zstandard.ZstdDecompressor().decompress(body, max_output_size=limit, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise WireError(f"body is not one whole zstd frame: {error}") from error
