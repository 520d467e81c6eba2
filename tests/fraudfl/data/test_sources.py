"""A user's own table from CSV, Parquet, SQLite and PostgreSQL."""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraudfl.config import ColumnMap, TableConfig
from fraudfl.data.schema import validate
from fraudfl.data.sources import read_source
from fraudfl.errors import ConfigError, SchemaError, SourceError

HEADER = "transaction_id,time,account,counterparty,amount,label"
ROWS = ("1,2025-01-01 10:00:00,a,m1,10.50,0", "2,2025-01-01 11:00:00,b,m2,3,1", "3,2025-01-02T00:00:00,a,m1,7.25,0")


def _load(config: TableConfig, base: Path = Path()) -> pa.Table:
    source = read_source(config, base)
    return validate(source.table, source.contract, where=source.origin)


def _csv(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


def test_a_csv_file_is_read_with_the_default_names(tmp_path: Path) -> None:
    _csv(tmp_path / "t.csv", *ROWS)
    table = _load(TableConfig(path="t.csv"), tmp_path)
    assert table.to_pylist()[1] == {
        "transaction_id": 2, "time": datetime(2025, 1, 1, 11), "account": "b", "counterparty": "m2", "amount": 3.0,
        "label": 1,
    }  # fmt: skip


def test_ids_with_leading_zeros_stay_text(tmp_path: Path) -> None:
    rows = ("1,2025-01-01,007,1,1,0", "2,2025-01-01,7,2,1,0")
    table = _load(TableConfig(path=str(_csv(tmp_path / "t.csv", *rows))))
    assert table["account"].to_pylist() == ["007", "7"]
    assert table["counterparty"].to_pylist() == [1, 2]


def test_a_mapped_german_file_is_read(tmp_path: Path) -> None:
    path = _csv(
        tmp_path / "t.csv",
        "A1;31.01.2025 12:30:00;9;8;12,50;1;EUR;3,5",
        header="Nr;Zeit;Konto;Shop;Betrag;Betrug;W;Alter",
    )
    columns = ColumnMap(
        transaction_id="Nr", time="Zeit", account="Konto", counterparty="Shop", amount="Betrag", label="Betrug",
        currency="W", numeric=("Alter",),
    )  # fmt: skip
    config = TableConfig(path=str(path), delimiter=";", decimal=",", time_format="%d.%m.%Y %H:%M:%S", columns=columns)
    row = _load(config).to_pylist()[0]
    assert (row["amount"], row["Alter"], row["time"]) == (12.5, 3.5, datetime(2025, 1, 31, 12, 30))
    assert list(row) == ["transaction_id", "time", "account", "counterparty", "amount", "currency", "label", "Alter"]


def test_text_in_a_number_names_file_row_and_the_files_own_column(tmp_path: Path) -> None:
    _csv(tmp_path / "a.csv", *ROWS)
    _csv(tmp_path / "b.csv", "4,2025-01-03,a,m,1,0", '5,2025-01-03,a,m,"12,50",0')
    with pytest.raises(
        SchemaError, match=r"b.csv: column 'amount' holds text \('12,50'\) in row 2; expected a number"
    ) as e:
        _load(TableConfig(path=str(tmp_path)))
    assert 'Set `decimal: ","`' in str(e.value)


def test_a_thousands_mark_beside_a_decimal_comma_is_not_guessed(tmp_path: Path) -> None:
    path = _csv(tmp_path / "t.csv", "1;2025-01-01;a;m;1.234;0", header=HEADER.replace(",", ";"))
    with pytest.raises(SchemaError, match=r"holds text \('1.234'\) in row 1"):
        _load(TableConfig(path=str(path), delimiter=";", decimal=","))


def test_a_time_that_is_none_names_the_row(tmp_path: Path) -> None:
    path = _csv(tmp_path / "t.csv", *ROWS, "4,yesterday,a,m,1,0")
    with pytest.raises(SchemaError, match=r"column 'time' holds text \('yesterday'\) in row 4; expected a time like"):
        _load(TableConfig(path=str(path)))
    with pytest.raises(SchemaError, match=r"column 'time' holds text \('yesterday'\) in row 4"):
        _load(TableConfig(path=str(path), time_format="ISO8601"))


@pytest.mark.parametrize("amount", ["", "NaN", "null", "N/A"])
def test_a_missing_amount_names_the_row(tmp_path: Path, amount: str) -> None:
    path = _csv(tmp_path / "t.csv", *ROWS, f"4,2025-01-03,a,m,{amount},0")
    with pytest.raises(SchemaError, match=r"column 'amount' is missing \(NaN\) in row 4"):
        _load(TableConfig(path=str(path)))


def test_a_missing_column_is_named_with_its_file(tmp_path: Path) -> None:
    _csv(tmp_path / "a.csv", *ROWS)
    _csv(tmp_path / "b.csv", "1,2", header="transaction_id,betrag")
    with pytest.raises(SchemaError, match=r"b.csv: there is no column 'time', .*; found transaction_id, betrag"):
        _load(TableConfig(path=str(tmp_path / "*.csv")))


def test_a_wrong_delimiter_is_hinted_at(tmp_path: Path) -> None:
    path = _csv(tmp_path / "t.csv", *ROWS)
    with pytest.raises(SchemaError, match="Check the delimiter"):
        _load(TableConfig(path=str(path), delimiter=";"))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_empty_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"t.{kind}"
    path.touch()
    with pytest.raises(SourceError, match=rf"t.{kind}: the file is empty \(0 bytes\)"):
        _load(TableConfig(path=str(path), format=kind))  # type: ignore[arg-type]


def test_a_header_alone_holds_no_rows(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"t.csv: there are no rows"):
        _load(TableConfig(path=str(_csv(tmp_path / "t.csv"))))


def test_a_row_cut_short_is_named(tmp_path: Path) -> None:
    path = _csv(tmp_path / "t.csv", *ROWS, "4,2025-01-0")
    with pytest.raises(SourceError, match=r"t.csv: row 4 has 2 fields, not 6"):
        _load(TableConfig(path=str(path)))


def test_text_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes((HEADER + "\n1,2025-01-01,M\xfcller,m,1,0\n").encode("latin-1"))
    with pytest.raises(SourceError, match="expected UTF-8"):
        _load(TableConfig(path=str(path)))


def test_a_byte_order_mark_and_gzip_do_no_harm(tmp_path: Path) -> None:
    text = "\n".join((HEADER, *ROWS)).encode("utf-8-sig")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text))
    assert _load(TableConfig(path=str(tmp_path / "t.csv.gz"))).num_rows == 3


