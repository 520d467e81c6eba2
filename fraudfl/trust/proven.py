"""What a process has checked before: the same signature over the same bytes need not be checked twice."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

_MOST = 16_384


class Proven:
    """Digests of what was found good, the latest ones. What was found wrong is never remembered."""

    def __init__(self, most: int = _MOST) -> None:
        """Remember nothing yet, and at most so many."""
        self._most = most
        self._digests: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    def holds(self, *parts: bytes) -> bool:
        """Whether exactly these parts were noted."""
        name = _name(parts)
        with self._lock:
            if name not in self._digests:
                return False
            self._digests.move_to_end(name)
            return True

    def note(self, *parts: bytes) -> None:
        """Remember that these parts were found good together."""
        with self._lock:
            self._digests[_name(parts)] = None
            while len(self._digests) > self._most:
                self._digests.popitem(last=False)


def _name(parts: tuple[bytes, ...]) -> bytes:
    """SHA-256 over the parts with their lengths, so that no other cut of the same bytes has the same name."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
