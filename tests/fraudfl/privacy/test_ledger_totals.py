"""Totals and charges against an oracle that keeps a plain list, over any order of events."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fraudfl.errors import PrivacyError, ReleaseRefused
from fraudfl.privacy.ledger import Ledger, LedgerTotals, Release, verify_lines

BERLIN = ZoneInfo("Europe/Berlin")
PLANS, KINDS = ("plan-a", "plan-b"), ("train", "sketch", "evaluate")
KEYS = st.integers(0, 11)
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where no disk is waited for, so that what is measured is the ledger's own work."""


def release_of(number: int, **facts: Any) -> Release:
    """Every number is one key with facts of its own."""
    usual: dict[str, Any] = {
        "key": f"key-{number}",
        "plan_hash": PLANS[number % 2],
        "instance": f"instance-{number % 3}",
        "phase": "pilot",
        "round": number,
        "attempt": 1,
        "kind": KINDS[number % 3],
        "mechanism": {"steps": number} if number % 4 else None,
    }
    return Release(**(usual | facts))


class Clock:
    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class LedgerMachine(RuleBasedStateMachine):
    """The oracle: charges as (plan, counts as round, mechanism, when), bytes as (size, when), replies by key."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY))
        # Soon before the night in which Berlin's clocks go back, and a new month begins.
        self.clock = Clock(datetime(2026, 10, 24, 20, tzinfo=UTC))
        self.ledger = Ledger(self.folder / "ledger.db", clock=self.clock)
        self.charges: list[tuple[str, bool, bool, dict[str, Any] | None, datetime]] = []
        self.left: list[tuple[int, datetime]] = []
        self.reserved: dict[int, datetime] = {}
        self.released: dict[int, bytes] = {}
        self.dropped: set[int] = set()
        self.restored_at = 0
        self.order: list[int] = []

    def teardown(self) -> None:
        self.ledger.verify(known=self.ledger.head())
        assert verify_lines(self.ledger.export_lines()) == self.ledger.head()
        shutil.rmtree(self.folder)

    @rule(number=KEYS)
    def reserve(self, number: int) -> None:
        release = release_of(number)
        if number in self.order[: self.restored_at] and number not in self.released:
            with pytest.raises(ReleaseRefused):
                self.ledger.reserve(release)
            return
        self.ledger.reserve(release)
        if number not in self.order:
            self.order.append(number)
            self.charges.append((release.plan_hash, release.kind == "train", True, release.mechanism, self.clock.now))

    @rule(number=KEYS, change=st.sampled_from([{"round": 99}, {"mechanism": {"steps": 99}}, {"kind": "join"}]))
    def reserve_with_other_facts(self, number: int, change: dict[str, Any]) -> None:
        if number in self.order:
            with pytest.raises(ReleaseRefused):
                self.ledger.reserve(release_of(number, **change))

    @rule(number=KEYS, size=st.integers(0, 40))
    def release(self, number: int, size: int) -> None:
        data = bytes([number]) * size
        key = f"key-{number}"
        forgotten = number in self.order[: self.restored_at]
        if number in self.released:
            if data != self.released[number]:
                with pytest.raises(ReleaseRefused):
                    self.ledger.release(key, data)
        elif number not in self.order or forgotten:
            with pytest.raises(ReleaseRefused):
                self.ledger.release(key, data)
        else:
            self.ledger.release(key, data)
            self.released[number] = data
            self.left.append((size, self.clock.now))

    @rule(number=KEYS)
    def resend(self, number: int) -> None:
        if number in self.released:
            self.ledger.resent(f"key-{number}")
            self.left.append((len(self.released[number]), self.clock.now))

    @rule(number=KEYS)
    def refuse(self, number: int) -> None:
        self.ledger.refuse(release_of(number), "not now")

    @rule(instance=st.integers(0, 2), up_to=st.integers(0, 12))
    def acknowledge(self, instance: int, up_to: int) -> None:
        self.ledger.acknowledge(f"instance-{instance}", up_to)
        self.dropped |= {n for n in self.released if n % 3 == instance and KINDS[n % 3] == "train" and n <= up_to}

    @rule(
        gap=st.integers(1, 9),
        charged=st.lists(st.integers(50, 53).map(lambda steps: {"steps": steps}), max_size=3),
        plan=st.sampled_from(["", *PLANS]),
    )
    def restore(self, gap: int, charged: list[dict[str, Any]], plan: str) -> None:
        seen = self.ledger.head()[0] + gap
        assert self.ledger.behind(seen)
        self.ledger.restore(seen, charged, "from a copy", plan_hash=plan)
        self.charges += [(plan, True, True, mechanism, self.clock.now) for mechanism in charged]
        self.restored_at = len(self.order)

    @rule(hours=st.integers(1, 30))
    def wait(self, hours: int) -> None:
        self.clock.now += timedelta(hours=hours)

    @rule()
    def begin_a_new_process(self) -> None:
        self.ledger = Ledger(self.folder / "ledger.db", clock=self.clock)

    @invariant()
    def charged_mechanisms_and_kept_bytes_are_the_oracles(self) -> None:
        if not hasattr(self, "charges"):
            return
        charged = [mechanism for *_, mechanism, _ in self.charges if mechanism is not None]
        assert self.ledger.mechanisms() == charged
        for plan in PLANS:
            own = [m for owner, _, _, m, _ in self.charges if owner in (plan, "") and m is not None]
            assert self.ledger.mechanisms(plan) == own
        for number, data in self.released.items():
            assert self.ledger.kept(f"key-{number}") == (None if number in self.dropped else data)

    @invariant()
    def totals_are_the_oracles(self) -> None:
        if not hasattr(self, "charges"):
            return
        now = self.clock.now.astimezone(BERLIN)

        def number(rounds: bool, holds: Callable[[str, datetime], bool]) -> int:
            here = [(plan, when.astimezone(BERLIN)) for plan, r, _, _, when in self.charges if r or not rounds]
            return sum(holds(plan, when) for plan, when in here)

        month = lambda _plan, when: (when.year, when.month) == (now.year, now.month)  # noqa: E731
        phase = lambda plan, _when: plan in ("plan-a", "")  # noqa: E731
        assert self.ledger.totals("plan-a", self.clock.now, BERLIN) == LedgerTotals(
            rounds_phase=number(True, phase),
            rounds_month=number(True, month),
            rounds_total=number(True, lambda *_: True),
            releases_phase=number(False, phase),
            releases_day=number(False, lambda _, when: when.date() == now.date()),
            releases_month=number(False, month),
            releases_total=number(False, lambda *_: True),
            bytes_day=sum(size for size, when in self.left if when.astimezone(BERLIN).date() == now.date()),
        )


TestLedgerAgainstAnOracle = LedgerMachine.TestCase
TestLedgerAgainstAnOracle.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize(
    ("zone", "today"), [("UTC", 1), ("Europe/Berlin", 2), ("Asia/Kolkata", 2), ("America/New_York", 2)]
)
def test_days_and_months_begin_at_midnight_in_the_banks_zone(tmp_path: Path, zone: str, today: int) -> None:
    clock = Clock(datetime(2026, 4, 30, 22, 30, tzinfo=UTC))
    ledger = Ledger(tmp_path / "ledger.db", clock=clock)
    ledger.reserve(release_of(0))
    clock.now = datetime(2026, 5, 1, 2, 0, tzinfo=UTC)  # midnight and a new month lie between in UTC alone
    ledger.reserve(release_of(3))
    totals = ledger.totals("plan-a", clock.now, ZoneInfo(zone))
    assert (totals.releases_day, totals.releases_month, totals.releases_total) == (today, today, 2)


def test_what_happens_at_midnight_belongs_to_the_day_and_month_that_begin(tmp_path: Path) -> None:
    clock = Clock(datetime(2026, 5, 1, tzinfo=BERLIN))
    ledger = Ledger(tmp_path / "ledger.db", clock=clock)
    ledger.reserve(release_of(0))

    def figures(now: datetime) -> tuple[int, int, int]:
        totals = ledger.totals("plan-a", now, BERLIN)
        return totals.releases_day, totals.releases_month, totals.releases_total

    assert figures(clock.now) == (1, 1, 1)
    assert figures(datetime(2026, 5, 1, 23, 59, tzinfo=BERLIN)) == (1, 1, 1)
    assert figures(datetime(2026, 5, 2, tzinfo=BERLIN)) == (0, 1, 1)
    assert figures(datetime(2026, 5, 31, 23, 59, tzinfo=BERLIN)) == (0, 1, 1)
    assert figures(datetime(2026, 6, 1, tzinfo=BERLIN)) == (0, 0, 1)


def test_bytes_count_each_time_they_leave_and_not_before(tmp_path: Path) -> None:
    clock = Clock(datetime(2026, 5, 1, 12, tzinfo=UTC))
    ledger = Ledger(tmp_path / "ledger.db", clock=clock)
    sizes = []
    for step in (
        lambda: ledger.reserve(release_of(0)),
        lambda: ledger.release("key-0", bytes(100)),
        lambda: ledger.resent("key-0"),
        lambda: ledger.refuse(release_of(1), "no"),
    ):
        step()
        sizes.append(ledger.totals("plan-a", clock.now, UTC).bytes_day)
    assert sizes == [0, 100, 200, 200]
    clock.now += timedelta(days=1)
    ledger.resent("key-0")
    assert ledger.totals("plan-a", clock.now, UTC).bytes_day == 100


def test_a_time_without_a_zone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PrivacyError, match="names no zone"):
        Ledger(tmp_path / "ledger.db").totals("plan", datetime(2026, 1, 1), UTC)


def test_another_attempt_is_another_round_and_a_plan_without_privacy_has_rounds_too(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.reserve(release_of(0))
    ledger.reserve(release_of(0, key="again", attempt=2, mechanism=None))
    totals = ledger.totals("plan-a", datetime.now(UTC), UTC)
    assert totals.rounds_phase == totals.rounds_month == totals.rounds_total == 2


@pytest.fixture(scope="module")
def long_ledger() -> Iterator[Ledger]:
    """100,000 entries over two years, of which only the last has a hash that fits; only `verify` would mind."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        path = Path(folder) / "ledger.db"
        Ledger(path)
        _fill(path)
        yield Ledger(path)


