"""What a bank learns of its gain and keeps, and the one bin that may leave."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from memory_fleet import INSTANCE, PRIVATE, SECURE, asking, make_bank, plan_of, set_policy, tiny_config
from sklearn.metrics import average_precision_score

from bank_nodes.answers.gaining import Gaining
from bank_nodes.folder.gain_reports import AlertTerms, GainReports, kept_scores, own_figures
from bank_nodes.folder.gain_reports import plan_of as plan_of_report
from bank_nodes.gate.checks import Draft, check_draft
from bank_nodes.rules.policy import read_policy
from fraudfl.data.simulate import GENERATED_CONTRACT, generate
from fraudfl.data.split import split_rows
from fraudfl.errors import ReleaseRefused, SourceError, WireError
from fraudfl.features.encoder import Encoder, fit_encoder
from fraudfl.folder import BankFolder
from fraudfl.metrics.bank_gain import BankRows, bank_gain
from fraudfl.metrics.bootstrap import Bootstrap
from fraudfl.metrics.gain_bins import GAIN_SIZE, gain_vector
from fraudfl.models.bundle import Bundle
from fraudfl.models.mlp import build_model, layout
from fraudfl.models.personal import personal_for
from fraudfl.plan import Plan
from fraudfl.privacy.mechanisms import GaussianSum
from fraudfl.privacy.noise import NoiseSource
from fraudfl.protocols import Request, Vector
from fraudfl.transfer.codec import encode
from fraudfl.transfer.model import start_vector, vector_digest
from fraudfl.transfer.pack import pack_counts, unpack_counts, unpack_signed

PLAN = plan_of()
NOISY: dict[str, Any] = {
    **PRIVATE,
    "baselines": ["alone"],
    "privacy": {**PRIVATE["privacy"], "evaluation_share": 0.3, "encoder_share": 0.3},
}


def trained(plan: Plan, width: int) -> Vector:
    """Stands for the global model: the public start, with an output layer that tells rows apart."""
    vector = start_vector(plan, width, {})
    vector[-9:-1] *= 8
    return vector


def encoder_of(folder: BankFolder, plan: Plan) -> Encoder:
    return fit_encoder(plan.encoder, folder.sketch(plan.features, plan.split, plan.encoder))


def request_of(folder: BankFolder, plan: Plan) -> Request:
    """What the coordinator asks, with the model sent whole."""
    encoder = encoder_of(folder, plan)
    vector = trained(plan, encoder.width)
    values = {"version": plan.rounds, "model": vector_digest(vector), "encoder": encoder.digest}
    model = encode(vector, "float32", layout(build_model(plan.model, encoder.width)))
    payloads = {"encoder": encoder.to_bytes(), "model": model}
    return asking(plan, "gain", round=plan.rounds, values=values, payloads=payloads)


def asked(folder: BankFolder, plan: Plan = PLAN, noise: NoiseSource | None = None) -> Draft:
    """What the bank would release."""
    (folder.path / "plans").mkdir(exist_ok=True)
    (folder.path / "plans" / f"{plan.hash}.json").write_bytes(plan.canonical_json())
    draft = Gaining(folder, noise or NoiseSource()).gain(request_of(folder, plan), plan)
    check_draft(plan, "gain", draft)
    return draft


def relabelled(folder: BankFolder, labels: np.ndarray) -> BankFolder:
    table = folder.table()
    column = pa.array(labels, table.schema.field("label").type)
    changed = table.set_column(table.column_names.index("label"), "label", column)
    return BankFolder.fill(folder.path, folder.bank, changed, folder.contract)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> BankFolder:
    """A bank that was asked once; tests look, and change nothing."""
    path = tmp_path_factory.mktemp("made") / "bank-01"
    make_bank(path)
    rows = generate(tiny_config().data.generator.model_copy(update={"transactions": 4000, "banks": 1}), 1)
    folder = BankFolder.fill(path, "bank-01", rows, GENERATED_CONTRACT)
    asked(folder)
    return folder


def report_of(folder: BankFolder) -> dict[str, Any]:
    return GainReports(folder.path).one(INSTANCE)


def rows_of(folder: BankFolder) -> BankRows:
    table = folder.table()
    table = table.filter(pa.array(split_rows(table, PLAN.split).test))
    clusters = np.unique(table["account"].to_numpy(), return_inverse=True)[1]
    return BankRows(table["label"].to_numpy(), table["amount"].to_numpy(), clusters)


def test_the_bin_that_leaves_is_that_of_federated_minus_alone(made: BankFolder) -> None:
    labels = rows_of(made).labels
    assert labels.sum() > 20
    federated, alone = (
        average_precision_score(labels, made.scores(INSTANCE, f"{way}-test")) for way in ("federated", "alone")
    )
    draft = asked(made)
    assert (dict(draft.values), set(draft.payloads), dict(draft.vectors)) == ({}, {"gain"}, {})
    assert unpack_counts(draft.payloads["gain"], GAIN_SIZE).tolist() == gain_vector(federated - alone).tolist()
    assert report_of(made)["auprc_gain"]["federated"]["value"] == pytest.approx(federated - alone)


def test_its_figures_are_those_of_its_own_rows_at_the_plans_budget(made: BankFolder) -> None:
    scores = {way: made.scores(INSTANCE, f"{way}-test") for way in ("alone", "federated", "personalised")}
    expected = bank_gain(scores, rows_of(made), 0.0, Bootstrap(budget=PLAN.alert_budget)).to_dict()
    found = report_of(made)
    # The clusters' numbers differ, and with them the draws: the figures do not.
    for way in scores:
        for figure in ("frauds_caught", "money_saved"):
            assert found["takings"]["takings"][way][figure]["value"] == pytest.approx(
                expected["takings"][way][figure]["value"]
            )
        assert found["auprc"][way] == pytest.approx(average_precision_score(rows_of(made).labels, scores[way]))
    assert found["takings"]["frauds"] == int(rows_of(made).labels.sum())
    low, high = found["auprc_gain"]["personalised"]["interval"]
    assert low <= found["auprc_gain"]["personalised"]["value"] <= high


def test_what_it_keeps_is_for_its_own_user_alone(made: BankFolder) -> None:
    kept = [*(made.path / "gain").iterdir(), *(made.path / "personal").iterdir()]
    assert len(kept) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    assert {stat.S_IMODE(path.parent.stat().st_mode) for path in kept} == {0o700}


def test_the_kept_model_scores_as_the_bank_was_scored(made: BankFolder) -> None:
    encoder = encoder_of(made, PLAN)
    bundle = Bundle(encoder=encoder, model=PLAN.model, weights=trained(PLAN, encoder.width), thresholds={"budget": 9.0})
    own = personal_for(made.path, bundle)
    assert own.facts.choice == report_of(made)["own"]["choice"]
    features = made.features(PLAN.features).filter(pa.array(split_rows(made.table(), PLAN.split).test))
    assert own.on(bundle).score(features).tobytes() == made.scores(INSTANCE, "personalised-test").tobytes()
    validation = made.scores(INSTANCE, "personalised-validation")
    alerts = (validation >= own.on(bundle).thresholds["budget"]).mean()
    assert alerts <= PLAN.alert_budget
    assert own.on(bundle).thresholds["budget"] < 9.0


def test_a_bank_with_a_budget_and_costs_of_its_own_is_judged_by_them(made: BankFolder, tmp_path: Path) -> None:
    folder = make_bank(tmp_path / "bank-01", alert_budget=0.1, cost_per_alert=2.5)
    policy = read_policy(folder.path)
    assert AlertTerms.of(policy, PLAN) == AlertTerms(budget=0.1, cost=2.5)
    asked(folder)
    found = report_of(folder)
    assert found["alerts"] == {"budget": 0.1, "cost": 2.5}
    assert found["takings"]["alerts"] == pytest.approx(0.1 * found["takings"]["transactions"])
    # The budget is the bank's own affair: the same bin leaves.
    before = asked(folder).payloads["gain"]
    set_policy(folder.path)
    assert asked(folder).payloads["gain"] == before
    assert report_of(folder)["alerts"] == {"budget": PLAN.alert_budget, "cost": 0.0}


def test_a_bank_without_any_fraud_says_undefined_and_keeps_the_global_model(tmp_path: Path) -> None:
    folder = make_bank(tmp_path / "bank-01")
    folder = relabelled(folder, np.zeros(folder.table().num_rows, dtype=np.int8))
    counts = unpack_counts(asked(folder).payloads["gain"], GAIN_SIZE)
    assert counts.tolist() == gain_vector(None).tolist()
    found = report_of(folder)
    assert found["auprc"] == {"alone": None, "federated": None, "personalised": None}
    assert found["auprc_gain"] == {"federated": None, "personalised": None}
    assert found["own"]["choice"] == "global"
    assert "0 frauds to train on" in found["own"]["reason"]
    assert found["takings"]["takings"]["federated"]["frauds_caught"]["value"] == 0


@pytest.mark.parametrize("rows", [1, 3])
def test_a_bank_with_next_to_no_rows_says_undefined(tmp_path: Path, rows: int) -> None:
    folder = make_bank(tmp_path / "bank-01")
    # The first rows of the history: none of them is a test row.
    folder = BankFolder.fill(folder.path, "bank-01", folder.table().slice(0, rows), folder.contract)
    counts = unpack_counts(asked(folder).payloads["gain"], GAIN_SIZE)
    assert counts.tolist() == gain_vector(None).tolist()
    found = report_of(folder)
    assert (found["takings"], found["own"]["choice"]) == (None, "global")


def test_scores_that_are_not_finite_are_ranked_and_hold_nothing_up(tmp_path: Path) -> None:
    folder = make_bank(tmp_path / "bank-01")
    asked(folder)
    broken = folder.scores(INSTANCE, "alone-test")
    broken[:3] = [np.nan, np.inf, -np.inf]
    folder.keep_scores(INSTANCE, "alone-test", broken)
    counts = unpack_counts(asked(folder).payloads["gain"], GAIN_SIZE)
    assert counts.sum() == 1
    ranked = kept_scores(folder, INSTANCE)["alone"]
    assert ranked[1] == ranked.max()
    assert ranked[0] == ranked[2] == ranked.min()


def test_with_a_share_of_epsilon_the_bin_carries_the_noise_of_its_mechanism() -> None:
    plan = plan_of(**NOISY)
    mechanism = plan.mechanism("gain")
    assert isinstance(mechanism, GaussianSum)
    assert mechanism.sensitivity == pytest.approx(np.sqrt(2))
    [rule] = plan.releases["gain"]
    assert (rule.content, rule.covered) == ("the bin of the bank's gain", True)


def test_noisy_bins_are_what_the_noise_source_says(tmp_path: Path) -> None:
    plan = plan_of(**NOISY)
    mechanism = plan.mechanism("gain")
    assert mechanism is not None
    folder = make_bank(tmp_path / "bank-01")
    draws = []
    for seed in range(12):
        draft = asked(folder, plan, NoiseSource.for_tests(seed))
        assert draft.mechanism == mechanism
        draws.append(unpack_signed(draft.payloads["gain"], GAIN_SIZE))
    exact = gain_vector(_gain(folder))
    noise = np.array(draws) - exact
    assert noise.std() == pytest.approx(np.sqrt(mechanism.share_deviation**2 + 1 / 12), rel=0.2)
    assert abs(noise.mean()) < 4 * mechanism.share_deviation / np.sqrt(noise.size)


def _gain(folder: BankFolder) -> float | None:
    found = report_of(folder)["auprc_gain"]["federated"]
    return None if found is None else float(found["value"])


# The gate.


def holding(plan: Plan, vector: np.ndarray) -> Draft:
    if plan.secure_aggregation is not None:
        return Draft(vectors={"gain": vector.astype(np.float64)})
    return Draft(payloads={"gain": pack_counts(vector)})


@pytest.mark.parametrize("phase", [{}, SECURE | {"baselines": ["alone"]}], ids=["open", "masked"])
def test_the_gate_lets_one_bin_pass_and_nothing_that_says_more(phase: dict[str, Any]) -> None:
    plan = plan_of(**phase)
    one = gain_vector(0.03)
    check_draft(plan, "gain", holding(plan, one))
    for more in (2 * one, one + gain_vector(-0.5), 0 * one, one + 1000 * gain_vector(None)):
        with pytest.raises(ReleaseRefused, match="single 1"):
            check_draft(plan, "gain", holding(plan, more))
    beside = {"frauds_caught": 12}
    with pytest.raises(ReleaseRefused):
        check_draft(plan, "gain", Draft(values=beside, payloads=holding(plan, one).payloads, vectors={}))
    with pytest.raises((ReleaseRefused, WireError)):
        check_draft(plan, "gain", holding(plan, np.append(one, 0)))
    with pytest.raises((ReleaseRefused, WireError)):
        check_draft(plan, "gain", Draft(payloads={"gain": pack_counts(one), "scores": pack_counts(one)}))


# Figures made again.


def test_other_terms_give_other_figures_from_the_same_scores(made: BankFolder) -> None:
    plan = plan_of_report(made.path, report_of(made))
    assert plan == PLAN
    dear = own_figures(made, plan, kept_scores(made, INSTANCE), AlertTerms(budget=0.2, cost=100.0))
    free = own_figures(made, plan, kept_scores(made, INSTANCE), AlertTerms(budget=0.2, cost=0.0))
    alerts = 0.2 * free["takings"]["transactions"]
    for way in ("alone", "federated", "personalised"):
        first, second = (found["takings"]["takings"][way] for found in (free, dear))
        assert first["money_saved"]["value"] - second["money_saved"]["value"] == pytest.approx(100 * alerts)
        assert first["frauds_caught"] == second["frauds_caught"]


def test_a_model_that_was_left_alone_has_the_federated_models_figures(made: BankFolder) -> None:
    scores = dict(kept_scores(made, INSTANCE))
    scores["personalised"] = scores["federated"].copy()
    found = own_figures(made, PLAN, scores, AlertTerms(budget=0.1, cost=1.0))
    nearly = scores | {"personalised": scores["federated"] + np.float32(0.5)}
    expected = own_figures(made, PLAN, nearly, AlertTerms(budget=0.1, cost=1.0))
    # A constant more changes no order, and is not taken for the same.
    assert json.dumps(found) == json.dumps(expected)


def test_figures_of_rows_that_were_not_scored_are_refused(tmp_path: Path) -> None:
    folder = make_bank(tmp_path / "bank-01")
    asked(folder)
    table = folder.table()
    other = BankFolder.fill(folder.path, "bank-01", table.filter(pc.greater(table["amount"], 20.0)), GENERATED_CONTRACT)
    with pytest.raises(SourceError, match="The data are others than in that phase"):
        own_figures(other, PLAN, kept_scores(other, INSTANCE), AlertTerms(budget=0.1, cost=0.0))


def test_the_newest_report_of_a_phase_is_shown_and_a_missing_or_damaged_one_is_named(tmp_path: Path) -> None:
    reports = GainReports(tmp_path)
    with pytest.raises(SourceError, match="holds no report;"):
        reports.one(None)
    for instance in ("first", "second"):
        reports.keep(instance, PLAN, {"own": {"number": instance}})
    (tmp_path / "gain" / "first.json").write_text(
        (tmp_path / "gain" / "first.json").read_text().replace('"at": "20', '"at": "19')
    )
    assert reports.one(None)["instance"] == reports.one("pilot")["instance"] == "second"
    assert reports.one("first")["own"] == {"number": "first"}
    with pytest.raises(SourceError, match="no report of phase 'rollout'"):
        reports.one("rollout")
    (tmp_path / "gain" / "third.json").write_text("{}")
    with pytest.raises(SourceError, match=r"third\.json: is not a report"):
        reports.one(None)
    with pytest.raises(SourceError, match="cannot be read"):
        plan_of_report(tmp_path, {"plan_hash": "ab" * 32})
