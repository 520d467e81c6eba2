"""A bank without any fraud and one far larger than the rest: training, thresholds, figures, gates and what is shown."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from memory_fleet import INSTANCE, PRIVATE, SECURE, Consortium, copy_banks, make_banks, tiny_config
from rich.console import Console

from fraudfl.config import GeneratorConfig
from fraudfl.data.simulate import GENERATED_CONTRACT, generate
from fraudfl.folder import BankFolder
from fraudfl.gates.config import GateConfig
from fraudfl.models.bundle import Bundle
from pipelines.gates import gated
from pipelines.phase import run_phase
from server.commands.view import RichView
from server.rounds.pooled import LocalBanks

HONEST, LARGE = "bank-02", "bank-01"
GATES = [
    GateConfig(name="who", measure="participation", at_least=1),
    GateConfig(name="losing", measure="banks_losing", more_than=0.2, at_most=1),
    GateConfig(name="even", measure="fairness.auprc", at_least=0),
]
LEARNING = {"training": {"learning_rate": 0.01, "batch_size": 128}, "rounds": 3}


def make_honest(path: Path) -> None:
    """Let a bank never have had a fraud."""
    folder = BankFolder(path)
    table = folder.table()
    none = pa.array(np.zeros(table.num_rows, dtype=np.int8))
    place = table.column_names.index("label")
    BankFolder.fill(path, folder.bank, table.set_column(place, "label", none), folder.contract)


@pytest.fixture(scope="module")
def odd_banks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six tiny banks, of which one never had a fraud, and one has ten times as many rows as the next."""
    banks = make_banks(tmp_path_factory.mktemp("odd"), tiny_config())
    make_honest(banks / HONEST)
    most = max(BankFolder(banks / f"bank-0{number}").table().num_rows for number in range(2, 7))
    rows = generate(GeneratorConfig(banks=1, transactions=10 * most, days=60, fraud_rate=0.05), 9)
    BankFolder.fill(banks / LARGE, LARGE, rows, GENERATED_CONTRACT)
    return banks


@pytest.fixture
def odd(odd_banks: Path, tmp_path: Path) -> Callable[..., Consortium]:
    return lambda **phase: Consortium(copy_banks(odd_banks, tmp_path / "banks"), tiny_config(phase), tmp_path / "place")


def test_a_phase_with_a_bank_without_fraud_and_a_huge_one_has_all_figures_that_there_can_be(odd: Any) -> None:
    one = odd(**LEARNING, baselines=["alone", "pooled", "xgboost"])
    outcome = run_phase(
        one.phase(LocalBanks(one.folders, one.plan, INSTANCE, one.place)), ("alone", "pooled", "xgboost")
    )
    assert (outcome["status"], outcome["banks"], outcome["excluded"]) == ("completed", 6, [])
    metrics = outcome["metrics"]
    for row in (metrics["federated"], metrics["alone"], metrics["pooled"], *metrics["xgboost"].values()):
        assert all(value is not None and 0 <= value <= 1 for value in row.values())
    # No fraud among its test rows: it has no figure, and no say in the banks' mean.
    assert metrics["per_bank"][HONEST] == {"alone": None, "federated": None, "interval": None}
    own = [row["federated"] for row in metrics["per_bank"].values()]
    assert metrics["federated"]["auprc_bank_mean"] == pytest.approx(np.mean([value for value in own if value]))
    assert metrics.get("gain_bins", {}).get("undefined", own.count(None)) == own.count(None)
    judged = gated(outcome, GATES)
    assert [gate["outcome"] for gate in judged["gates"]] == ["pass"] * len(GATES)
    bundle = Bundle.load(one.place / "bundle")
    assert all(np.isfinite(threshold) for threshold in bundle.thresholds.values())
    shown = io.StringIO()
    RichView(Console(file=shown, width=100)).end(outcome | {"privacy": outcome["privacy"] | {"epsilon_max": None}})
    assert HONEST in shown.getvalue()
    assert "nan" not in shown.getvalue().lower()


@pytest.mark.parametrize("phase", [{"baselines": ["alone"]}, SECURE, PRIVATE], ids=["open", "secure", "private"])
def test_figures_released_by_odd_banks_are_whole(odd: Any, phase: dict[str, Any]) -> None:
    one = odd(**{**LEARNING, **phase, "rounds": 2})
    outcome = run_phase(one.phase(), ())
    assert (outcome["status"], outcome["banks"], outcome["excluded"]) == ("completed", 6, [])
    assert outcome["metrics"]["federated"]["auprc"] is not None
    assert np.isfinite(one.phase().world.checkpoints.latest().arrays["model"]).all()


def test_where_nobody_had_a_fraud_figures_are_absent_gates_hold_and_nothing_breaks(odd: Any) -> None:
    one = odd(**{**LEARNING, "rounds": 2, "early_stop": {"patience": 1}}, baselines=["alone", "xgboost"])
    for bank in one.fleet.banks():
        make_honest(one.folders / bank)
    outcome = run_phase(one.phase(LocalBanks(one.folders, one.plan, INSTANCE, one.place)), ("alone", "xgboost"))
    assert (outcome["status"], outcome["rounds"]) == ("completed", 2)
    assert outcome["metrics"]["federated"] == dict.fromkeys(outcome["metrics"]["federated"])
    # All rows together are not asked for, of trees as little as of networks.
    assert (set(outcome["metrics"]["xgboost"]), outcome["metrics"]["pooled"]) == ({"alone"}, None)
    assert "no look could be judged: no fraud is among the validation rows" in outcome["early_stop"]["reason"]
    judged = gated(outcome, [GATES[0], GateConfig(name="good", measure="auprc", at_least=0.5)])
    assert [gate["outcome"] for gate in judged["gates"]] == ["pass", "hold"]
    assert json.loads(json.dumps(judged, allow_nan=False)) == judged
    bundle = Bundle.load(one.place / "bundle")
    assert all(np.isfinite(threshold) for threshold in bundle.thresholds.values())


def test_a_bank_that_has_nothing_to_train_on_yet_is_named_and_evaluated_all_the_same(odd: Any) -> None:
    one = odd(**{**LEARNING, "rounds": 2}, baselines=[])
    folder = BankFolder(one.folders / "bank-06")
    table = folder.table()
    # Its history begins in February; training ends on the third of it.
    late = pc.greater_equal(table["time"], pa.scalar(datetime(2025, 2, 10), table["time"].type))
    BankFolder.fill(folder.path, folder.bank, table.filter(late), folder.contract)
    outcome = run_phase(one.phase(), ())
    assert (outcome["status"], outcome["banks"]) == ("completed", 6)
    said = [(item["bank"], item["round"]) for item in outcome["excluded"]]
    assert said == [("bank-06", 1), ("bank-06", 2)]
    assert all("it has no rows to train on" in item["reason"] for item in outcome["excluded"])
    assert "evaluate" in {entry.kind for entry in one.ledger("bank-06").entries() if entry.event == "released"}
