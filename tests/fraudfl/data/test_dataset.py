"""Loading a data set by its configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from fraudfl.config import DataConfig, GeneratorConfig, TableConfig
from fraudfl.data.dataset import load_dataset
from fraudfl.data.schema import validate
from fraudfl.errors import ConfigError, SchemaError

TEXT = "transaction_id,time,account,counterparty,amount,label\n1,2025-01-01,a,m,1.5,0\n"


def test_generated_data_keep_their_contract_and_name_banks() -> None:
    config = DataConfig(generator=GeneratorConfig(banks=3, transactions=2_000, days=20))
    dataset = load_dataset(config, seed=5)
    again = validate(dataset.table, dataset.contract, where="again")
    assert again.equals(dataset.table)
    assert "bank" in dataset.table.column_names
    assert dataset.table.equals(load_dataset(config, seed=5).table)


def test_a_users_table_is_read_from_the_configurations_folder(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(TEXT)
    dataset = load_dataset(DataConfig(source="table", table=TableConfig(path="t.csv")), seed=1, base=tmp_path)
    assert dataset.table["amount"].to_pylist() == [1.5]
    assert dataset.contract.kind == "transactions"


def test_the_path_given_beside_the_table_wins(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text(TEXT.replace("1.5", "2.5"))
    config = DataConfig(source="table", path="other.csv", table=TableConfig(path="t.csv"))
    assert load_dataset(config, seed=1, base=tmp_path).table["amount"].to_pylist() == [2.5]


def test_a_users_table_is_checked(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(TEXT.replace(",0\n", ",3\n"))
    with pytest.raises(SchemaError, match="column 'label' holds 3 in row 1"):
        load_dataset(DataConfig(source="table", table=TableConfig(path="t.csv")), seed=1, base=tmp_path)


def test_a_public_set_needs_its_path() -> None:
    with pytest.raises(ConfigError, match="--data handbook:PATH"):
        load_dataset(DataConfig(source="handbook"), seed=1)