def test_a_quoted_line_break_stays_in_its_field(tmp_path: Path) -> None:
    path = _csv(tmp_path / "t.csv", '1,2025-01-01,a,"m\n1",1,0')
    assert _load(TableConfig(path=str(path)))["counterparty"].to_pylist() == ["m\n1"]


@pytest.mark.parametrize("path", ["nothing.csv", "none/*.csv"])
def test_nothing_there_is_said(tmp_path: Path, path: str) -> None:
    with pytest.raises(SourceError, match="no csv file is there"):
        _load(TableConfig(path=path), tmp_path)


def test_a_pickle_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "t.pkl").write_bytes(b"\x80\x04.")
    with pytest.raises(SourceError, match=r"pickles are not read.*to_parquet"):
        _load(TableConfig(path=str(tmp_path / "t.pkl"), format="parquet"))


def _parquet(path: Path, first: int, rows: int) -> None:
    start = datetime(2025, 1, 1)
    numbers = range(first, first + rows)
    table = pa.table({
        "transaction_id": list(numbers), "time": [start + timedelta(hours=n) for n in numbers], "account": ["x"] * rows,
        "counterparty": list(numbers), "amount": [float(n) for n in numbers], "label": [0] * rows,
        "Land": ["EG"] * rows,
    })  # fmt: skip
    pq.write_table(table, path)


@pytest.mark.parametrize("place", ["", "*.parquet", "p[12].parquet"])
def test_parquet_folders_and_globs_are_put_together(tmp_path: Path, place: str) -> None:
    _parquet(tmp_path / "p1.parquet", 0, 5)
    _parquet(tmp_path / "p2.parquet", 5, 4)
    columns = ColumnMap(region="Land")
    table = _load(TableConfig(path=str(tmp_path / place), format="parquet", columns=columns))
    assert table["transaction_id"].to_pylist() == list(range(9))
    assert set(table["region"].to_pylist()) == {"EG"}


def test_a_truncated_parquet_file_is_named(tmp_path: Path) -> None:
    _parquet(tmp_path / "p1.parquet", 0, 5)
    _parquet(tmp_path / "p2.parquet", 5, 500)
    whole = (tmp_path / "p2.parquet").read_bytes()
    (tmp_path / "p2.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match=r"p2.parquet: not a complete Parquet file"):
        _load(TableConfig(path=str(tmp_path), format="parquet"))


def test_a_damaged_parquet_page_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    _parquet(path, 0, 500)
    data = bytearray(path.read_bytes())
    data[10:400] = bytes(390)
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"p.parquet: not a complete Parquet file"):
        _load(TableConfig(path=str(path), format="parquet"))


def test_a_features_table_needs_only_its_label(tmp_path: Path) -> None:
    path = _csv(tmp_path / "t.csv", "0.5,web,1", "nan,,0", header="x,kind,label")
    config = TableConfig(kind="features", path=str(path), columns=ColumnMap(numeric=("x",), categorical=("kind",)))
    source = read_source(config, Path())
    assert source.contract.columns == ("label", "x", "kind")
    table = validate(source.table, source.contract, where=source.origin)
    assert table["kind"].to_pylist() == ["web", None]


