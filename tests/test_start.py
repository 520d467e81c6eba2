"""What our commands load before they do anything: libraries that take a second to load wait until they are needed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from memory_fleet import tiny_config

from bank_nodes.folder.home import Home
from fraudfl.data.simulate import GENERATED_CONTRACT, generate
from fraudfl.folder import BankFolder
from fraudfl.trust.keys import fingerprint
from server.trust.certificates import Hosts
from server.trust.pki import Pki

HEAVY = {
    "dp_accounting",
    "duckdb",
    "fastapi",
    "flwr",
    "mlflow",
    "opacus",
    "pandas",
    "ray",
    "scipy",
    "sklearn",
    "sqlalchemy",
    "streamlit",
    "torch",
    "xgboost",
}
LOADED = re.compile(r"^import time: .* ([\w.]+)$", re.MULTILINE)


def loaded_by(module: str, *words: str | Path) -> set[str]:
    """Packages that a command loads from its start to its end."""
    command = [sys.executable, "-X", "importtime", "-m", module, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    return {name.partition(".")[0] for name in LOADED.findall(done.stderr)}


@pytest.mark.parametrize("module", ["bank_nodes.cli", "server.cli"])
def test_a_command_line_starts_without_heavy_libraries(module: str) -> None:
    loaded = loaded_by(module, "--help")
    assert "typer" in loaded
    assert not loaded & HEAVY


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bank that has data and the operator's kit."""
    made = tmp_path_factory.mktemp("started")
    home = Home.create(made / "north", "north")
    rows = generate(tiny_config().data.generator.model_copy(update={"transactions": 500}), 1)
    BankFolder.fill(home.path, "north", rows, GENERATED_CONTRACT)
    pki = Pki.create(made / "pki", "small", Hosts(("localhost",)))
    pki.add(home.enrolment)
    pki.write_kit(made / "kit")
    home.take_kit(made / "kit", fingerprint(pki.operator))
    return home.path


@pytest.mark.parametrize("words", [("plans",), ("log",), ("status",), ("ledger", "show"), ("ledger", "verify")])
def test_a_look_at_a_banks_folder_needs_none_either(folder: Path, words: tuple[str, ...]) -> None:
    loaded = loaded_by("bank_nodes.cli", *words, folder)
    assert "typer" in loaded
    assert not loaded & HEAVY
