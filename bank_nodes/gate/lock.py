"""The lock of a bank's gate: one request, or one repair of the ledger, at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def gate_locked(folder: Path) -> Iterator[None]:
    """Wait until nothing else goes through the gate of the bank whose folder this is, and keep it so."""
    with (folder / "gate.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
