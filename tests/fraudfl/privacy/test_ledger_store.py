"""The ledger's file: guarded, refused when it does not fit, and whole whatever is killed or runs beside it."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from fraudfl.errors import PrivacyError, ReleaseRefused
from fraudfl.privacy.ledger import Ledger, Release

CHILD = """
import os, sys
from pathlib import Path
from fraudfl.errors import ReleaseRefused
from fraudfl.privacy.ledger import Ledger, Release

def release_of(key):
    return Release(key=key, plan_hash="plan", instance="i", phase="pilot", round=1, attempt=1, kind="train",
                   mechanism={"steps": 1})

path, keys = Path(sys.argv[1]), sys.argv[2]
"""
# Reports a key only after `release` has returned.
ENDLESS = (
    CHILD
    + """
ledger, number = Ledger(path), 0
while True:
    key = f"{keys}-{number}"
    ledger.reserve(release_of(key))
    data = os.urandom(5000)
    ledger.release(key, data)
    print(key, data.hex(), flush=True)
    number += 1
"""
)
RACING = (
    CHILD
    + """
print("ready", flush=True)
sys.stdin.readline()
ledger = Ledger(path)
for number in range(25):
    for key in (f"{keys}-{number}", f"common-{number}"):
        ledger.reserve(release_of(key))
        data = os.urandom(50)
        try:
            ledger.release(key, data)
        except ReleaseRefused:
            continue
        print(key, data.hex(), flush=True)
"""
)


def release_of(key: str) -> Release:
    return Release(
        key=key,
        plan_hash="plan",
        instance="i",
        phase="pilot",
        round=1,
        attempt=1,
        kind="train",
        mechanism={"steps": 1},
    )


def child(code: str, path: Path, keys: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path), keys], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def reported(output: str) -> dict[str, bytes]:
    # The last line may have been cut by the kill.
    whole = [line.split() for line in output.split("\n")[:-1]]
    return {key: bytes.fromhex(data) for key, data in whole}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Ledger:
    ledger = Ledger(path)
    ledger.reserve(release_of("one"))
    ledger.release("one", b"1")
    return ledger


def test_after_a_kill_at_any_instant_the_chain_is_whole_and_every_reported_release_is_there(path: Path) -> None:
    moments = random.Random(7)
    done: dict[str, bytes] = {}
    for life in range(8):
        process = child(ENDLESS, path, f"life{life}")
        assert process.stdout is not None
        first = "".join(process.stdout.readline() for _ in range(moments.randint(1, 5)))
        time.sleep(moments.uniform(0.0, 0.02))
        os.kill(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        assert process.returncode == -signal.SIGKILL
        done |= reported(first + output)
        ledger = Ledger(path)
        ledger.verify()
        assert {key: ledger.kept(key) for key in done} == done
    entries = ledger.entries()
    released = {entry.key for entry in entries if entry.event == "released"}
    unfinished = {entry.key for entry in entries} - released
    assert len(done) >= 8
    assert 0 <= len(released) - len(done) <= 8  # written down, killed before it could be said
    assert len(ledger.mechanisms()) == len(released) + len(unfinished)
    for key in unfinished:
        ledger.release(key, b"late")
    assert len(ledger.mechanisms()) == len(released) + len(unfinished)
    ledger.verify()


def test_a_transaction_cut_in_the_middle_is_undone_by_the_next_to_open(ledger: Ledger, path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from fraudfl.privacy.ledger_store import Store

with Store(Path(sys.argv[1])).writing() as connection:
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("DELETE FROM replies")
    connection.execute("INSERT INTO replies VALUES ('half', zeroblob(5000000))")
    os.kill(os.getpid(), 9)
"""
    before, size = ledger.head(), path.stat().st_size
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    assert path.stat().st_size > size + 1_000_000  # half of it had reached the file
    again = Ledger(path)
    assert again.head() == before
    assert again.kept("half") is None
    assert again.kept("one") == b"1"
    again.verify()