def test_a_features_table_has_no_counterparty(tmp_path: Path) -> None:
    path = _csv(tmp_path / "t.csv", "1,0", header="shop,label")
    with pytest.raises(ConfigError, match=r"columns.counterparty is set"):
        _load(TableConfig(kind="features", path=str(path), columns=ColumnMap(counterparty="shop")))


def test_transactions_need_their_mandatory_columns_mapped(tmp_path: Path) -> None:
    path = _csv(tmp_path / "t.csv", *ROWS)
    with pytest.raises(ConfigError, match=r"columns.account is empty"):
        _load(TableConfig(path=str(path), columns=ColumnMap(account=None)))


def test_a_table_without_a_path_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"data.table.path is not set"):
        _load(TableConfig())


def test_two_meanings_for_one_name_are_a_configuration_error(tmp_path: Path) -> None:
    path = _csv(tmp_path / "t.csv", *ROWS)
    with pytest.raises(ConfigError, match="more than one meaning"):
        _load(TableConfig(path=str(path), columns=ColumnMap(numeric=("amount",))))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=20),
    st.sampled_from([".", ","]),
    st.sampled_from([";", "\t", "|"]),
)
def test_amounts_survive_any_layout(tmp_path: Path, amounts: list[float], decimal: str, delimiter: str) -> None:
    rows = [
        delimiter.join((str(number), "2025-01-01", "a", "m", repr(amount).replace(".", decimal), "0"))
        for number, amount in enumerate(amounts)
    ]
    path = _csv(tmp_path / "t.csv", *rows, header=HEADER.replace(",", delimiter))
    table = _load(TableConfig(path=str(path), delimiter=delimiter, decimal=decimal))  # type: ignore[arg-type]
    assert table["amount"].to_pylist() == amounts


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.datetimes(datetime(1990, 1, 2), datetime(2099, 1, 1)), min_size=1, max_size=20))
def test_iso_times_survive(tmp_path: Path, times: list[datetime]) -> None:
    path = _csv(tmp_path / "t.csv", *(f"{number},{time},a,m,1,0" for number, time in enumerate(times)))
    assert _load(TableConfig(path=str(path)))["time"].to_pylist() == sorted(times)


def test_zoned_text_is_moved_to_utc(tmp_path: Path) -> None:
    path = _csv(tmp_path / "t.csv", "1,2025-01-01T10:00:00+02:00,a,m,1,0", "2,2025-01-01T10:00:00Z,a,m,1,0")
    assert _load(TableConfig(path=str(path)))["time"].to_pylist() == [datetime(2025, 1, 1, 8), datetime(2025, 1, 1, 10)]


# --- SQL ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def sqlite(tmp_path: Path) -> Path:
    path = tmp_path / "bank.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE payments (id, zeit TEXT, account, shop, amount, fraud INTEGER)")
    rows = [
        (number, f"2025-01-01 {number:02d}:00:00", "k1", number % 3, number * 1.5, number % 2) for number in range(6)
    ]
    connection.executemany("INSERT INTO payments VALUES (?,?,?,?,?,?)", rows)
    connection.commit()
    connection.close()
    return path


COLUMNS = ColumnMap(transaction_id="id", time="zeit", counterparty="shop", label="fraud")


def test_an_sqlite_table_and_a_query_are_read(sqlite: Path) -> None:
    config = TableConfig(format="sql", path="sqlite:///bank.db", query="payments", columns=COLUMNS)
    table = _load(config, sqlite.parent)
    assert table["amount"].to_pylist() == [number * 1.5 for number in range(6)]
    query = "SELECT *, 'a%b:c' AS note FROM payments WHERE fraud = 1;"
    chosen = config.model_copy(update={"query": query, "path": f"sqlite:///{sqlite}"})
    assert _load(chosen)["transaction_id"].to_pylist() == [1, 3, 5]


def test_text_in_an_sqlite_number_names_the_row(sqlite: Path) -> None:
    with sqlite3.connect(sqlite) as connection:
        connection.execute("UPDATE payments SET amount = '12,50' WHERE id = 4")
    connection.close()
    config = TableConfig(format="sql", path=f"sqlite:///{sqlite}", query="payments", columns=COLUMNS)
    with pytest.raises(SchemaError, match=r"\(payments\): column 'amount' holds text \('12,50'\) in row 5"):
        _load(config)


def test_a_query_without_rows_is_refused(sqlite: Path) -> None:
    config = TableConfig(
        format="sql", path=f"sqlite:///{sqlite}", query="SELECT * FROM payments WHERE id > 99", columns=COLUMNS
    )
    with pytest.raises(SchemaError, match="there are no rows"):
        _load(config)


