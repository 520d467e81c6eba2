"""From one data set to bank folders: all of them or none."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from memory_fleet import tiny_config

from bank_nodes.gate.sealing import roster_of
from fraudfl.config import DataConfig, FraudflConfig, PartitionConfig, TableConfig
from fraudfl.data.dataset import load_dataset
from fraudfl.errors import DataError, SchemaError, TrustError
from fraudfl.folder import BankFolder
from fraudfl.trust.keys import load_key, public_text
from server.local.banks import create_banks
from server.store.workspace import Workspace
from server.trust.pki import Pki


def test_every_transaction_goes_to_one_bank_and_none_is_lost(tmp_path: Path) -> None:
    config = tiny_config(banks=3)
    ids = create_banks(config, Workspace(tmp_path), tmp_path)
    assert ids == ["bank-01", "bank-02", "bank-03"] == Workspace(tmp_path).bank_ids()
    whole = load_dataset(config.data, seed=config.consortium.seed).table
    parts = [BankFolder(tmp_path / "banks" / bank).table() for bank in ids]
    together = pa.concat_tables(parts).column("transaction_id").to_pylist()
    assert sorted(together) == sorted(whole.column("transaction_id").to_pylist())
    assert all(part["time"].to_pylist() == sorted(part["time"].to_pylist()) for part in parts)


def test_accounts_stay_at_one_bank_when_split_by_their_hash(tmp_path: Path) -> None:
    config = tiny_config(banks=3).model_copy(update={"banks": PartitionConfig(by="account-hash", count=4)})
    ids = create_banks(config, Workspace(tmp_path), tmp_path)
    assert len(ids) == 4
    accounts = [set(BankFolder(tmp_path / "banks" / bank).table()["account"].to_pylist()) for bank in ids]
    assert sum(map(len, accounts)) == len(set().union(*accounts))


def own_table(folder: Path, text: str) -> FraudflConfig:
    (folder / "t.csv").write_text(text)
    data = DataConfig(source="table", table=TableConfig(path="t.csv"))
    return tiny_config().model_copy(update={"data": data, "banks": PartitionConfig(by="account-hash", count=2)})


HEADER = "transaction_id,time,account,counterparty,amount,label\n"


def test_bad_data_makes_no_folder_at_all(tmp_path: Path) -> None:
    config = own_table(tmp_path, HEADER + "1,2025-01-10,a,m,1.5,0\n1,2025-02-20,b,m,2.5,1\n")
    with pytest.raises(SchemaError, match="transaction_id"):
        create_banks(config, Workspace(tmp_path / "w"), tmp_path)
    assert not (tmp_path / "w" / "banks").exists()


def test_data_outside_the_split_is_refused(tmp_path: Path) -> None:
    config = own_table(tmp_path, HEADER + "1,2019-01-10,a,m,1.5,0\n2,2019-02-20,b,m,2.5,1\n")
    with pytest.raises(DataError):
        create_banks(config, Workspace(tmp_path / "w"), tmp_path)
    assert not (tmp_path / "w" / "banks").exists()


def test_what_a_crash_left_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".banks.part" / "bank-99").mkdir(parents=True)
    assert create_banks(tiny_config(banks=2), Workspace(tmp_path), tmp_path) == ["bank-01", "bank-02"]
    assert not (tmp_path / ".banks.part").exists()


def test_simulated_banks_are_on_a_roster_that_each_can_check_with_the_operators_key_it_pinned(tmp_path: Path) -> None:
    config = tiny_config(banks=3)
    for number in (2, 3):  # the second time, with new keys of the banks, the operator stays
        ids = create_banks(config, Workspace(tmp_path), tmp_path)
        rosters = [roster_of(tmp_path / "banks" / bank) for bank in ids]
        assert {roster.number for roster in rosters} == {number}
        for bank in ids:
            folder = tmp_path / "banks" / bank
            assert rosters[0].member(bank).public_key == public_text(load_key(folder / "keys" / "bank.key"))
            assert (folder / "operator.pub").read_text().strip() == Pki(tmp_path / "coordinator" / "pki").operator
        assert [member.bank for member in rosters[0].members] == ids
    (tmp_path / "banks" / "bank-01" / "roster.json").write_bytes(b"{}")
    with pytest.raises(TrustError, match=r"roster\.json"):
        roster_of(tmp_path / "banks" / "bank-01")
