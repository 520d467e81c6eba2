"""One daemon in a bank's folder at a time: a lock that ends with its process, and that a restart in place keeps."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fraudfl.errors import RuntimeFailure

_LOCK_FILE = "daemon.lock"
_LOCK_VARIABLE = "FRAUDFL_DAEMON_LOCK"
_held: list[int] = []


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Be the only daemon in this folder.

    Raises:
        RuntimeFailure: when one runs there already.
    """
    inherited = os.environ.pop(_LOCK_VARIABLE, None)
    lock = (path / _LOCK_FILE).open("a") if inherited is None else os.fdopen(int(inherited), "a")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RuntimeFailure(f"{path}: a daemon runs here already; stop it first") from error
        # Kept over a restart in place, so that no second daemon slips in.
        os.set_inheritable(lock.fileno(), True)
        _held.append(lock.fileno())
        try:
            yield
        finally:
            _held.clear()


def hand_lock_on() -> None:
    """Leave the lock that this process holds to the program that is about to take its place."""
    os.environ[_LOCK_VARIABLE] = str(_held[0])


def daemon_runs(path: Path) -> bool:
    """Whether a daemon runs in this folder."""
    with (path / _LOCK_FILE).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