def _fill(path: Path) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    times = [(start + timedelta(minutes=20 * n)).isoformat(timespec="microseconds") for n in range(50_000)]
    filler = "0" * 64
    rows = [
        (
            *(2 * n + half, event, f"{filler}/{n}", filler, "instance", "pilot", n, 1, "train", mechanism),
            *(100 * (half - 1), "", "", times[n], filler, filler),
        )
        for n in range(50_000)
        for half, event, mechanism in ((1, "reserved", '{"steps":1}'), (2, "released", None))
    ]
    names = "entry event key plan_hash instance phase round attempt kind mechanism bytes digest note at previous"
    text = json.dumps(dict(zip(names.split(), rows[-1], strict=False)), sort_keys=True, separators=(",", ":"))
    rows[-1] = (*rows[-1][:-1], hashlib.sha256(text.encode()).hexdigest())
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(f"INSERT INTO entries VALUES ({', '.join('?' * 16)})", rows)
        connection.executemany("INSERT INTO replies VALUES (?, X'00')", [(f"{filler}/{n}",) for n in range(40)])


def quickest(work: Callable[[], object]) -> float:
    """Milliseconds, as the machine allows at its best."""

    def once() -> float:
        start = time.perf_counter()
        work()
        return (time.perf_counter() - start) * 1000

    return min(once() for _ in range(5))


def test_a_ledger_of_100_000_entries_is_read_and_written_in_milliseconds(long_ledger: Ledger) -> None:
    numbers = iter(range(1000))
    now = datetime.now(UTC)

    def release() -> None:
        key = f"new {next(numbers)}"
        long_ledger.reserve(release_of(0, key=key, instance="instance"))
        long_ledger.release(key, bytes(100_000))

    # Walking the whole table takes longer than any of these.
    assert quickest(lambda: long_ledger.find(f"{'0' * 64}/31234")) < 3
    assert quickest(lambda: long_ledger.totals("0" * 64, now, BERLIN)) < 30
    assert quickest(release) < 40
    assert quickest(lambda: long_ledger.acknowledge("instance", -1)) < 20
    assert quickest(long_ledger.head) < 3
    totals = long_ledger.totals("0" * 64, now, BERLIN)
    assert totals.rounds_phase == 50_000
