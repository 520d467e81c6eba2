"""What a bank changes at import so that its table says things as the consortium does: names, values, units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from fraudfl.config import ColumnMap, DataConfig, TableConfig
from fraudfl.config_file import load_yaml
from fraudfl.data.schema import validate
from fraudfl.data.sources import read_source
from fraudfl.errors import ConfigError, SchemaError

HEADER = "transaction_id,time,account,counterparty,amount,label,cur,kind,pts"
ROWS = ("1,2025-01-01,a,m,1050,ok,Euro,3,5", "2,2025-01-02,b,m,300,fraud,USD,4,", "3,2025-01-03,a,m,725,ok,,3,7")


def _csv(folder: Path) -> Path:
    path = folder / "t.csv"
    path.write_text("\n".join((HEADER, *ROWS)) + "\n")
    return path


def _load(config: TableConfig) -> pa.Table:
    source = read_source(config, Path())
    return validate(source.table, source.contract, where=source.origin)


def _config(path: Path, columns: dict[str, Any], **rest: Any) -> TableConfig:
    labels = {"label": {"ok": "0", "fraud": "1"}}
    return TableConfig(path=str(path), columns=ColumnMap(**columns), map=labels | rest.pop("map", {}), **rest)


def test_values_names_and_units_become_the_consortiums(tmp_path: Path) -> None:
    columns = {
        "currency": "cur",
        "categorical": ("channel",),
        "numeric": ("score",),
        "named": {"channel": "kind", "score": "pts"},
    }
    config = _config(
        _csv(tmp_path),
        columns,
        map={"currency": {"Euro": "EUR"}, "channel": {3: "web"}},
        scale={"amount": 0.01, "score": 10},
    )
    table = _load(config)
    assert table["amount"].to_pylist() == [10.5, 3.0, 7.25]
    assert table["currency"].to_pylist() == ["EUR", "USD", None]
    assert table["channel"].to_pylist() == ["web", "4", "web"]
    assert table["label"].to_pylist() == [0, 1, 0]
    assert table["score"].to_pandas().fillna(-1).tolist() == [50.0, -1.0, 70.0]


def test_columns_that_a_source_lacks_are_there_and_all_missing(tmp_path: Path) -> None:
    columns = {
        "categorical": ("channel",),
        "numeric": ("score",),
        "named": {"channel": None, "score": None, "currency": None},
    }
    source = read_source(_config(_csv(tmp_path), columns), Path())
    table = validate(source.table, source.contract, where=source.origin)
    assert source.contract.columns[-3:] == ("label", "score", "channel")
    assert source.contract.currency
    for name in ("channel", "currency"):
        assert table[name].to_pylist() == [None] * 3
        assert table[name].type == pa.string()
    assert table["score"].to_pandas().isna().all()


def test_a_bank_that_lacks_columns_has_the_contract_of_those_that_have_them(tmp_path: Path) -> None:
    full = {"currency": "cur", "categorical": ("kind",), "numeric": ("pts",)}
    less = {"categorical": ("kind",), "numeric": ("pts",), "named": {"kind": None, "pts": None, "currency": None}}
    path = _csv(tmp_path)
    contracts = [read_source(_config(path, columns), Path()).contract for columns in (full, less)]
    assert contracts[0] == contracts[1]


def test_numbers_of_parquet_are_mapped_and_scaled_too(tmp_path: Path) -> None:
    facts = {
        "transaction_id": [1, 2], "time": ["2025-01-01", "2025-01-02"], "account": ["a", "b"], "counterparty": [1, 1],
        "amount": pa.array([150, 250], pa.int32()), "label": pa.array(["n", "y"]).dictionary_encode(), "kind": [1, 2],
    }  # fmt: skip
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table(facts), path)
    config = TableConfig(
        format="parquet",
        path=str(path),
        columns=ColumnMap(categorical=("kind",)),
        map={"label": {"n": "0", "y": "1"}, "kind": {"1": "web"}},
        scale={"amount": 0.1},
    )
    table = _load(config)
    assert table["amount"].to_pylist() == pytest.approx([15.0, 25.0])
    assert (table["kind"].to_pylist(), table["label"].to_pylist()) == (["web", "2"], [0, 1])


def test_a_number_that_cannot_be_scaled_names_its_cell(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"{HEADER}\n{ROWS[0].replace('1050', 'ten')}\n")
    with pytest.raises(SchemaError, match=r"column 'amount' holds text \('ten'\) in row 1; expected a number"):
        _load(_config(path, {}, scale={"amount": 0.01}))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (
            {"map": {"chanel": {"a": "b"}}},
            "column 'chanel', which this table does not have as text; expected one of channel, label",
        ),
        ({"map": {"amount": {"a": "b"}}}, "`map` names column 'amount'"),
        ({"map": {"currency": {"a": "b"}}}, "`map` names column 'currency'"),
        (
            {"scale": {"channel": 2}},
            "column 'channel', which this table does not have as a number; expected one of amount",
        ),
        ({"scale": {"amount": 0}}, "greater than 0"),
        ({"columns": {"named": {"shop": "laden"}}}, "`named` has 'shop', which is neither among"),
        ({"columns": {"currency": "cur", "named": {"currency": None}}}, "`named` has 'currency'"),
    ],
)
def test_what_changes_no_column_of_the_table_is_refused(facts: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TableConfig.model_validate({"path": "t.csv", "columns": {"categorical": ["channel"]}} | facts)


def test_the_message_names_the_place_in_the_banks_own_file(tmp_path: Path) -> None:
    description = tmp_path / "data.yaml"
    description.write_text("source: table\ntable:\n  path: t.csv\n  scale: {amonut: 0.01}\n")
    with pytest.raises(ConfigError, match=r"(?s)data.yaml.*table.*`scale` names column 'amonut'.*amount"):
        load_yaml(description, DataConfig)
