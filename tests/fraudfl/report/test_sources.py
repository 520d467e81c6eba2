"""What a report reads beside ledgers: rows to count, audits, spends, and records that are broken."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import dp_accounting
import pyarrow as pa
import pytest
from dp_accounting.pld import PLDAccountant
from memory_fleet import PRIVATE, plan_of

from fraudfl.config import SplitConfig
from fraudfl.data.schema import Contract
from fraudfl.data.simulate import GENERATED_CONTRACT
from fraudfl.errors import PlanError, SourceError
from fraudfl.folder import BankFolder
from fraudfl.privacy.ledger import Charge
from fraudfl.report.audit_file import read_audit
from fraudfl.report.data_used import data_used
from fraudfl.report.facts import DataPart
from fraudfl.report.problems import Problems
from fraudfl.report.spending import charged, phase_spending


def test_epsilon_is_what_dp_accounting_says_of_the_events_charged() -> None:
    plan = plan_of(**PRIVATE)
    one = plan.round_mechanism
    assert one is not None
    spending = phase_spending(plan, charged([Charge(plan_hash=plan.hash, mechanism=one.to_dict(), count=2)]), "ledger")
    assert spending is not None
    accountant = PLDAccountant()
    step = dp_accounting.PoissonSampledDpEvent(one.sampling_rate, dp_accounting.GaussianDpEvent(one.noise_multiplier))
    accountant.compose(dp_accounting.SelfComposedDpEvent(step, 2 * one.steps))
    assert spending.epsilon == pytest.approx(accountant.get_epsilon(plan.privacy.delta), abs=2e-3)
    assert spending.left == pytest.approx(4.0 - spending.epsilon)
    assert (spending.charges, spending.epsilon_colluding, spending.cap) == (2, None, 4.0)


def test_a_plan_without_privacy_spends_nothing_that_could_be_stated() -> None:
    assert phase_spending(plan_of(), charged([]), "ledger") is None


def test_rows_are_counted_by_part_and_day(tmp_path: Path) -> None:
    days = [1, 1, 2, 9, 9, 9, 20]
    table = pa.table(
        {
            "time": pa.array([datetime(2025, 1, day, 12) for day in days], pa.timestamp("us")),
            "label_time": pa.array([datetime(2025, 1, day, 13) for day in days], pa.timestamp("us")),
            "label": pa.array([0] * 7, pa.int8()),
            "amount": pa.array([1.0] * 7),
        }
    )
    folder = BankFolder.create(tmp_path / "north", "north", table, GENERATED_CONTRACT)
    split = SplitConfig.model_validate(
        {"origin": "2025-01-01", "train_days": (0, 9), "test_days": (18, 25), "validation_days": 2}
    )
    used = data_used(folder, split)
    assert used.parts == (
        DataPart(part="train", rows=3, first="2025-01-01", last="2025-01-02"),
        DataPart(part="validation", rows=3, first="2025-01-09", last="2025-01-09"),
        DataPart(part="test", rows=1, first="2025-01-20", last="2025-01-20"),
    )
    assert (
        used.source_digest
        != data_used(
            BankFolder.fill(folder.path, "north", table[:3], Contract.model_validate(GENERATED_CONTRACT.model_dump())),
            split,
        ).source_digest
    )


def test_an_audits_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    facts = {"name": "a", "mechanism": "m", "claimed": 3.0, "lower_bound": None, "confidence": 0.999, "trials": 10}
    path = tmp_path / "audit.json"
    path.write_text(json.dumps([facts | {"verdict": "sound", "detail": {"auc": 0.5}}]))
    (one,) = read_audit(path)
    assert (one.name, one.lower_bound, one.detail) == ("a", None, {"auc": 0.5})
    path.write_text(json.dumps([facts | {"verdict": "sound", "trials": -1}]))
    with pytest.raises(SourceError, match=r"audit\.json: 0\.trials"):
        read_audit(path)
    path.write_text("not JSON")
    with pytest.raises(SourceError, match="expected a JSON list"):
        read_audit(path)
    with pytest.raises(SourceError, match="cannot be read"):
        read_audit(tmp_path / "none.json")


def test_problems_with_a_banks_data_are_stated_without_quoting_it() -> None:
    def fail(error: Exception) -> None:
        raise error

    problems = Problems()
    assert problems.attempt(fail, SourceError("column 'amount' holds text ('12,50')")) is None
    assert problems.attempt(fail, ValueError("could not convert 'Jane Doe'")) is None
    assert problems.attempt(fail, PlanError("the plan cannot be read")) is None
    assert problems.attempt(len, "abc") == 3
    said = " ".join(problems.found)
    assert "12,50" not in said
    assert "Jane" not in said
    assert "PlanError: the plan cannot be read" in said
    with pytest.raises(ZeroDivisionError):
        problems.attempt(fail, ZeroDivisionError())
