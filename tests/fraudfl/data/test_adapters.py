"""Public data sets, from small samples with their published column names, and the real files where they are."""

from __future__ import annotations

import math
import os
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from fraudfl.config import DataConfig
from fraudfl.data.adapters import ADAPTERS
from fraudfl.data.dataset import load_dataset
from fraudfl.errors import SchemaError, SourceError

SHARED = Path(os.environ.get("FRAUDFL_SHARED", Path(__file__).parents[4] / "shared")) / "data"


def _csv(path: Path, columns: dict[str, list[object]]) -> Path:
    pacsv.write_csv(pa.table({name: pa.array(values) for name, values in columns.items()}), path)
    return path


# --- handbook ------------------------------------------------------------------------------------------------------


def _handbook(folder: Path) -> None:
    table = pa.table({
        "TRANSACTION_ID": pa.array([0, 1, 2], pa.int32()),
        "TX_DATETIME": pa.array([datetime(2018, 4, 1, 0, 0, second) for second in (31, 40, 35)], pa.timestamp("ms")),
        "CUSTOMER_ID": pa.array([5, 6, 7], pa.int16()),
        "TERMINAL_ID": pa.array([8, 8, 9], pa.int16()),
        "TX_AMOUNT": [57.16, 81.51, 3.0],
        "TX_FRAUD": pa.array([0, 1, 0], pa.int8()),
        "TX_FRAUD_SCENARIO": pa.array([0, 2, 0], pa.int8()),
    })  # fmt: skip
    pq.write_table(table, folder / "transactions.parquet")


def test_the_handbook_gives_six_columns_and_never_the_scenario(tmp_path: Path) -> None:
    _handbook(tmp_path)
    dataset = ADAPTERS["handbook"](tmp_path)
    assert dataset.contract.columns == ("transaction_id", "time", "account", "counterparty", "amount", "label")
    assert dataset.table.column_names == list(dataset.contract.columns)
    assert dataset.table["transaction_id"].to_pylist() == [0, 2, 1]
    assert dataset.table.equals(ADAPTERS["handbook"](tmp_path / "transactions.parquet").table)


def test_the_handbooks_regions_are_a_grid_over_customers_places(tmp_path: Path) -> None:
    _handbook(tmp_path)
    places = {"CUSTOMER_ID": [7, 5], "x_customer_id": [100.0, 39.9], "y_customer_id": [50.0, 49.9]}
    pq.write_table(pa.table(places), tmp_path / "customers_rederived.parquet")
    table = ADAPTERS["handbook"](tmp_path).table
    regions = dict(zip(table["account"].to_pylist(), table["region"].to_pylist(), strict=True))
    assert regions == {5: "region-03", 6: "region-unknown", 7: "region-10"}


def test_the_books_own_pickles_are_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "2018-04-01.pkl").write_bytes(b"\x80\x04.")
    with pytest.raises(SourceError, match=r"2018-04-01.pkl: is a pickle; .* to_parquet|pandas.read_pickle"):
        ADAPTERS["handbook"](tmp_path)


def test_a_folder_without_the_set_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"there is no transactions\.\*"):
        ADAPTERS["handbook"](tmp_path)
    with pytest.raises(SourceError, match="Name the folder as it was downloaded"):
        ADAPTERS["ulb"](tmp_path / "absent.csv")


def test_the_real_handbook_has_its_published_counts() -> None:
    if not (SHARED / "handbook" / "transactions.parquet").exists():
        pytest.skip("the handbook's files are not here")
    table = load_dataset(DataConfig(source="handbook", path=str(SHARED / "handbook")), seed=1).table
    assert table.num_rows == 1_754_155
    assert pc.sum(table["label"]).as_py() == 14_681
    sizes = [entry["counts"] for entry in pc.value_counts(table["region"]).to_pylist()]
    assert len(sizes) == 10
    assert min(sizes) >= 164_000
    assert max(sizes) <= 182_000


# --- fsi5 ----------------------------------------------------------------------------------------------------------


