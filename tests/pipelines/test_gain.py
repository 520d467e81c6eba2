"""What banks gained, over a consortium: bins that add up, with noise and without, and nothing else that leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from memory_fleet import INSTANCE, PRIVATE, SECURE, Consortium
from sklearn.metrics import average_precision_score

from bank_nodes.folder.gain_reports import GainReports
from fraudfl.data.split import split_rows
from fraudfl.folder import BankFolder
from fraudfl.gates.measures import BANKS_LOSING, MEASURES, Measured, Unknown
from fraudfl.metrics.gain_bins import GAIN_SIZE, GainBins
from fraudfl.privacy.accounting import epsilon
from fraudfl.privacy.mechanisms import mechanism_from_dict
from fraudfl.protocols import Reply, Request
from fraudfl.transfer.frame import unframe
from pipelines.gain import noise_of_sum
from pipelines.phase import run_phase
from server.rounds.pooled import LocalBanks
from server.store.summary import _for_others

Make = Callable[..., Consortium]
MASKED = SECURE | {"baselines": ["alone"]}
NOISY = {
    **PRIVATE,
    "baselines": ["alone"],
    "privacy": {**PRIVATE["privacy"], "evaluation_share": 0.3, "encoder_share": 0.3},
}


def own_gain(one: Consortium, bank: str) -> float | None:
    """A bank's gain by scikit-learn, from the scores in its folder."""
    folder = BankFolder(one.folders / bank)
    federated, alone = (folder.scores(INSTANCE, f"{way}-test") for way in ("federated", "alone"))
    table = folder.table()
    labels = table.filter(pa.array(split_rows(table, one.plan.split).test))["label"].to_numpy()
    if not labels.any():
        return None
    return float(average_precision_score(labels, federated) - average_precision_score(labels, alone))


def exact_bins(one: Consortium) -> GainBins:
    return GainBins.of_gains(own_gain(one, bank) for bank in one.fleet.banks())


def replies(one: Consortium, kind: str) -> dict[str, Reply]:
    found = {bank: unframe(copies[0]) for (bank, key), copies in one.fleet.sent.items() if f"/{kind}/" in key}
    assert all(reply.kind == kind for reply in found.values())
    return found


@pytest.fixture(scope="module")
def ended(shared: Make) -> tuple[Consortium, dict[str, Any]]:
    one = shared("ended")
    pooled = LocalBanks(one.folders, one.plan, INSTANCE, one.place)
    return one, run_phase(one.phase(pooled), ("alone",))


def test_the_bins_of_six_banks_add_up(ended: tuple[Consortium, dict[str, Any]]) -> None:
    one, outcome = ended
    bins = GainBins.from_dict(outcome["metrics"]["gain_bins"])
    assert bins == exact_bins(one)
    assert sum(bins.counts) + bins.undefined == 6
    assert bins.noise == 0


def test_a_reply_holds_the_bin_and_nothing_of_what_the_bank_knows(ended: tuple[Consortium, dict[str, Any]]) -> None:
    one, _ = ended
    found = replies(one, "gain")
    assert len(found) == 6
    for bank, reply in found.items():
        assert (dict(reply.values), set(reply.payloads)) == ({}, {"gain"})
        assert len(reply.payloads["gain"]) < 2 * GAIN_SIZE
        report = GainReports(one.folders / bank).one(INSTANCE)
        assert report["own"]["choice"]
        everything = b"".join(data for (sender, _), sent in one.fleet.sent.items() if sender == bank for data in sent)
        for word in (b"personalised", b"takings", b"fine-tuned"):
            assert word not in everything


def test_every_bank_has_its_own_report_and_model_and_the_coordinator_has_none(
    ended: tuple[Consortium, dict[str, Any]],
) -> None:
    one, outcome = ended
    for bank in one.fleet.banks():
        report = GainReports(one.folders / bank).one("pilot")
        assert report["plan_hash"] == one.plan.hash
        assert (one.folders / bank / "personal" / report["own"]["file"]).exists()
    assert not [path for path in one.place.rglob("*") if "gain" in path.name or "personal" in path.name]
    assert set(outcome["metrics"]["gain_bins"]) == {"edges", "counts", "undefined", "noise"}


def test_simulation_says_how_personalised_models_do_over_all_rows(ended: tuple[Consortium, dict[str, Any]]) -> None:
    one, outcome = ended
    own = LocalBanks(one.folders, one.plan, INSTANCE, one.place).scored("personalised", "test")
    found = outcome["metrics"]["personalised"]
    assert found["auprc"] == pytest.approx(average_precision_score(own.labels, own.logits))
    told = [rows for rows in own.banks.values() if own.labels[rows].any()]
    means = [average_precision_score(own.labels[rows], own.logits[rows]) for rows in told]
    assert found["auprc_bank_mean"]["personalised"] == pytest.approx(np.mean(means))
    low, high = found["gain_over_federated"]
    assert low <= found["auprc"] - outcome["metrics"]["federated"]["auprc"] <= high


