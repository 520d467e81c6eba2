"""The bank's process dies at each statement and at each write of its ledger: nothing that left is ever uncharged."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dp_accounting
import pytest
from dp_accounting import pld

from fraudfl.privacy import ledger_store
from fraudfl.privacy.accounting import epsilon
from fraudfl.privacy.ledger import Ledger, Release
from fraudfl.privacy.mechanisms import DpSgd, GaussianSum, Mechanism, mechanism_from_dict

DELTA = 1e-6
ROUND = DpSgd(sampling_rate=0.2, noise_multiplier=4.0, clip_norm=1.0, steps=5, expected_batch=1.0, parties=3)
SKETCH = GaussianSum(noise_multiplier=9.0, sensitivity=2.0)
WORK: tuple[Mechanism, ...] = (SKETCH, ROUND, ROUND)
BEGUN, SENT = b"b", b"s"


def release_of(number: int) -> Release:
    return Release(
        key=f"plan/instance/{number}/1/train/cohort",
        plan_hash="plan",
        instance="instance",
        phase="pilot",
        round=number,
        attempt=1,
        kind="train",
        mechanism=WORK[number].to_dict(),
    )


def work(path: Path, tell: Callable[[bytes], object], first: int = 0) -> None:
    """What the gate does for each request: reserve, prepare, write down, send."""
    for number in range(first, len(WORK)):
        ledger = Ledger(path)
        ledger.reserve(release_of(number))
        tell(BEGUN)
        ledger.release(release_of(number).key, b"x" * 3000)
        tell(SENT)


def dying(path: Path, deadly: Callable[[], None]) -> tuple[bytes, bool]:
    """Work in a child that `deadly` kills at some point; returns what it told before, and whether it came through."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            deadly()
            work(path, lambda text: os.write(write, text))
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return told, not os.WIFSIGNALED(status)


def at_statement(number: int) -> Callable[[], None]:
    """Die before the SQL statement of this number runs."""

    def deadly() -> None:
        left, connect = [number], sqlite3.connect

        def count(_statement: str) -> None:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def counted(*facts: object, **more: object) -> sqlite3.Connection:
            connection = connect(*facts, **more)
            connection.set_trace_callback(count)
            return connection

        ledger_store.sqlite3.connect = counted

    return deadly


def at_write(offset: int) -> Callable[[], None]:
    """Die in the first write to journal or ledger that reaches beyond `offset`, with a part of it written."""

    def deadly() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (offset, offset))

    return deadly


def independent(events: list[Mechanism]) -> float:
    """dp-accounting itself: its own events, one at a time, none grouped."""
    accountant = pld.PLDAccountant(value_discretization_interval=1e-4)
    for event in events:
        gaussian = dp_accounting.GaussianDpEvent(event.noise_multiplier)
        if isinstance(event, GaussianSum):
            accountant.compose(gaussian)
        else:
            accountant.compose(dp_accounting.PoissonSampledDpEvent(event.sampling_rate, gaussian), event.steps)
    return float(accountant.get_epsilon(DELTA))


EXPECTED = {count: independent(list(WORK[:count])) for count in range(1, len(WORK) + 1)} | {0: 0.0}


def check(path: Path, told: bytes) -> int:
    """After a death: the chain is whole, all that began is charged, and ε is what it must be. Returns the charges."""
    ledger = Ledger(path)
    ledger.verify()
    charged = [mechanism_from_dict(facts) for facts in ledger.mechanisms()]
    begun, sent = told.count(BEGUN), told.count(SENT)
    assert begun <= len(charged) <= begun + 1
    assert charged == list(WORK[: len(charged)])
    assert epsilon(charged, DELTA) == pytest.approx(EXPECTED[len(charged)], abs=1e-6)
    for number in range(sent):
        assert ledger.kept(release_of(number).key) == b"x" * 3000
    return len(charged)


def go_on(path: Path, told: bytes) -> None:
    """After a restart the same requests come again; they are completed at no further cost."""
    work(path, lambda _text: None, first=told.count(SENT))
    ledger = Ledger(path)
    assert [mechanism_from_dict(facts) for facts in ledger.mechanisms()] == list(WORK)
    ledger.verify()


def test_a_death_before_any_statement_never_leaves_a_release_uncharged(tmp_path: Path) -> None:
    begin, path = tmp_path / "begin.db", tmp_path / "one.db"
    Ledger(begin)
    seen, through, number = set(), False, 0
    while not through:
        number += 1
        shutil.copy(begin, path)
        (tmp_path / "one.db-journal").unlink(missing_ok=True)
        told, through = dying(path, at_statement(number))
        seen.add((check(path, told), told))
        if number % 7 == 0:
            go_on(path, told)
    assert number > 60
    # Every state was met: nothing yet, begun, and sent, for each release.
    assert {told for _, told in seen} == {(BEGUN + SENT) * n + rest for n in range(3) for rest in (b"", BEGUN)} | {
        (BEGUN + SENT) * 3
    }
    assert {count for count, _ in seen} == {0, 1, 2, 3}


def test_a_death_in_the_middle_of_any_write_never_leaves_a_release_uncharged(tmp_path: Path) -> None:
    begin = tmp_path / "begin.db"
    Ledger(begin)
    size, deaths = begin.stat().st_size, 0
    for offset in [*range(0, 20_000, 700), *range(20_000, size + 40_000, 2100)]:
        path = tmp_path / "one.db"
        shutil.copy(begin, path)
        (tmp_path / "one.db-journal").unlink(missing_ok=True)
        told, through = dying(path, at_write(offset))
        check(path, told)
        deaths += not through
        if not through and deaths % 4 == 0:
            go_on(path, told)
    assert deaths > 30


def test_work_that_begins_without_a_reservation_would_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail: with the reservation left until the end, a death in between is an uncharged release."""

    def late(path: Path, tell: Callable[[bytes], object], first: int = 0) -> None:
        for number in range(first, len(WORK)):
            tell(BEGUN)
            ledger = Ledger(path)
            ledger.reserve(replace(release_of(number)))
            ledger.release(release_of(number).key, b"x" * 3000)
            tell(SENT)

    monkeypatch.setitem(globals(), "work", late)
    told, _ = dying(tmp_path / "late.db", at_statement(20))
    with pytest.raises(AssertionError):
        check(tmp_path / "late.db", told)
