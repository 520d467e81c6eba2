"""A bank's folder: what is kept, what is computed once, and what a crash leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from memory_fleet import tiny_config

from fraudfl.data.simulate import GENERATED_CONTRACT, generate
from fraudfl.errors import SourceError
from fraudfl.features.encoder import fit_encoder
from fraudfl.folder import BankFolder, bank_paths, save_npy, write_bytes, write_whole
from fraudfl.planning import make_plan
from fraudfl.transfer.savings import raw_sizes

CONFIG = tiny_config()
PLAN = make_plan(CONFIG, CONFIG.phases[0], GENERATED_CONTRACT)


@pytest.fixture
def folder(tmp_path: Path) -> BankFolder:
    rows = generate(CONFIG.data.generator.model_copy(update={"transactions": 2000}), 1)
    return BankFolder.create(tmp_path / "bank-01", "bank-01", rows, GENERATED_CONTRACT)


def test_a_folder_is_opened_again_with_its_name_contract_and_rows(folder: BankFolder) -> None:
    again = BankFolder(folder.path)
    assert (again.bank, again.contract) == ("bank-01", GENERATED_CONTRACT)
    assert again.table().equals(folder.table())
    assert "bank" not in again.table().column_names


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"bank": "a"}', '{"bank": "a", "contract": 3}'])
def test_what_is_not_a_banks_folder_is_named(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "bank.json").write_text(text)
    with pytest.raises(SourceError, match=r"bank\.json: not a bank's folder"):
        BankFolder(tmp_path)


def test_a_damaged_table_is_named(folder: BankFolder) -> None:
    folder.transactions.write_bytes(folder.transactions.read_bytes()[:1000])
    with pytest.raises(SourceError, match=r"transactions\.parquet: cannot be read"):
        folder.table()


def test_rows_are_those_of_the_split_encoded_and_computed_once(folder: BankFolder) -> None:
    sketch = folder.sketch(PLAN.features, PLAN.split, PLAN.encoder)
    encoder = fit_encoder(PLAN.encoder, sketch)
    rows = folder.rows(PLAN.features, PLAN.split, encoder, "train")
    assert rows.features.shape == (len(rows.labels), encoder.width)
    assert int(sketch.counts["label"].sum()) == len(rows.labels) > 0
    assert sketch.counts["label"][1] == rows.labels.sum()
    made = {path: path.stat().st_mtime_ns for path in (folder.path / "cache").rglob("*")}
    again = BankFolder(folder.path).rows(PLAN.features, PLAN.split, encoder, "train")
    assert again.features.tobytes() == rows.features.tobytes()
    assert {path: path.stat().st_mtime_ns for path in (folder.path / "cache").rglob("*")} == made


def test_other_data_is_computed_anew(folder: BankFolder) -> None:
    before = folder.features(PLAN.features)
    pq.write_table(folder.table().slice(0, 500), folder.transactions)
    assert BankFolder(folder.path).features(PLAN.features).num_rows == 500 < before.num_rows


def test_what_a_caller_writes_into_rows_does_not_reach_the_files(folder: BankFolder) -> None:
    encoder = fit_encoder(PLAN.encoder, folder.sketch(PLAN.features, PLAN.split, PLAN.encoder))
    rows = folder.rows(PLAN.features, PLAN.split, encoder, "test")
    rows.features[:] = 99
    assert not (folder.rows(PLAN.features, PLAN.split, encoder, "test").features == 99).any()


def test_the_training_window_holds_contract_columns_only(folder: BankFolder) -> None:
    window = folder.training_window(PLAN.split)
    assert tuple(window.column_names) == GENERATED_CONTRACT.columns
    assert 0 < window.num_rows < folder.table().num_rows


def test_scores_are_kept_per_instance_and_missing_ones_named(folder: BankFolder) -> None:
    folder.keep_scores("one", "federated-test", np.float32([1, 2]))
    assert folder.scores("one", "federated-test").tolist() == [1, 2]
    with pytest.raises(SourceError, match="no scores kept"):
        folder.scores("two", "federated-test")


def test_a_crash_while_writing_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"old")

    def crash(part: Path) -> None:
        part.write_bytes(b"ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a", crash)
    assert (tmp_path / "a").read_bytes() == b"old"


def test_arrays_are_kept_without_pickle(tmp_path: Path) -> None:
    save_npy(tmp_path / "a.npy", np.float32([1.5]))
    assert np.load(tmp_path / "a.npy", allow_pickle=False).tolist() == [1.5]
    with pytest.raises(ValueError, match="pickle"):
        save_npy(tmp_path / "b.npy", np.array([{}], dtype=object))


def test_only_whole_bank_folders_are_listed_in_order(folder: BankFolder, tmp_path: Path) -> None:
    (tmp_path / "bank-00").mkdir()
    assert bank_paths(tmp_path) == [folder.path]
    assert bank_paths(tmp_path / "none") == []


def test_raw_sizes_are_those_of_the_window_and_are_worked_out_once_for_each_split_and_data(folder: BankFolder) -> None:
    assert folder.raw_sizes(PLAN.split) == raw_sizes(folder.training_window(PLAN.split))
    (kept,) = (folder.path / "cache").glob("raw-*.json")
    kept.write_text("[3, 2]")
    assert BankFolder(folder.path).raw_sizes(PLAN.split) == (3, 2)
    other = PLAN.split.model_copy(update={"train_days": (5, 20)})
    assert folder.raw_sizes(other) == raw_sizes(folder.training_window(other))
    fuller = BankFolder.fill(folder.path, "bank-01", pa.concat_tables([folder.table()] * 2), GENERATED_CONTRACT)
    assert fuller.raw_sizes(PLAN.split).csv_bytes > 3
