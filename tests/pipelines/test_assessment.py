"""An assessment over real bank folders: what is summed, what each bank hears, and what stays where it was."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from memory_fleet import INSTANCE, Consortium, KilledError, set_policy, tiny_config

from bank_nodes.folder.readiness_reports import kept_readiness
from fraudfl.assessment.counting import count_profile
from fraudfl.assessment.estimates import Ahead
from fraudfl.assessment.negotiated import Schema, negotiated
from fraudfl.assessment.report import READINESS
from fraudfl.config import AssessmentConfig, PhaseConfig
from fraudfl.data.schema import Contract
from fraudfl.data.simulate import GENERATED_CONTRACT
from fraudfl.errors import QuorumError
from fraudfl.features.encoder import Encoder
from fraudfl.folder import BankFolder, bank_paths
from fraudfl.planning import make_plan
from fraudfl.privacy.accounting import epsilon
from fraudfl.privacy.mechanisms import mechanism_from_dict
from fraudfl.protocols import Reply, Request
from fraudfl.transfer.frame import unframe
from pipelines.assessment import run_assessment
from pipelines.phase import run_phase

Make = Callable[..., Consortium]
BANKS = [f"bank-0{number}" for number in range(1, 7)]
OPEN = {"kind": "assessment"}
SEALED = OPEN | {"secure_aggregation": {"min_cohort": 4, "colluding": 1}}
BUDGET = {"epsilon": 2.0, "units": 5000, "delta": 1e-6}
NOISY = OPEN | {"privacy": {"mode": "local", **BUDGET}}
SHARED_NOISE = SEALED | {"privacy": {"mode": "distributed", "expected_units": 6000, **BUDGET}}
BY_ACCOUNT = OPEN | {"privacy": {"mode": "local", "unit": "account", "account_rows": 8, **BUDGET}}


def assess(one: Consortium, ahead: Sequence[Ahead] = ()) -> dict[str, Any]:
    settings = one.config.phases[0]
    assert isinstance(settings, AssessmentConfig)
    return run_assessment(one.phase(), settings, lambda _schema: ahead)


def counted(one: Consortium, bank: str) -> np.ndarray[Any, Any]:
    spec = one.plan.profile
    assert spec is not None
    return count_profile(BankFolder(one.folders / bank).table(), spec, one.plan.split, one.plan.account_rows)


def spoil(one: Consortium, bank: str, **columns: Callable[[pa.ChunkedArray], Any]) -> None:
    """Let a bank keep some columns otherwise than the others."""
    folder = BankFolder(one.folders / bank)
    table = folder.table()
    for name, change in columns.items():
        place = table.column_names.index(name)
        table = table.set_column(place, name, change(table[name]))
    BankFolder.fill(folder.path, bank, table, folder.contract)


def nothing(column: pa.ChunkedArray) -> pa.Array:
    return pa.nulls(len(column), pa.string())


@pytest.fixture(scope="module", params=["open", "sealed"])
def exact(request: pytest.FixtureRequest, shared: Make) -> tuple[Consortium, dict[str, Any]]:
    """A whole assessment without noise; one bank has no channel, another has its amounts in cents."""
    one = shared(request.param, **(OPEN if request.param == "open" else SEALED))
    spoil(one, "bank-02", channel=nothing)
    spoil(one, "bank-05", amount=lambda column: pa.compute.multiply(column, 100.0))
    return one, assess(one)


def test_the_sum_is_what_the_banks_have(exact: tuple[Consortium, dict[str, Any]]) -> None:
    one, outcome = exact
    found = outcome["assessment"]
    tables = [BankFolder(one.folders / bank).table() for bank in BANKS]
    assert (found["banks"], found["noise"]) == (6, 0.0)
    assert found["rows"]["value"] == sum(table.num_rows for table in tables)
    frauds = sum(found["windows"][part]["frauds"]["value"] for part in ("train", "test", "unused"))
    assert frauds == sum(int(table["label"].to_numpy().sum()) for table in tables)
    channel = next(column for column in found["columns"] if column["column"] == "channel")
    assert channel["banks"]["value"] == 5
    assert outcome["status"] == "completed"
    assert outcome["metrics"] is outcome["model_version"] is None
    assert json.loads((one.place / READINESS).read_text()) == found


def test_who_lacks_a_column_is_named_only_where_each_profile_is_seen(exact: tuple[Consortium, dict[str, Any]]) -> None:
    one, outcome = exact
    lacking = {column["column"]: column["lacking"] for column in outcome["assessment"]["columns"]}
    sealed = one.plan.secure_aggregation is not None
    assert lacking["channel"] == (None if sealed else ["bank-02"])
    assert lacking["currency"] == (None if sealed else [])


def test_every_bank_has_a_report_that_is_its_own(exact: tuple[Consortium, dict[str, Any]]) -> None:
    one, _ = exact
    for bank in BANKS:
        path = one.folders / bank / "readiness" / f"{INSTANCE}.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert json.loads(path.read_text())["bank"] == bank
    verdicts = {
        bank: {one["topic"]: one["verdict"] for one in kept_readiness(one.folders / bank)[0]["remarks"]}
        for bank in BANKS
    }
    assert verdicts["bank-02"]["column channel"] == "warning"
    assert [bank for bank in BANKS if verdicts[bank]["column amount"] == "bad"] == ["bank-05"]


def test_taking_the_sums_releases_nothing(exact: tuple[Consortium, dict[str, Any]]) -> None:
    one, _ = exact
    for bank in BANKS:
        ledger = one.ledger(bank)
        (entry,) = [entry for entry in ledger.entries() if (entry.event, entry.kind) == ("released", "readiness")]
        reply = unframe(ledger.kept(entry.key) or b"")
        assert (dict(reply.values), dict(reply.payloads), entry.mechanism) == ({}, {}, None)


def test_banks_noise_is_in_the_sum_and_in_the_figures_intervals(shared: Make) -> None:
    for name, phase in (("local", NOISY), ("shared", SHARED_NOISE)):
        one = shared(name, **phase)
        found = assess(one)["assessment"]
        mechanism = one.plan.mechanism("profile")
        assert mechanism is not None
        assert found["noise"] == pytest.approx(mechanism.share_deviation * np.sqrt(6))
        truth = sum(BankFolder(one.folders / bank).table().num_rows for bank in BANKS)
        # Five standard deviations, so that chance hardly ever fails this test.
        reach = 2.6 * (found["rows"]["high"] - found["rows"]["low"]) / 2
        assert abs(found["rows"]["value"] - truth) < reach
        assert found["rows"]["low"] < found["rows"]["high"]
        assert all(column["lacking"] is None for column in found["columns"])
        spent = [mechanism_from_dict(facts) for facts in one.ledger("bank-01").mechanisms(one.plan.hash)]
        assert spent == [mechanism]
        assert 0 < epsilon(spent, 1e-6) <= 2.0


def test_noise_that_each_bank_adds_a_share_of_is_less_than_what_each_adds_in_full(shared: Make) -> None:
    noises = [
        float(one.plan.mechanism("profile").share_deviation)  # type: ignore[union-attr]
        for one in (shared("l", **NOISY), shared("s", **SHARED_NOISE))
    ]
    assert noises[1] < noises[0] / np.sqrt(3)


def test_with_accounts_as_units_each_counts_only_so_often(shared: Make) -> None:
    one = shared("accounts", **BY_ACCOUNT)
    found = assess(one)["assessment"]
    bounded = sum(counted(one, bank) for bank in BANKS)
    spec = one.plan.profile
    assert spec is not None
    whole = bounded[spec.blocks["category: currency"]].sum()
    assert whole < sum(BankFolder(one.folders / bank).table().num_rows for bank in BANKS)
    assert abs(found["rows"]["value"] - whole) < 2.6 * (found["rows"]["high"] - found["rows"]["low"]) / 2


def test_a_coordinator_that_dies_asks_for_profiles_only_once(consortium: Make) -> None:
    one = consortium(**NOISY)

    def die(_bank: str, request: Request, work: Callable[[], Reply]) -> Reply:
        if request.kind == "readiness":
            raise KilledError
        return work()

    one.happening = die
    with pytest.raises(KilledError):
        assess(one)
    before = one.checkpoints.latest().facts["notes"]["profile"]
    one.happening = lambda _bank, _request, work: work()
    asked = len([request for request in one.fleet.asked if request.kind == "profile"])
    found = assess(one)["assessment"]
    assert len([request for request in one.fleet.asked if request.kind == "profile"]) == asked == 6
    assert one.checkpoints.latest().facts["notes"]["profile"] == before
    assert len(one.ledger("bank-01").mechanisms()) == 1
    assert found["banks"] == 6


def test_a_bank_that_cannot_be_told_holds_nobody_up(consortium: Make) -> None:
    one = consortium(**OPEN)
    one.happening = lambda bank, request, work: None if (bank, request.kind) == ("bank-03", "readiness") else work()
    assert assess(one)["assessment"]["banks"] == 6
    assert kept_readiness(one.folders / "bank-03") == []
    assert kept_readiness(one.folders / "bank-04")


def test_a_bank_whose_policy_forbids_it_keeps_its_profile(consortium: Make) -> None:
    one = consortium(**NOISY)
    set_policy(one.folders / "bank-06", approve={"automatic": True, "modes": ["distributed"]})
    outcome = assess(one)
    assert outcome["assessment"]["banks"] == 5
    assert {item["bank"] for item in outcome["excluded"]} == {"bank-06"}
    assert not [entry for entry in one.ledger("bank-06").entries() if entry.event == "released"]


def test_too_few_banks_end_it_with_the_reason(consortium: Make) -> None:
    one = consortium(**SEALED)
    one.happening = lambda bank, request, work: work() if bank in BANKS[:3] else None
    with pytest.raises(QuorumError):
        assess(one)
    assert not (one.place / READINESS).exists()


def test_what_comes_is_estimated_and_the_gates_demand_is_checked(shared: Make) -> None:
    one = shared("ahead", **OPEN, hope={"alone": 0.3, "gain": 0.1})
    plan = make_plan(tiny_config({"rounds": 5}), tiny_config({"rounds": 5}).phases[0], GENERATED_CONTRACT)
    found = assess(one, [Ahead(plan, banks=6, epsilon=None, asked=0.05)])["assessment"]
    (estimate,) = found["ahead"]
    assert (estimate["phase"], estimate["rounds"], estimate["banks"]) == ("pilot", 5, 6)
    assert estimate["weights"] == plan.model.size(estimate["inputs"])
    assert estimate["bytes_up"] > 5 * 6 * 4 * 0.8 * estimate["weights"]  # float32 updates
    assert estimate["seconds"] > 0
    assert (found["power"]["hope"]["asked"], found["power"]["hope"]["gain"]) == (0.05, 0.1)
    assert found["power"]["frauds"] == found["windows"]["test"]["frauds"]["value"]


def test_the_inputs_that_are_expected_are_those_that_the_encoder_gets_or_one_more(shared: Make) -> None:
    one = shared("inputs", **OPEN)
    config = tiny_config({"rounds": 1, "baselines": []})
    plan = make_plan(config, config.phases[0], GENERATED_CONTRACT)
    (estimate,) = assess(one, [Ahead(plan, banks=6)])["assessment"]["ahead"]
    pilot = shared("pilot", rounds=1, baselines=[])
    run_phase(pilot.phase(), ())
    width = Encoder.from_bytes((pilot.place / "encoder.json").read_bytes()).width
    # Nobody has counted yet whether each merchant was seen before the first training day.
    assert estimate["inputs"] in (width, width + 1)


def test_a_consortium_trains_where_some_banks_lack_columns(consortium: Make) -> None:
    one = consortium(rounds=1, baselines=[])
    contract = Contract.model_validate(GENERATED_CONTRACT.model_dump() | {"numeric": ("score",)})
    draw = np.random.default_rng(1)
    for path in bank_paths(one.folders):
        table = BankFolder(path).table()
        scores = draw.normal(size=table.num_rows) if path.name <= "bank-03" else np.full(table.num_rows, np.nan)
        table = table.append_column("score", pa.array(scores))
        if path.name == "bank-06":
            for name in ("channel", "merchant_category", "currency"):
                table = table.set_column(table.column_names.index(name), name, pa.nulls(table.num_rows, pa.string()))
        BankFolder.fill(path, path.name, table, contract)
    settings = one.config.phases[0]
    assert isinstance(settings, PhaseConfig)
    plan = make_plan(one.config, settings, contract)
    phase = replace(one.phase(), plan=plan)
    outcome = run_phase(phase, ())
    assert (outcome["status"], outcome["banks"], outcome["excluded"]) == ("completed", 6, [])
    columns = json.loads((one.place / "encoder.json").read_text())
    assert {entry["name"]: entry["missing"] for entry in columns["numeric"]}["score"]
    assert all(entry["missing"] for entry in columns["categorical"])
    without = negotiated(one.config, Schema.model_validate({"left_out": [
        {"column": "score", "reason": "few-banks", "found": 0.5, "least": 0.6}
    ]}))  # fmt: skip
    assert "score" not in make_plan(without, settings, contract).encoder.numeric
