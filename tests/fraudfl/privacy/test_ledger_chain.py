"""The chain: no field of any entry can change, and none can vanish or move, without being named."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fraudfl.errors import PrivacyError
from fraudfl.privacy.ledger import Ledger, Release, verify_lines

COUNT = 14
COLUMNS = (
    *("entry", "event", "key", "plan_hash", "instance", "phase", "round", "attempt", "kind", "mechanism"),
    *("bytes", "digest", "note", "at", "previous", "hash"),
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with every event, and a gap between entries 9 and 17."""
    path = tmp_path_factory.mktemp("original") / "ledger.db"
    ledger = Ledger(path)
    releases = [
        Release(
            key=f"key-{number}",
            plan_hash="plan",
            instance="instance",
            phase="pilot",
            round=number,
            attempt=1,
            kind="train",
            mechanism={"steps": number} if number % 2 else None,
        )
        for number in range(1, 5)
    ]
    for release in releases[:3]:
        ledger.reserve(release)
        ledger.release(release.key, release.key.encode())
    ledger.resent("key-1")
    ledger.refuse(releases[3], "closed till 22:00")
    ledger.note("approved by Ada")
    ledger.restore(16, [{"steps": 5}, {"steps": 6}], "from the backup of Sunday")
    ledger.reserve(releases[3])
    ledger.release("key-4", b"four")
    ledger.note("the end")
    assert [entry.entry for entry in ledger.entries()] == [*range(1, 10), *range(17, 22)]
    ledger.verify()
    return path


@pytest.fixture(scope="module")
def copies(original: Path) -> Iterator[Callable[[], Path]]:
    # In memory, where there is one: hundreds of forgeries need no disk.
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        path = Path(folder) / "ledger.db"

        def copy() -> Path:
            shutil.copy(original, path)
            return path

        yield copy


@contextmanager
def unguarded(path: Path) -> Iterator[sqlite3.Connection]:
    """What a forger with the file in hand does: guards off, edit, guards on again."""
    with closing(sqlite3.connect(path)) as connection, connection:
        guards = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in guards:
            connection.execute(f"DROP TRIGGER {name}")
        yield connection
        for _, statement in guards:
            connection.execute(statement)