def _site(folder: Path, file: str, **changes: list[object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    columns: dict[str, list[object]] = {
        "DEBITOR_AMOUNT": [99.0, 5e3], "PAYMENT_INIT_TIMESTAMP": [1_700_000_600, 1_700_000_000],
        "DEBITOR_ACCOUNT_CREATE_TIMESTAMP": [1_700_000_000, 1_700_000_001],
        "CREDITOR_ACCOUNT_CREATE_TIMESTAMP": [1_699_999_400, 1_600_000_000],
        "DEBITOR_ACCOUNT_LAST_ACTIVITY_TIMESTAMP": [1_700_000_500, 1_700_000_000],
        "DEBITOR_ACCOUNT_ACTIVITY_EVENTS_PAST_30D": [250, 30],
        "DEBITOR_GEO_LATITUDE": [0.0, 10.0], "DEBITOR_GEO_LONGITUDE": [0.0, 20.0],
        "DEBITOR_TOWER_LATITUDE": [0.0, 10.0], "DEBITOR_TOWER_LONGITUDE": [90.0, 20.0],
        "CREDITOR_GEO_LATITUDE": [90.0, 1.0], "CREDITOR_GEO_LONGITUDE": [0.0, 2.0],
        "CREDITOR_TOWER_LATITUDE": [-90.0, 1.0], "CREDITOR_TOWER_LONGITUDE": [0.0, 2.0],
        "DEBITOR_ACCOUNT_TYPE": ["CHECKING", "OTHER"], "CREDITOR_ACCOUNT_TYPE": ["BUSINESS", "SAVINGS"],
        "FRAUD_FLAG": [1, 0], "TYPE1_ANOMALY": [True, False],
    }  # fmt: skip
    pq.write_table(pa.table({name: pa.array(values) for name, values in (columns | changes).items()}), folder / file)


def test_fsi5_computes_the_peers_inputs_without_scaling_them(tmp_path: Path) -> None:
    _site(tmp_path / "siteA", "train.parquet")
    dataset = ADAPTERS["fsi5"](tmp_path)
    assert dataset.contract.kind == "features"
    assert "TYPE1_ANOMALY" not in dataset.table.column_names
    odd, row = dataset.table.to_pylist()
    half = math.pi * 3958.8 * 1.6  # half of the Earth's circumference
    expected = {
        "debitor_amount_log": math.log(100), "debitor_account_age_log": math.log(10),
        "creditor_account_age_log": math.log(20), "debitor_since_last_activity_log": math.log(100),
        "debitor_tower_distance_km": half / 2, "creditor_tower_distance_km": half,
        "debitor_activity_events_30d": 250, "debitor_activity_ratio": 0.5, "debitor_amount_ratio": 99 / 2e4,
    }  # fmt: skip
    assert {name: row[name] for name in dataset.contract.numeric} == pytest.approx(expected)
    assert (row["label"], row["debitor_account_type"], row["time"]) == (
        1,
        "CHECKING",
        datetime(2023, 11, 14, 22, 23, 20),
    )
    # An account made after the payment, activity at the same second, an unknown account type: missing, not infinite.
    missing = [name for name in dataset.contract.numeric if math.isnan(odd[name])]
    assert missing == [
        "debitor_account_age_log", "debitor_since_last_activity_log", "debitor_activity_ratio", "debitor_amount_ratio",
    ]  # fmt: skip


def test_fsi5_keeps_book_of_sites_splits_and_files(tmp_path: Path) -> None:
    for site in ("siteA", "siteC"):
        _site(tmp_path / site, "train.parquet")
        _site(tmp_path / site, "eval_type2_type3.parquet")
    (tmp_path / "universal_scaling.parquet").touch()
    table = ADAPTERS["fsi5"](tmp_path).table
    assert sorted(table["transaction_id"].to_pylist()) == list(range(8))
    rows = {(row["bank"], row["split"], row["part"]) for row in table.to_pylist()}
    assert rows == {
        (bank, split, part)
        for bank in ("site-a", "site-c")
        for split, part in (("train", "train"), ("test", "eval_type2_type3"))
    }


def test_fsi5_names_the_site_file_and_row_of_a_bad_value(tmp_path: Path) -> None:
    _site(tmp_path / "siteA", "train.parquet")
    _site(tmp_path / "siteB", "train.parquet", FRAUD_FLAG=[0, 7])
    with pytest.raises(SchemaError, match=r"siteB/train.parquet: column 'FRAUD_FLAG' \(label\) holds 7 in row 2"):
        ADAPTERS["fsi5"](tmp_path)


def test_the_real_fsi5_has_five_banks_and_its_frauds() -> None:
    if not (SHARED / "fsi5" / "siteA" / "train.parquet").exists():
        pytest.skip("the fsi5 files are not here")
    table = load_dataset(DataConfig(source="fsi5", path=str(SHARED / "fsi5")), seed=1).table
    banks = pc.value_counts(table["bank"]).to_pylist()
    assert {entry["values"]: entry["counts"] for entry in banks} == {f"site-{letter}": 200_000 for letter in "abcde"}
    train = table.filter(pc.equal(table["split"], "train"))
    assert pc.sum(train["label"]).as_py() == 1035 + 4 * 728


# --- sets that users bring -----------------------------------------------------------------------------------------


def test_ulb_seconds_become_times_and_components_features(tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {"Time": [0.0, 90.0]}
    columns |= {f"V{number}": [number * 1.0, -0.5] for number in range(1, 29)}
    _csv(tmp_path / "creditcard.csv", columns | {"Amount": [149.62, 2.69], "Class": [0, 1]})
    dataset = ADAPTERS["ulb"](tmp_path)
    assert dataset.contract.columns[:3] == ("transaction_id", "time", "label")
    row = dataset.table.to_pylist()[1]
    assert (row["time"], row["V28"], row["Amount"], row["label"]) == (datetime(2013, 9, 1, 0, 1, 30), -0.5, 2.69, 1)


def test_ulb_text_in_a_component_is_quoted(tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {f"V{number}": ["1", "2"] for number in range(1, 29)}
    columns |= {"Time": [0, 1], "V7": ["0.5", "oops"], "Amount": [1, 2], "Class": [0, 1]}
    with pytest.raises(SchemaError, match=r"creditcard.csv: column 'V7' holds text \('oops'\) in row 2"):
        ADAPTERS["ulb"](_csv(tmp_path / "creditcard.csv", columns))


BAF_HEADER = (
    "fraud_bool,income,name_email_similarity,prev_address_months_count,current_address_months_count,customer_age,"
    "days_since_request,intended_balcon_amount,payment_type,zip_count_4w,velocity_6h,velocity_24h,velocity_4w,"
    "bank_branch_count_8w,date_of_birth_distinct_emails_4w,employment_status,credit_risk_score,email_is_free,"
    "housing_status,phone_home_valid,phone_mobile_valid,bank_months_count,has_other_cards,proposed_credit_limit,"
    "foreign_request,source,session_length_in_minutes,device_os,keep_alive_session,device_distinct_emails_8w,"
    "device_fraud_count,month"
)


def _baf(path: Path) -> None:
    row = (
        "{},0.9,0.17,-1,88,50,0.02,-1.3,AA,769,10650.7,3134.3,3863.6,1,6,CA,{},0,BA,1,0,24,0,500.0,0,INTERNET,3.8,"
        "windows,1,1,0,{}"
    )
    path.write_text("\n".join([BAF_HEADER, *(row.format(*values) for values in ((1, -9, 0), (0, 7, 5), (1, 8, 6)))]))


def test_baf_splits_by_month_and_turns_minus_one_into_missing(tmp_path: Path) -> None:
    _baf(tmp_path / "Base.csv")
    dataset = ADAPTERS["baf"](tmp_path)
    published = set(BAF_HEADER.split(",")) - {"fraud_bool", "month"}
    assert {*dataset.contract.numeric, *dataset.contract.categorical} == published
    rows = dataset.table.to_pylist()
    assert [(row["split"], row["part"], row["label"]) for row in rows] == [
        ("train", "month-0", 1), ("train", "month-5", 0), ("test", "month-6", 1),
    ]  # fmt: skip
    assert math.isnan(rows[0]["prev_address_months_count"])
    assert math.isnan(rows[0]["intended_balcon_amount"])
    assert rows[0]["credit_risk_score"] == -9  # a score may be negative


def test_baf_asks_which_of_several_variants(tmp_path: Path) -> None:
    _baf(tmp_path / "Base.csv")
    _baf(tmp_path / "Variant I.csv")
    with pytest.raises(SourceError, match="2 variants"):
        ADAPTERS["baf"](tmp_path)


def test_paysim_steps_are_hours(tmp_path: Path) -> None:
    path = tmp_path / "PS_20174392719_1491204439457_log.csv"
    path.write_text(
        "step,type,amount,nameOrig,oldbalanceOrg,newbalanceOrig,nameDest,oldbalanceDest,newbalanceDest,isFraud,"
        "isFlaggedFraud\n1,PAYMENT,9839.64,C1231006815,170136.0,160296.36,M1979787155,0.0,0.0,0,0\n"
        "25,TRANSFER,181.0,C1305486145,181.0,0.0,C553264065,0.0,0.0,1,0\n"
    )
    dataset = ADAPTERS["paysim"](tmp_path)
    row = dataset.table.to_pylist()[1]
    assert (row["time"], row["account"], row["counterparty"]) == (datetime(2020, 1, 2, 1), "C1305486145", "C553264065")
    assert (row["type"], row["label"]) == ("TRANSFER", 1)
    assert "oldbalanceOrg" not in row
    assert "isFlaggedFraud" not in dataset.table.column_names


SPARKOV = (
    ",trans_date_trans_time,cc_num,merchant,category,amt,first,last,gender,street,city,state,zip,lat,long,city_pop,job,"
    "dob,trans_num,unix_time,merch_lat,merch_long,is_fraud\n"
    '0,2019-01-01 00:00:18,4992346398065154184,"fraud_Rippin, Kub and Mann",misc_net,4.97,Jennifer,Banks,F,'
    '561 Perry Cove,Moravian Falls,NC,28654,36.0788,-81.1781,3495,"Psychologist, counselling",1988-03-09,{},'
    "1325376018,36.011293,-82.048315,{}\n"
)


def test_sparkov_keeps_its_two_files_as_a_split(tmp_path: Path) -> None:
    (tmp_path / "fraudTrain.csv").write_text(SPARKOV.format("0b242abb623afc578575680df30655b9", 0))
    (tmp_path / "fraudTest.csv").write_text(SPARKOV.format("2da90c7d74bd46a0caf3777415b3ebd3", 1))
    table = ADAPTERS["sparkov"](tmp_path).table
    rows = {row["split"]: row for row in table.to_pylist()}
    assert (rows["train"]["label"], rows["test"]["label"]) == (0, 1)
    assert rows["test"]["part"] == "fraudTest"
    row = rows["train"]
    assert (row["account"], row["counterparty"], row["region"]) == (
        4992346398065154184,
        "fraud_Rippin, Kub and Mann",
        "NC",
    )
    assert not {"first", "last", "street", "dob", "job"} & set(table.column_names)
    alone = ADAPTERS["sparkov"](tmp_path / "fraudTrain.csv").table
    assert "split" not in alone.column_names


def test_a_repeated_sparkov_number_names_both_files(tmp_path: Path) -> None:
    for name in ("fraudTrain.csv", "fraudTest.csv"):
        (tmp_path / name).write_text(SPARKOV.format("0b242abb", 0))
    with pytest.raises(
        SchemaError, match=r"column 'trans_num' \(transaction_id\) holds '0b242abb' again \(first in .*, row 1\)"
    ):
        ADAPTERS["sparkov"](tmp_path)


def test_ieee_cis_makes_accounts_of_card_and_address_and_joins_identity(tmp_path: Path) -> None:
    (tmp_path / "train_transaction.csv").write_text(
        "TransactionID,isFraud,TransactionDT,TransactionAmt,ProductCD,card1,card4,addr1,P_emaildomain,C1,D1,M1,V1\n"
        "2987000,0,86400,68.5,W,13926,discover,315.0,,1.0,14.0,T,1.0\n"
        "2987001,1,86401,29.0,C,2755,mastercard,,gmail.com,1.0,,,\n"
    )
    (tmp_path / "train_identity.csv").write_text("TransactionID,id_01,DeviceType\n2987001,0.0,mobile\n")
    (tmp_path / "test_transaction.csv").write_text("TransactionID\n1\n")
    dataset = ADAPTERS["ieee-cis"](tmp_path)
    first, second = dataset.table.to_pylist()
    assert (first["account"], second["account"]) == ("13926-315", "2755-none")
    assert (first["counterparty"], first["time"]) == ("W", datetime(2017, 12, 1))
    assert (first["DeviceType"], second["DeviceType"]) == (None, "mobile")
    assert dataset.contract.numeric == ("C1", "D1", "V1")
    assert math.isnan(second["V1"])


def test_a_missing_published_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "fraudTrain.csv"
    path.write_text(SPARKOV.format("1", 0).replace("cc_num", "card"))
    with pytest.raises(SchemaError, match=r"fraudTrain.csv: there is no column 'cc_num'"):
        ADAPTERS["sparkov"](path)