def test_two_that_begin_the_same_ledger_at_once_begin_one(ledger: Ledger, path: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid"
        statements = [sql for (sql,) in connection.execute(query)]
    new = tmp_path / "new.db"
    new.touch()
    with closing(sqlite3.connect(new, isolation_level=None)) as first:
        first.execute("BEGIN IMMEDIATE")
        second = threading.Thread(target=lambda: Ledger(new).note("second"))
        second.start()
        time.sleep(0.2)  # it has seen an empty file, and waits to fill it
        for statement in [*statements, "PRAGMA user_version = 2"]:
            first.execute(statement)
        first.execute("COMMIT")
    second.join()
    Ledger(new).verify()
    assert Ledger(new).head()[0] == 1


def test_two_processes_at_once_leave_one_chain_and_one_release_per_key(path: Path) -> None:
    processes = [child(RACING, path, name) for name in ("left", "right")]
    for process in processes:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    outputs = [reported(process.communicate("go\n", timeout=60)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    won = outputs[0] | outputs[1]
    assert len(won) == len(outputs[0]) + len(outputs[1]) == 75  # each common key was released by one of them alone
    ledger = Ledger(path)
    ledger.verify()
    assert [entry.entry for entry in ledger.entries()] == list(range(1, 151))
    assert {key: ledger.kept(key) for key in won} == won
    assert len(ledger.mechanisms()) == 75


def test_threads_share_one_ledger(ledger: Ledger) -> None:
    def work(name: str) -> None:
        for number in range(10):
            ledger.reserve(release_of(f"{name}-{number}"))
            ledger.release(f"{name}-{number}", name.encode())

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.verify()
    assert ledger.head()[0] == 2 + 2 * 30


COPY = "SELECT {}, event, {}, plan_hash, instance, phase, round, attempt, kind, mechanism, bytes, digest, note, at,"
COPY += " previous, hash FROM entries WHERE entry = 1"


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE entries SET note = 'x' WHERE entry = 1", "never changed"),
        ("UPDATE entries SET entry = 9 WHERE entry = 2", "never changed"),
        ("DELETE FROM entries WHERE entry = 2", "never deleted"),
        ("DELETE FROM entries", "never deleted"),
        ("REPLACE INTO entries " + COPY.format(2, "'x'"), "only appended"),
        ("INSERT INTO entries " + COPY.format(0, "'x'"), "only appended"),
        ("INSERT INTO entries " + COPY.format("NULL", "'x'"), "only appended"),
        ("REPLACE INTO entries " + COPY.format(3, "key"), "reserved and released once"),
    ],
)
def test_the_file_itself_refuses_to_change_delete_or_repeat_entries(
    ledger: Ledger, path: Path, statement: str, reason: str
) -> None:
    before = ledger.entries()
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError, match=reason):
        connection.execute(statement)
    assert ledger.entries() == before


