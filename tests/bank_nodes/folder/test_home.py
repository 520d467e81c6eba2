"""A deployed bank's folder: its key, the operator's kit, and its data, none of which a mistake can spoil."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bank_nodes.folder.home import KIT, Home
from bank_nodes.rules.policy import read_policy
from fraudfl.errors import ConfigError, DataError, SchemaError, SourceError, TrustError
from fraudfl.trust.enrolment import make_enrolment, read_enrolment
from fraudfl.trust.keys import fingerprint, make_key, new_key
from server.trust.certificates import Hosts
from server.trust.pki import Pki


@dataclass
class Town:
    """An operator's keys and one bank's folder."""

    pki: Pki
    home: Home
    kit: Path

    def write_kit(self) -> Path:
        self.pki.write_kit(self.kit, "localhost", 9092)
        return self.kit

    @property
    def operator(self) -> str:
        return fingerprint(self.pki.operator)

    def taken(self) -> dict[str, bytes]:
        return {name: (self.home.path / name).read_bytes() for name in KIT if (self.home.path / name).exists()}


@pytest.fixture
def town(tmp_path: Path) -> Town:
    pki = Pki.create(tmp_path / "pki", "small", Hosts(("localhost",)))
    home = Home.create(tmp_path / "north", "north")
    pki.add(home.enrolment)
    made = Town(pki, home, tmp_path / "kit")
    made.write_kit()
    return made


def test_a_new_folder_has_a_key_that_is_its_owners_alone_and_a_policy_that_approves_nothing(tmp_path: Path) -> None:
    home = Home.create(tmp_path / "a" / "north", "north")
    assert stat.S_IMODE((home.path / "keys/bank.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((home.path / "keys").stat().st_mode) == 0o700
    assert read_enrolment(home.path / "enrolment.json").bank == "north"
    policy = read_policy(home.path)
    assert (policy.approve.automatic, policy.uncovered) == (False, ())
    assert Home(home.path).key().public_key() == home.key().public_key()


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    home = Home.create(tmp_path / "north", "north")
    before = (home.path / "keys/bank.key").read_bytes()
    with pytest.raises(TrustError, match="never overwritten"):
        Home.create(home.path, "north")
    assert (home.path / "keys/bank.key").read_bytes() == before
    assert Home(home.path).key()


def test_a_wrong_bank_id_leaves_nothing_that_stands_in_the_way_of_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="bank id 'Bank of the North'"):
        Home.create(tmp_path / "north", "Bank of the North")
    assert Home.create(tmp_path / "north", "north").key()


def test_a_policy_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("hours: {zone: Europe/Berlin}\n")
    Home.create(tmp_path, "north")
    assert read_policy(tmp_path).hours.zone == "Europe/Berlin"


def test_a_folder_that_nobody_made_is_no_home(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match=r"enrolment\.json"):
        Home(tmp_path)


def test_a_key_that_others_can_read_or_that_is_anothers_is_refused(tmp_path: Path) -> None:
    home = Home.create(tmp_path / "north", "north")
    path = home.path / "keys/bank.key"
    path.chmod(0o640)
    with pytest.raises(TrustError, match=r"0640.*chmod 600"):
        home.key()
    path.unlink()
    with pytest.raises(TrustError, match=r"bank\.key: cannot be read"):
        home.key()
    make_key(path)
    with pytest.raises(TrustError, match=r"is not the key in enrolment\.json"):
        home.key()


# The kit.


def test_the_kit_is_taken_when_the_operators_fingerprint_is_right(town: Town) -> None:
    roster = town.home.take_kit(town.kit, town.operator)
    assert [member.bank for member in roster.members] == ["north"]
    assert town.taken() == {name: (town.kit / name).read_bytes() for name in KIT}
    assert town.home.roster() == roster
    assert town.home.address() == "localhost:9092"
    assert town.home.ca() == (town.kit / "ca.pem").read_bytes()


@pytest.mark.parametrize("operator", [None, "", "SHA256:" + "A" * 43])
def test_a_kit_whose_operator_was_not_confirmed_is_not_taken(town: Town, operator: str | None) -> None:
    with pytest.raises(TrustError, match=r"has fingerprint SHA256:.*expected.*telephone.*--operator"):
        town.home.take_kit(town.kit, operator)
    assert town.taken() == {}
    with pytest.raises(TrustError, match="no kit yet"):
        town.home.roster()


def test_a_newer_kit_needs_no_fingerprint_and_an_older_one_is_refused(town: Town, tmp_path: Path) -> None:
    town.home.take_kit(town.kit, town.operator)
    older = {name: (town.kit / name).read_bytes() for name in KIT}
    town.pki.add(make_enrolment(new_key(), "south"))
    assert town.home.take_kit(town.write_kit(), None).number == 3
    (tmp_path / "old").mkdir()
    for name, data in older.items():
        (tmp_path / "old" / name).write_bytes(data)
    newer = town.taken()
    with pytest.raises(TrustError, match=r"roster 2 .* is older than the known roster 3"):
        town.home.take_kit(tmp_path / "old", town.operator)
    assert town.taken() == newer


def test_the_kit_of_another_operator_is_refused_also_with_its_own_fingerprint(town: Town, tmp_path: Path) -> None:
    town.home.take_kit(town.kit, town.operator)
    before = town.taken()
    other = Pki.create(tmp_path / "other", "small", Hosts(("localhost",)))
    other.add(town.home.enrolment)
    other.write_kit(town.kit)
    with pytest.raises(TrustError, match="is not the operator's key that was taken first; nothing was changed"):
        town.home.take_kit(town.kit, fingerprint(other.operator))
    assert town.taken() == before


def test_a_kit_that_names_another_key_for_this_bank_or_none_is_refused(town: Town) -> None:
    town.pki.replace(make_enrolment(new_key(), "north"))
    with pytest.raises(TrustError, match="has another key for 'north' than ours; nothing was changed"):
        town.home.take_kit(town.write_kit(), town.operator)
    town.pki.remove("north")
    with pytest.raises(TrustError, match="bank north is not on roster"):
        town.home.take_kit(town.write_kit(), town.operator)
    assert town.taken() == {}


def test_an_edited_roster_is_refused(town: Town) -> None:
    path = town.kit / "roster.json"
    path.write_text(path.read_text().replace('"north"', '"north2"'))
    with pytest.raises(TrustError, match=r"kit/roster\.json"):
        town.home.take_kit(town.kit, town.operator)
    assert town.taken() == {}


@pytest.mark.parametrize(
    ("name", "spoil", "told"),
    [
        ("ca.pem", lambda data: data.replace(b"A", b"B", 1), "vouches for another CA"),
        ("coordinator.json", lambda data: data.replace(b"localhost", b"elsewhere"), "place"),
    ],
)
def test_a_kit_with_another_ca_or_another_address_than_the_operator_signed_is_refused(
    town: Town, name: str, spoil: Callable[[bytes], bytes], told: str
) -> None:
    path = town.kit / name
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(TrustError, match=told):
        town.home.take_kit(town.kit, town.operator)
    assert not (town.home.path / "ca.pem").exists()


@pytest.mark.parametrize("missing", KIT)
def test_a_kit_with_a_file_missing_is_not_taken_in_part(town: Town, missing: str) -> None:
    (town.kit / missing).unlink()
    with pytest.raises(TrustError, match=rf"{missing}: cannot be read.*Nothing was changed"):
        town.home.take_kit(town.kit, town.operator)
    assert town.taken() == {}


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"adress": "x:1"}'])
def test_a_damaged_address_is_told_with_its_file(town: Town, text: str) -> None:
    town.home.take_kit(town.kit, town.operator)
    (town.home.path / "coordinator.json").write_text(text)
    with pytest.raises(TrustError, match=r"coordinator\.json: does not say where.*take the kit again"):
        town.home.address()
    (town.home.path / "ca.pem").unlink()
    with pytest.raises(TrustError, match=r"ca\.pem: cannot be read.*take the kit again"):
        town.home.ca()


# Data.

ROWS = ("1,2025-01-01 10:00:00,a,m1,10.50,0", "2,2025-01-01 11:00:00,b,m2,3,1", "3,2025-01-02 00:00:00,a,m1,7.25,0")


def description(folder: Path, *rows: str) -> Path:
    header = "transaction_id,time,account,counterparty,amount,label"
    (folder / "t.csv").write_text("\n".join((header, *rows)) + "\n")
    path = folder / "data.yaml"
    path.write_text("source: table\ntable: {path: t.csv}\n")
    return path


def test_data_that_keeps_the_contract_is_imported_and_replaces_what_was_there(town: Town, tmp_path: Path) -> None:
    filled = town.home.import_data(description(tmp_path, *ROWS))
    assert filled.bank == "north"
    assert filled.table()["amount"].to_pylist() == [10.5, 3.0, 7.25]
    assert town.home.import_data(description(tmp_path, *ROWS[:2])).table().num_rows == 2


@pytest.mark.parametrize("bad", ['4,2025-01-03 09:00:00,a,m,"12,50",0', "4,2025-01-03 09:00:00,a,m,2,maybe"])
def test_a_broken_file_names_row_and_column_and_leaves_the_data_that_was_there(
    town: Town, tmp_path: Path, bad: str
) -> None:
    town.home.import_data(description(tmp_path, *ROWS))
    kept = (town.home.path / "transactions.parquet").read_bytes()
    with pytest.raises(SchemaError, match=r"t\.csv: column '(amount|label)' .* in row 4"):
        town.home.import_data(description(tmp_path, *ROWS, bad))
    assert (town.home.path / "transactions.parquet").read_bytes() == kept
    assert json.loads((town.home.path / "bank.json").read_text())["bank"] == "north"


def test_a_missing_source_and_a_wrong_description_are_told_apart(town: Town, tmp_path: Path) -> None:
    path = description(tmp_path, *ROWS)
    (tmp_path / "t.csv").unlink()
    with pytest.raises(SourceError, match=r"t\.csv"):
        town.home.import_data(path)
    path.write_text("source: tabel\n")
    with pytest.raises(ConfigError, match=r"data\.yaml, line 1: source"):
        town.home.import_data(path)


def test_another_banks_data_in_this_banks_folder_is_refused(town: Town, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"bank\.json"):
        town.home.own_data()
    town.home.import_data(description(tmp_path, "1,2025-01-01 08:00:00,1,1,10.00,0"))
    assert town.home.own_data().bank == town.home.bank
    path = town.home.path / "bank.json"
    path.write_text(path.read_text().replace(f'"{town.home.bank}"', '"another"'))
    with pytest.raises(DataError, match="belongs to bank 'another', this folder to 'north'"):
        town.home.own_data()
