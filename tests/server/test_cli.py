"""The `fraudfl` command: exit codes, errors without tracebacks, and plans with their hashes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

FRAUDFL = Path(sys.executable).parent / "fraudfl"
GOOD = """\
consortium: {name: north}
data: {generator: {banks: 2, transactions: 2000, days: 60}}
split: {origin: 2025-01-01, train_days: [0, 34], test_days: [42, 59]}
phases:
  - {name: pilot, rounds: 2}
  - {name: rollout, kind: rollout, rounds: 3}
"""


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([FRAUDFL, *arguments], capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "north.yaml"
    path.write_text(GOOD)
    return path


def test_a_good_configuration_is_said_to_be_good(config: Path) -> None:
    done = run("config", "check", config)
    assert (done.returncode, done.stderr) == (0, "")
    assert "phases: pilot, rollout" in done.stdout


def test_a_wrong_configuration_ends_with_2_and_says_where(config: Path, tmp_path: Path) -> None:
    config.write_text(GOOD.replace("rounds: 2", "rounds: two"))
    for command in (["config", "check", config], ["run", config, "-w", tmp_path / "w"]):
        done = run(*command)
        assert done.returncode == 2
        assert f"{config}, line 5: phases.0.rounds: found 'two'" in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "w").exists()


def test_debug_shows_the_traceback(config: Path) -> None:
    config.write_text("[]")
    done = run("--debug", "config", "check", config)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "ConfigError" in done.stderr


def test_wrong_usage_ends_with_2() -> None:
    assert run("run").returncode == 2
    assert run("fly").returncode == 2


def test_config_show_prints_every_plan_whole_with_its_hash(config: Path) -> None:
    done = run("config", "show", config)
    assert done.returncode == 0
    decoder, rest, shown = json.JSONDecoder(), done.stdout, []
    while rest.strip():
        item, end = decoder.raw_decode(rest.lstrip())
        rest = rest.lstrip()[end:]
        shown.append(item)
    assert [item["phase"] for item in shown] == ["pilot", "rollout"]
    for item in shown:
        canonical = json.dumps(item["plan"], sort_keys=True, separators=(",", ":")).encode()
        assert hashlib.sha256(canonical).hexdigest() == item["plan_hash"]
    assert shown[0]["plan"]["training"]["batch_size"] == 1024


def test_banks_can_be_made_alone_and_bad_data_ends_with_1(config: Path, tmp_path: Path) -> None:
    done = run("banks", "create", config, "--workspace", tmp_path / "w")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "w" / "banks").iterdir()) == ["bank-01", "bank-02"]
    (tmp_path / "t.csv").write_text("transaction_id,time,account,counterparty,amount,label\n1,2025-01-05,a,m,NaN,0\n")
    table = "data: {source: table, table: {path: t.csv}}\nbanks: {by: account-hash, count: 2}\n"
    config.write_text("\n".join(line for line in GOOD.splitlines() if not line.startswith("data")) + "\n" + table)
    done = run("run", config, "--workspace", tmp_path / "v")
    assert done.returncode == 1
    assert "SchemaError" in done.stderr
    assert "amount" in done.stderr
    assert "Traceback" not in done.stderr
    summary = json.loads((tmp_path / "v" / "summary.json").read_text())
    assert [phase["status"] for phase in summary["phases"]] == ["failed"]


def test_a_public_set_without_its_path_is_a_configuration_error(config: Path, tmp_path: Path) -> None:
    text = GOOD.replace("data: {generator: {banks: 2, transactions: 2000, days: 60}}", "data: {source: handbook}")
    config.write_text(text)
    done = run("run", config, "--workspace", tmp_path / "w")
    assert done.returncode == 2
    assert "--data handbook:PATH" in done.stderr