def test_the_summary_keeps_its_agreed_form(ended: tuple[Consortium, dict[str, Any]]) -> None:
    shown = _for_others(ended[1])["metrics"]
    assert not {"gain_bins", "personalised"} & set(shown)
    assert shown["federated"] == ended[1]["metrics"]["federated"]


def test_the_gate_reads_the_bins(ended: tuple[Consortium, dict[str, Any]]) -> None:
    outcome = ended[1]
    losing = MEASURES[BANKS_LOSING].read(outcome, 0.01)
    assert isinstance(losing, Measured)
    counts = outcome["metrics"]["gain_bins"]["counts"]
    assert losing.value == pytest.approx(sum(counts[:5]) / sum(counts))
    assert losing.exact


def test_under_secure_aggregation_the_same_bins_come_out_of_masked_replies(consortium: Make) -> None:
    one = consortium(**MASKED)
    outcome = run_phase(one.phase(), ())
    assert GainBins.from_dict(outcome["metrics"]["gain_bins"]) == exact_bins(one)
    found = replies(one, "gain")
    assert len(found) == 6
    assert all((dict(reply.values), set(reply.payloads)) == ({}, {"gain"}) for reply in found.values())
    # A masked vector has no zeros to tell from a one.
    assert len({reply.payloads["gain"] for reply in found.values()}) == 6


def test_with_noise_the_bins_say_how_much_and_epsilon_pays_for_it(consortium: Make) -> None:
    one = consortium(**NOISY)
    outcome = run_phase(one.phase(), ())
    bins = GainBins.from_dict(outcome["metrics"]["gain_bins"])
    mechanism = one.plan.mechanism("gain")
    assert mechanism is not None
    assert bins.noise == noise_of_sum(one.plan, 6) == pytest.approx(mechanism.share_deviation * np.sqrt(6))
    exact = exact_bins(one)
    noise = np.append(np.subtract(bins.counts, exact.counts), bins.undefined - exact.undefined)
    # Twelve draws: their spread lies within these bounds but once in ten thousand runs.
    assert 0.3 < noise.std() / bins.noise < 2.1
    for bank in one.fleet.banks():
        charged = [mechanism_from_dict(facts) for facts in one.ledger(bank).mechanisms()]
        assert mechanism in charged
        assert epsilon(charged, one.plan.delta) <= 4.0 * (1 + 1e-6)
    losing = MEASURES[BANKS_LOSING].read(outcome, 0.01)
    assert isinstance(losing, Unknown) or (losing.interval is not None and not losing.exact)


def test_a_bank_without_fraud_is_counted_apart_and_holds_nobody_up(consortium: Make) -> None:
    one = consortium()
    folder = BankFolder(one.folders / "bank-03")
    table = folder.table()
    index = table.column_names.index("label")
    zeros = pa.array(np.zeros(table.num_rows), table.schema.field("label").type)
    BankFolder.fill(folder.path, "bank-03", table.set_column(index, "label", zeros), folder.contract)
    tiny = BankFolder(one.folders / "bank-04")
    BankFolder.fill(tiny.path, "bank-04", tiny.table().slice(0, 2), tiny.contract)
    outcome = run_phase(one.phase(), ())
    bins = GainBins.from_dict(outcome["metrics"]["gain_bins"])
    assert (outcome["status"], bins.undefined, sum(bins.counts)) == ("completed", 2, 4)
    assert GainReports(tiny.path).one("pilot")["takings"] is None


def test_a_bank_that_was_left_out_alone_trains_alone_when_it_is_asked_for_its_gain(
    consortium: Make, ended: tuple[Consortium, dict[str, Any]]
) -> None:
    one = consortium()

    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply | None:
        return None if (bank, request.kind) == ("bank-02", "alone") else work()

    one.happening = happening
    outcome = run_phase(one.phase(), ())
    assert outcome["metrics"]["gain_bins"] == ended[1]["metrics"]["gain_bins"]
    mine, usual = (BankFolder(of.folders / "bank-02").scores(INSTANCE, "alone-test") for of in (one, ended[0]))
    assert mine.tobytes() == usual.tobytes()


def test_without_a_quorum_the_model_is_registered_and_the_gate_has_nothing_to_read(consortium: Make) -> None:
    one = consortium()

    def happening(_bank: str, request: Request, work: Callable[[], Reply]) -> Reply | None:
        return None if request.kind == "gain" else work()

    one.happening = happening
    outcome = run_phase(one.phase(), ())
    assert (outcome["status"], outcome["model_version"]) == ("completed", 1)
    assert "gain_bins" not in outcome["metrics"]
    assert not one.events("gain")
    [event] = one.events("gain missed")
    assert "gain" in event["reason"]
    assert isinstance(MEASURES[BANKS_LOSING].read(outcome, 0.01), Unknown)


def test_nobody_is_asked_for_a_gain_where_nobody_trains_alone(consortium: Make) -> None:
    one = consortium(baselines=[])
    outcome = run_phase(one.phase(), ())
    assert "gain" not in {request.kind for request in one.fleet.asked}
    assert "gain_bins" not in outcome["metrics"]