def test_a_ledger_of_the_earlier_version_is_refused_and_left_as_it_is(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE releases (entry INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE)")
    before = path.read_bytes()
    with pytest.raises(PrivacyError, match=r"ledger\.db: a ledger of an earlier version .*Move it aside"):
        Ledger(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_ledger_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE something (x)")
    with pytest.raises(PrivacyError, match="not a ledger of version 2"):
        Ledger(path)
    path.write_bytes(b"certainly no database" * 100)
    with pytest.raises(PrivacyError, match=r"cannot be used \(.*not a database"):
        Ledger(path)


def test_a_ledger_of_a_later_version_is_refused(ledger: Ledger, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA user_version = 3")
    with pytest.raises(PrivacyError, match=r"not a ledger of version 2 \(found 3"):
        Ledger(path)


@pytest.mark.parametrize(
    "guard",
    ["entries_are_not_changed", "entries_are_not_deleted", "entries_are_appended", "a_key_is_used_once"],
)
def test_a_ledger_whose_guards_were_taken_off_is_refused(ledger: Ledger, path: Path, guard: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"DROP TRIGGER {guard}")
    with pytest.raises(PrivacyError, match=f"`{guard}` is missing"):
        Ledger(path)
    with pytest.raises(PrivacyError, match=f"`{guard}` is missing"):
        ledger.verify()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"CREATE TRIGGER {guard} BEFORE UPDATE ON entries BEGIN SELECT 1; END")
    with pytest.raises(PrivacyError, match=f"`{guard}` was changed"):
        Ledger(path)


def test_a_ledger_whose_last_entry_was_altered_is_neither_opened_nor_written_on(ledger: Ledger, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        (name, guard) = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE name = 'entries_are_not_changed'"
        ).fetchone()
        connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE entries SET bytes = 0 WHERE entry = 2")
        connection.execute(guard)
    with pytest.raises(PrivacyError, match="the last entry, 2, was altered"):
        Ledger(path)
    with pytest.raises(PrivacyError, match="the last entry, 2, was altered"):
        ledger.reserve(release_of("two"))
    with pytest.raises(PrivacyError, match="the last entry, 2, was altered"):
        ledger.head()


def test_an_index_that_does_not_fit_its_table_is_found(ledger: Ledger, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        (table,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'entries_by_time'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    data = bytearray(path.read_bytes())
    page = data[(table - 1) * size : table * size]
    data[(table - 1) * size : table * size] = page.replace(b"released", b"refusedX")
    path.write_bytes(data)
    with pytest.raises(PrivacyError, match=r"damaged \(.*entries_by_time"):
        ledger.verify()


def test_a_ledger_that_was_moved_away_under_a_running_bank_is_not_begun_anew(ledger: Ledger, path: Path) -> None:
    path.rename(path.with_name("aside.db"))
    with pytest.raises(PrivacyError, match="cannot be used"):
        ledger.reserve(release_of("two"))
    assert not path.exists()


def test_what_cannot_be_written_is_not_released(ledger: Ledger, path: Path) -> None:
    ledger.reserve(release_of("two"))
    with closing(sqlite3.connect(path)) as connection, connection:
        full = "WHEN NEW.event = 'released' BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        connection.execute(f"CREATE TRIGGER full BEFORE INSERT ON entries {full}")
    with pytest.raises(PrivacyError, match=r"ledger\.db: the ledger cannot be used \(disk full\); nothing was written"):
        ledger.release("two", b"2")
    assert ledger.kept("two") is None  # the bytes went with the entry
    found = ledger.find("two")
    assert found is not None
    assert found.event == "reserved"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PrivacyError, match=r"nowhere/ledger\.db: the ledger cannot be opened"):
        Ledger(tmp_path / "nowhere" / "ledger.db")


def test_names_that_mean_something_in_a_uri_are_just_names(tmp_path: Path) -> None:
    folder = tmp_path / "bank #1?mode=memory%20"
    folder.mkdir()
    Ledger(folder / "ledger.db").note("here")
    assert Ledger(folder / "ledger.db").head()[0] == 1


def test_the_file_is_the_banks_own_and_whole_between_calls(ledger: Ledger, path: Path, tmp_path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    copy = tmp_path / "copy.db"
    copy.write_bytes(path.read_bytes())  # no other file is needed for a backup
    again = Ledger(copy)
    again.verify(known=ledger.head())
    assert again.kept("one") == b"1"


def test_what_is_written_while_the_file_is_held_is_there_for_others_at_once(ledger: Ledger, path: Path) -> None:
    with ledger.held(), ledger.held():
        written = ledger.note("mine")
        assert Ledger(path).head() == (written.entry, written.hash)
        Ledger(path).note("another's")
        assert ledger.head()[0] == written.entry + 1
        ledger.note("mine again")
    ledger.verify()


def test_a_file_put_in_place_of_a_held_one_is_the_one_that_is_asked(ledger: Ledger, path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_bytes(path.read_bytes())
    with ledger.held():
        ledger.reserve(Release(key="new", plan_hash="p", instance="i", phase="f", round=1, attempt=1, kind="train"))
        copy.replace(path)
        assert ledger.find("new") is None
        with pytest.raises(ReleaseRefused, match="was not reserved"):
            ledger.release("new", b"left")


def test_what_fails_while_the_file_is_held_leaves_nothing_behind(ledger: Ledger, path: Path) -> None:
    before = ledger.head()
    with ledger.held():
        with pytest.raises(ReleaseRefused):
            ledger.release("never reserved", b"data")
        assert ledger.head() == before
        ledger.note("next")
    assert Ledger(path).head()[0] == before[0] + 1


def test_another_thread_needs_no_care_while_the_file_is_held(ledger: Ledger, path: Path) -> None:
    with ledger.held():
        before = ledger.head()[0]
        thread = threading.Thread(target=lambda: ledger.note("from another thread"))
        thread.start()
        thread.join()
        assert ledger.head()[0] == before + 1
