"""Features computed in a process of their own are the same, and so are the errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fraudfl.config import FeaturesConfig, GeneratorConfig
from fraudfl.data.simulate import GENERATED_CONTRACT, generate
from fraudfl.errors import DataError
from fraudfl.features.apart import compute_apart
from fraudfl.features.declaration import declare
from fraudfl.features.windows import compute_features

FEATURES = declare(FeaturesConfig(), GENERATED_CONTRACT)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rows = generate(GeneratorConfig(banks=2, transactions=1000), 1).drop_columns(["bank"])
    pq.write_table(rows, tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


def test_what_is_computed_apart_is_what_is_computed_here(source: Path, tmp_path: Path) -> None:
    compute_apart(source, FEATURES, tmp_path / "apart.parquet", GENERATED_CONTRACT)
    compute_features(source, FEATURES, tmp_path / "here.parquet", contract=GENERATED_CONTRACT, temp_directory=tmp_path)
    apart, here = pq.read_table(tmp_path / "apart.parquet"), pq.read_table(tmp_path / "here.parquet")
    assert apart.num_rows == 1000
    assert len(apart.column_names) >= len(FEATURES)
    assert apart.equals(here)


def test_a_source_that_is_gone_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.parquet: features could not be computed"):
        compute_apart(tmp_path / "gone.parquet", FEATURES, tmp_path / "out.parquet", GENERATED_CONTRACT)
    assert not (tmp_path / "out.parquet").exists()


def test_a_process_that_computes_apart_does_not_load_duckdb_itself() -> None:
    code = "import sys, fraudfl.folder, fraudfl.features.apart; print('duckdb' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