def test_sqlite_errors_are_told_and_no_file_is_made(sqlite: Path) -> None:
    absent = TableConfig(format="sql", path="sqlite:///absent.db", query="payments", columns=COLUMNS)
    with pytest.raises(SourceError, match="no such SQLite file"):
        _load(absent, sqlite.parent)
    assert not (sqlite.parent / "absent.db").exists()
    there = absent.model_copy(update={"path": "sqlite:///bank.db", "query": "pay"})
    with pytest.raises(SourceError, match=r"no such table: pay\). Check the query"):
        _load(there, sqlite.parent)
    with pytest.raises(SchemaError, match="there is no column 'absent'; found id, zeit"):
        _load(
            there.model_copy(update={"query": "payments", "columns": COLUMNS.model_copy(update={"amount": "absent"})}),
            sqlite.parent,
        )
    sqlite.write_bytes(b"not a database" * 100)
    with pytest.raises(SourceError, match="file is not a database"):
        _load(there, sqlite.parent)


@pytest.mark.parametrize("url", ["postgresql://me:s3cret@host/db", "postgresql://me@host/db?password=s3cret"])
def test_a_password_in_the_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match="holds a password") as caught:
        _load(TableConfig(format="sql", path=url, query="payments"))
    assert "s3cret" not in str(caught.value)


def test_other_databases_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected sqlite or postgresql"):
        _load(TableConfig(format="sql", path="mysql://me@host/db", query="payments"))


def test_a_query_is_needed() -> None:
    with pytest.raises(ConfigError, match=r"data.table.query is not set"):
        _load(TableConfig(format="sql", path="sqlite:///x.db"))


def test_a_password_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    secret.chmod(0o644)
    config = TableConfig(format="sql", path="postgresql://me@host/db", query="p", password_file="secret")
    with pytest.raises(SourceError, match=r"mode 0644.*chmod 600"):
        _load(config, tmp_path)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_database_that_does_not_answer_is_named() -> None:
    config = TableConfig(format="sql", path=f"postgresql://me@127.0.0.1:{_free_port()}/db", query="payments")
    with pytest.raises(SourceError, match=r"postgresql\+psycopg://me@127.0.0.1.*could not be read"):
        _load(config)


@pytest.fixture(scope="module")
def postgres() -> Iterator[tuple[str, Path]]:
    """Starts a PostgreSQL of our own with a password; PostgreSQL refuses to run as root."""
    if not (shutil.which("initdb") and shutil.which("pg_ctl")):
        pytest.skip("PostgreSQL's programs are not installed")
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp())  # not pytest's own folder, which is closed to other users
    secret = folder / "secret"
    secret.write_text("p%w:d 1\n")
    secret.chmod(0o600)
    if user:
        try:
            shutil.chown(folder, user)
            shutil.chown(secret, user)
        except LookupError:
            pytest.skip("running as root, and there is no user postgres")
    data, port = str(folder / "data"), _free_port()

    def command(*words: str) -> None:
        subprocess.run(words, user=user, check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    command("initdb", "-D", data, "-U", "bank", "-A", "scram-sha-256", f"--pwfile={secret}", "--no-sync")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    command("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield f"postgresql://bank@127.0.0.1:{port}/postgres", secret
    finally:
        command("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


def test_postgresql_is_read_with_a_password_file(postgres: tuple[str, Path]) -> None:
    import psycopg

    url, secret = postgres
    with psycopg.connect(url, password="p%w:d 1") as connection:
        connection.execute(
            "CREATE TABLE payments AS SELECT n::bigint AS id, gen_random_uuid() AS account, n % 7 AS shop, "
            "timestamptz '2025-01-01 00:00+02' + n * interval '1 min' AS zeit, n % 50 = 0 AS fraud, '100%' AS note, "
            "(n * 1.25)::numeric(12,2) AS amount FROM generate_series(0, 119999) AS n"
        )
    query = "SELECT * FROM payments WHERE note LIKE '100%' ORDER BY id"
    config = TableConfig(format="sql", path=url, query=query, password_file=str(secret), columns=COLUMNS)
    table = _load(config)
    assert table.num_rows == 120_000
    assert sum(table["label"].to_pylist()) == 2_400
    assert table.slice(3, 1).to_pylist()[0]["amount"] == 3.75
    assert table["time"][0].as_py() == datetime(2024, 12, 31, 22)


def test_a_wrong_password_is_told_without_repeating_it(postgres: tuple[str, Path], tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("guess-123")
    (tmp_path / "wrong").chmod(0o600)
    config = TableConfig(format="sql", path=postgres[0], query="payments", password_file="wrong", columns=COLUMNS)
    with pytest.raises(SourceError, match="password authentication failed") as caught:
        _load(config, tmp_path)
    assert "guess-123" not in str(caught.value)