def rows(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(f"SELECT {', '.join(COLUMNS)} FROM entries ORDER BY entry").fetchall()


def hashed(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row with the hash that fits it, written from the definition, not by the code under test."""
    facts = dict(zip(COLUMNS[:-1], row[:-1], strict=True))
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return (*row[:-1], hashlib.sha256(text.encode()).hexdigest())


def lines_of(path: Path) -> list[str]:
    return list(Ledger(path).export_lines())


def test_each_hash_is_the_sha_256_of_the_canonical_json_and_names_the_one_before(original: Path) -> None:
    with closing(sqlite3.connect(original)) as connection:
        found = rows(connection)
    assert len(found) == COUNT
    assert found == [hashed(row) for row in found]
    assert [row[-2] for row in found] == ["0" * 64, *(row[-1] for row in found[:-1])]


VALUES = st.one_of(
    st.none(),
    st.integers(-3, 30),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.sampled_from(["reserved", "released", "restored", "noted", "key-1", '{"steps":1}', '{"steps": 1}', "0" * 64]),
)


@settings(max_examples=150, deadline=None)
@example(place=COUNT - 1, column="entry", value=0)
@example(place=COUNT - 1, column="entry", value=-(2**63))
@given(place=st.integers(0, COUNT - 1), column=st.sampled_from(COLUMNS), value=VALUES)
def test_any_change_of_any_field_of_any_entry_is_found_and_named(
    copies: Callable[[], Path], place: int, column: str, value: Any
) -> None:
    path = copies()
    ledger = Ledger(path)
    with unguarded(path) as connection:
        before = rows(connection)
        entry = before[place][0]
        with suppress(sqlite3.IntegrityError):  # the table itself refuses NULL and used numbers
            connection.execute(f"UPDATE entries SET {column} = ? WHERE entry = ?", (value, entry))
        connection.text_factory = bytes
        after = rows(connection)
    encoded = [tuple(v.encode() if isinstance(v, str) else v for v in row) for row in before]
    assume(list(map(repr, encoded)) != list(map(repr, after)))
    named = rf"entry {entry} was altered|entries 10 to 16 are missing, and entry {entry} "
    with pytest.raises(PrivacyError, match=r"missing|stands after|altered" if column == "entry" else named):
        ledger.verify()


@pytest.mark.parametrize("place", range(COUNT))
def test_text_that_is_no_utf_8_is_named_as_an_altered_entry(copies: Callable[[], Path], place: int) -> None:
    path = copies()
    ledger = Ledger(path)
    with unguarded(path) as connection:
        entry = rows(connection)[place][0]
        connection.execute("UPDATE entries SET note = CAST(X'FF41' AS TEXT) WHERE entry = ?", (entry,))
    with pytest.raises(PrivacyError, match=f"entry {entry} was altered"):
        ledger.verify()


@pytest.mark.parametrize("place", range(COUNT))
def test_a_missing_entry_is_named_or_else_known_to_be_gone_at_the_end(copies: Callable[[], Path], place: int) -> None:
    path = copies()
    ledger = Ledger(path)
    known = ledger.head()
    with unguarded(path) as connection:
        entry = rows(connection)[place][0]
        connection.execute("DELETE FROM entries WHERE entry = ?", (entry,))
    if place == COUNT - 1:
        ledger.verify()  # nothing inside the file can tell
        with pytest.raises(PrivacyError, match=f"entry {known[0]} with hash {known[1][:12]}.* was seen before"):
            ledger.verify(known)
    elif entry == 17:
        with pytest.raises(PrivacyError, match="entries 10 to 17 are missing, and entry 18 does not record"):
            ledger.verify()
    else:
        missing = "entries 9 to 16 are missing" if entry == 9 else f"entry {entry} is missing"
        with pytest.raises(PrivacyError, match=missing):
            ledger.verify()


@pytest.mark.parametrize("place", range(COUNT))
def test_an_entry_with_a_new_note_and_a_hash_that_fits_breaks_the_chain_after_it(
    copies: Callable[[], Path], place: int
) -> None:
    path = copies()
    ledger = Ledger(path)
    known = ledger.head()
    with unguarded(path) as connection:
        row = list(rows(connection)[place])
        row[COLUMNS.index("note")] = "forged"
        forged = hashed(tuple(row))
        connection.execute("UPDATE entries SET note = 'forged', hash = ? WHERE entry = ?", (forged[-1], row[0]))
    with pytest.raises(PrivacyError, match=f"does not follow entry {row[0]}|{known[0]} with hash"):
        ledger.verify(known)


def test_a_chain_written_anew_from_some_entry_on_is_told_by_who_has_seen_the_old_one(
    copies: Callable[[], Path],
) -> None:
    path = copies()
    ledger = Ledger(path)
    known = ledger.head()
    previous = "0" * 64
    with unguarded(path) as connection:
        for row in rows(connection):
            anew = list(row)
            anew[COLUMNS.index("mechanism")] = None
            anew[COLUMNS.index("previous")] = previous
            previous = hashed(tuple(anew))[-1]
            connection.execute(
                "UPDATE entries SET mechanism = NULL, previous = ?, hash = ? WHERE entry = ?",
                (anew[-2], previous, row[0]),
            )
    ledger.verify()
    with pytest.raises(PrivacyError, match="written anew"):
        ledger.verify(known)


def test_a_gap_that_no_restoration_recorded_is_refused_even_when_the_chain_fits(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger(path)
    ledger.note("one")
    with closing(sqlite3.connect(path)) as connection, connection:
        (row,) = rows(connection)
        for event, key in (("noted", ""), ("restored", "gap/2/3"), ("noted", "gap/2/4")):
            jumped = hashed((5, event, key, *row[3:14], row[-1], ""))
            connection.execute(f"INSERT INTO entries VALUES ({', '.join('?' * 16)})", jumped)
            connection.commit()
            with pytest.raises(PrivacyError, match="entries 2 to 4 are missing"):
                ledger.verify()
            with unguarded(path) as forger:
                forger.execute("DELETE FROM entries WHERE entry = 5")


def test_a_release_that_was_never_reserved_or_came_twice_is_refused_even_when_the_chain_fits(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger(path)
    ledger.note("one")
    lines = [json.loads(line) for line in ledger.export_lines()]

    def followed_by(*events: str) -> list[str]:
        chain = [dict(lines[0])]
        for event in events:
            facts = chain[-1] | {
                "entry": chain[-1]["entry"] + 1,
                "event": event,
                "key": "k",
                "previous": chain[-1]["hash"],
            }
            row = hashed(tuple(facts[name] for name in COLUMNS))
            chain.append(facts | {"hash": row[-1]})
        return [json.dumps(facts) for facts in chain]

    verify_lines(followed_by("reserved", "released", "resent", "resent"))
    for events, reason in (
        (("released",), "entry 2 was put in: its key 'k' was never reserved"),
        (("reserved", "reserved"), "entry 3 was put in: its key 'k' was reserved before"),
        (("reserved", "released", "released"), "entry 4 was put in: its key 'k' was released before"),
        (("invented",), "'invented' is no event"),
    ):
        with pytest.raises(PrivacyError, match=reason):
            verify_lines(followed_by(*events))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("previous", 5),
        ("key", ["k"]),
        ("event", {}),
        ("note", None),
        ("round", 1.0),
        ("bytes", True),
        ("mechanism", {}),
    ],
)
def test_lines_of_other_types_are_refused_even_when_their_hash_fits(original: Path, column: str, value: Any) -> None:
    facts = json.loads(lines_of(original)[0]) | {column: value}
    facts["hash"] = hashed(tuple(facts[name] for name in COLUMNS))[-1]
    with pytest.raises(PrivacyError, match="entry 1 was altered"):
        verify_lines([json.dumps(facts)])


def test_exported_lines_are_checked_without_the_file(original: Path) -> None:
    lines = lines_of(original)
    assert [json.loads(line)["entry"] for line in lines] == [*range(1, 10), *range(17, 22)]
    assert verify_lines(lines) == Ledger(original).head()
    assert verify_lines(f"{line}\n" for line in lines) == Ledger(original).head()
    assert verify_lines([]) == (0, "0" * 64)
    verify_lines(lines, known=Ledger(original).head())


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_lines_that_were_dropped_moved_repeated_or_edited_are_refused(original: Path, data: st.DataObject) -> None:
    lines = lines_of(original)
    known = Ledger(original).head()
    how = data.draw(st.sampled_from(["drop", "swap", "repeat", "edit"]))
    place = data.draw(st.integers(0, COUNT - 1))
    changed = list(lines)
    if how == "drop":
        del changed[place]
    elif how == "swap":
        another = data.draw(st.integers(0, COUNT - 1))
        assume(another != place)
        changed[place], changed[another] = changed[another], changed[place]
    elif how == "repeat":
        changed.insert(data.draw(st.integers(0, COUNT)), lines[place])
    else:
        at = data.draw(st.integers(0, len(lines[place]) - 1))
        character = data.draw(st.characters(codec="ascii"))
        changed[place] = lines[place][:at] + character + lines[place][at + 1 :]
        with suppress(ValueError):
            assume(repr(json.loads(changed[place])) != repr(json.loads(lines[place])))
    with pytest.raises(PrivacyError, match=r"entry|entries|line"):
        verify_lines(changed, known)


def test_lines_out_of_order_are_named_as_such(original: Path) -> None:
    first, second, third, *_ = lines_of(original)
    for lines, reason in (
        ([first, second, first], "entry 1 stands after entry 2"),
        ([first, second, second], "entry 2 stands after entry 2"),
        ([first, third, second], "entry 2 is missing, and entry 3"),
    ):
        with pytest.raises(PrivacyError, match=reason):
            verify_lines(lines)


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (lambda line: "not json", "line 1 is no ledger entry"),
        (lambda line: "[]", "line 1 is no ledger entry; expected an object"),
        (lambda line: line.replace('"note"', '"node"'), "line 1 is no ledger entry; expected an object"),
        (lambda line: line.replace('"round":1', '"round":1,"round":1'), "a field is there twice"),
        (lambda line: line.replace('"round":1', '"round":1.0'), "entry 1 was altered"),
        (lambda line: line.replace('"round":1', '"round":true'), "entry 1 was altered"),
        (lambda line: line.replace('"entry":1', '"entry":"1"'), "number is '1'"),
    ],
)
def test_lines_that_two_readers_could_read_differently_are_refused(
    original: Path, first: Callable[[str], str], reason: str
) -> None:
    lines = lines_of(original)
    changed = first(lines[0])
    assert changed != lines[0]
    with pytest.raises(PrivacyError, match=reason):
        verify_lines([changed, *lines[1:]])
