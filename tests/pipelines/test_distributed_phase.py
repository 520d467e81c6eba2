"""Privacy mode `distributed`: DP-SGD on the union of the banks' rows, with noise in shares, charged at every bank."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dp_accounting import NeighboringRelation
from dp_accounting.pld import PLDAccountant
from memory_fleet import DISTRIBUTED, INSTANCE, PRIVATE, SECURE, Consortium, Happening, KilledError, set_policy
from numpy.typing import NDArray
from scipy import stats
from sealed_runs import Meant, begin, charged, go_on, openings, overhear

from bank_nodes.answers.tasks import Tasks
from fraudfl.errors import QuorumError
from fraudfl.features.encoder import Encoder
from fraudfl.folder import BankFolder
from fraudfl.metrics.histogram import ScoreHistogram
from fraudfl.plan import WINDOWS, Plan
from fraudfl.privacy.mechanisms import Mechanism, mechanism_from_dict
from fraudfl.privacy.noise import NoiseSource
from fraudfl.protocols import Reply, Request
from fraudfl.summed import entry_bound, parts_of
from fraudfl.training.batches import LocalData
from fraudfl.training.noisy_sum import NoisySums
from fraudfl.training.server_step import DpAdam, MomentumSgd, ServerStep, noise_of_mean
from pipelines.phase import run_phase
from server.rounds.noisy_step import NoisyStep

Make = Callable[..., Consortium]
BANKS = tuple(f"bank-0{number}" for number in range(1, 7))
ONE_EXCHANGE = {"secure_aggregation": {"min_cohort": 4, "colluding": 1, "recover": False}}


def with_privacy(phase: dict[str, Any], **privacy: Any) -> dict[str, Any]:
    return {**DISTRIBUTED, **phase, "privacy": {**DISTRIBUTED["privacy"], **privacy}}


def composed(mechanisms: list[Mechanism], delta: float) -> float:
    """ε by dp-accounting itself."""
    accountant = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE)
    for mechanism in mechanisms:
        accountant.compose(mechanism.dp_event())
    return float(accountant.get_epsilon(delta))


def spent(one: Consortium, bank: str, delta: float) -> float:
    return composed([mechanism_from_dict(facts) for facts in charged(one, bank)], delta)


# The same as one process on the union of all rows.


def sources() -> dict[str, NoiseSource]:
    return {bank: NoiseSource.for_tests(number) for number, bank in enumerate(BANKS)}


@pytest.fixture
def repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every bank draws its rows and its noise from a stream that the test can draw once more."""
    noise = sources()
    monkeypatch.setattr("bank_nodes.answers.answering.Tasks", lambda folder, _noise: Tasks(folder, noise[folder.bank]))


def bank_sums(one: Consortium, plan: Plan, encoder: Encoder) -> list[NoisySums]:
    """What the banks compute, without gate, masks, network or coordinator."""
    assert plan.round_mechanism is not None
    found = []
    for bank, noise in sources().items():
        rows = BankFolder(one.folders / bank).rows(plan.features, plan.split, encoder, "train")
        data = LocalData(rows.features, rows.labels, rows.clusters)
        found.append(
            NoisySums(
                plan.model,
                data,
                plan.training,
                plan.round_mechanism,
                account_rows=plan.account_rows,
                bound=entry_bound(plan, "train"),
                noise=noise,
            )
        )
    return found


def stepper_of(plan: Plan, size: int) -> ServerStep:
    assert plan.round_mechanism is not None
    if plan.strategy.name == "dpsgd":
        return MomentumSgd(size, momentum=plan.strategy.server_momentum)
    return DpAdam(size, noise_deviation=noise_of_mean(plan.round_mechanism, plan.parties))


@pytest.mark.parametrize(("name", "unit"), [("dpsgd", "transaction"), ("dpadam", "account")])
@pytest.mark.usefixtures("repeatable")
def test_the_federated_run_gives_the_model_of_one_process_on_the_union_up_to_the_grid(
    consortium: Make, monkeypatch: pytest.MonkeyPatch, name: str, unit: str
) -> None:
    meant = overhear(monkeypatch)
    rate = 0.01
    strategy = {"name": name, "weighting": "equal", "server_learning_rate": rate}
    phase = with_privacy({"strategy": strategy, "training": {"schedule": "constant"}}, unit=unit, account_rows=4)
    one = begin(consortium(**phase))
    plan = one.plan
    start = one.checkpoints.latest().arrays["model"].astype(np.float64)
    federated = go_on(one).state
    encoder = Encoder.from_bytes(federated.encoder)
    mechanism = plan.round_mechanism
    assert mechanism is not None
    (part,) = parts_of(plan, "train", encoder.width, 6)

    banks, stepper, model = bank_sums(one, plan, encoder), stepper_of(plan, len(start)), start.copy()
    for number in (1, 2, 3):
        at = one.checkpoints.kept[number - 1].arrays["model"]
        sums = np.array([bank.draw(at) for bank in banks])
        # Each bank's sum is, bit for bit, the one that it masked in the federated run.
        told = meant.of("train", number, 1, "update")
        assert [told[bank].tobytes() for bank in BANKS] == [row.tobytes() for row in sums]
        gradient = sums.sum(axis=0) / mechanism.expected_batch
        model = stepper.step(at.astype(np.float64), gradient, rate, noise_of_mean(mechanism, 6))
        # Six banks round each entry by less than one step of the grid, and divide by the public batch; all else is
        # float32. Momentum keeps at most twice of that; Adam divides by no less than sqrt(0.3) of the noise's part.
        rounded = 6 * part.encoding.step / mechanism.expected_batch
        reach = 2 * rounded if name == "dpsgd" else 4 * rounded / noise_of_mean(mechanism, 6)
        bound = rate * reach + 1e-6
        difference = np.abs(one.checkpoints.kept[number].arrays["model"] - model)
        assert difference.max() <= bound
        # A single round moves weights by several times more than the grid does.
        assert np.abs(model - at).max() > 3 * np.median(difference)
    assert part.encoding.step == pytest.approx(mechanism.share_deviation / 3)
    assert np.array_equal(federated.model, one.checkpoints.kept[3].arrays["model"])


@pytest.mark.usefixtures("repeatable")
def test_on_a_fine_grid_the_two_models_are_the_same_to_float32(
    consortium: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole trajectory of one process, which never hears of the federated one."""
    monkeypatch.setattr("fraudfl.summed.largest_step", lambda share: share / 2**20)
    strategy = {"name": "dpadam", "weighting": "equal", "server_learning_rate": 0.02, "averaging": 0.5}
    one = begin(consortium(**with_privacy({"strategy": strategy, "training": {"schedule": "constant"}})))
    plan = one.plan
    mechanism = plan.round_mechanism
    assert mechanism is not None
    model = one.checkpoints.latest().arrays["model"]
    federated = go_on(one).state
    banks = bank_sums(one, plan, Encoder.from_bytes(federated.encoder))
    deviation = noise_of_mean(mechanism, 6)
    stepper = DpAdam(len(model), noise_deviation=deviation, averaging=0.5)
    for _ in range(3):
        gradient = sum(bank.draw(model) for bank in banks) / mechanism.expected_batch
        model = stepper.step(model.astype(np.float64), gradient, 0.02, deviation).astype(np.float32)
    np.testing.assert_allclose(federated.model, stepper.average, rtol=0, atol=2e-5)
    assert np.abs(federated.model - model).max() > 1e-3  # the average of iterates is not the last of them


# Noise.


def test_neither_the_seed_in_a_config_nor_the_model_reaches_the_noise_and_no_two_banks_share_any(
    shared: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    meant = overhear(monkeypatch)
    begun = begin(shared("begun", **with_privacy({"rounds": 1})))
    vectors = []
    for name in ("first", "second"):
        np.random.seed(3)
        one = begun.copy(tmp_path / name)
        meant.vectors.clear()
        go_on(one)
        vectors += list(meant.of("train", 1, 1, "update").values())
    assert len(vectors) == 12
    share = begun.plan.round_mechanism
    assert share is not None
    for number, left in enumerate(vectors):
        for right in vectors[:number]:
            assert np.count_nonzero(left == right) == 0
    # The same bank, the same rows and weights: what differs is its draw and its noise, by about both deviations.
    again = np.array([first - second for first, second in zip(vectors[:6], vectors[6:], strict=True)])
    assert again.std() > 1.3 * share.share_deviation


@pytest.fixture(scope="module")
def covered(shared: Make) -> tuple[Consortium, dict[str, Any], Meant]:
    """A whole phase in which ε pays for sketches and score histograms too."""
    phase = with_privacy({"rounds": 2, "score_bins": 4096}, encoder_share=0.2, evaluation_share=0.2)
    one = shared("covered", **phase)
    with pytest.MonkeyPatch.context() as patch:
        meant = overhear(patch)
        return one, run_phase(one.phase(), ()), meant


def test_sketches_and_histograms_of_banks_carry_the_share_of_noise_that_the_plan_says(
    covered: tuple[Consortium, dict[str, Any], Meant],
) -> None:
    one, outcome, meant = covered
    plan = one.plan
    assert outcome["privacy"]["not_covered"] == [WINDOWS]
    for kind, number, part in (("sketch", 0, "sketch"), ("evaluate", 2, "test"), ("evaluate", 2, "validation")):
        mechanism = plan.mechanism(kind)
        assert mechanism is not None
        told = meant.of(kind, number, 1, part)
        noise = np.array([told[bank] - counted(one, bank, part) for bank in BANKS])
        # 15,204 draws and more: the standard error of their deviation is 0.6 % of it, of their mean 0.8 %.
        assert noise.size >= 15_204
        assert noise.std() == pytest.approx(mechanism.share_deviation, rel=0.03)
        assert abs(noise.mean()) < 0.04 * mechanism.share_deviation
        assert stats.kstest(noise.ravel() / mechanism.share_deviation, "norm").pvalue > 1e-5
        assert np.abs(np.corrcoef(noise) - np.eye(6)).max() < 0.12


def counted(one: Consortium, bank: str, part: str) -> NDArray[np.int64]:
    """A bank's own counts, from its own folder."""
    folder, plan = BankFolder(one.folders / bank), one.plan
    if part == "sketch":
        return folder.sketch(plan.features, plan.split, plan.encoder).without_labels().vector()
    encoder = Encoder.from_bytes((one.place / "encoder.json").read_bytes())
    labels = folder.rows(plan.features, plan.split, encoder, part).labels
    logits = folder.scores(INSTANCE, f"federated-{part}")
    return ScoreHistogram.from_logits(logits, labels, plan.score_bins).to_vector()


def test_equal_data_at_two_banks_gives_different_vectors(covered: tuple[Consortium, dict[str, Any], Meant]) -> None:
    one = covered[0]
    folder = BankFolder(one.folders / "bank-01")
    request = next(request for request in one.fleet.asked if request.kind == "sketch")
    first, second = (Tasks(folder, NoiseSource()).sketch(request, one.plan).vectors["sketch"] for _ in range(2))
    assert np.count_nonzero(first == second) == 0


def test_every_kind_is_charged_as_the_plan_says_and_all_together_cost_no_more_than_its_epsilon(
    covered: tuple[Consortium, dict[str, Any], Meant],
) -> None:
    one = covered[0]
    plan = one.plan
    for bank in BANKS:
        entries = [entry for entry in one.ledger(bank).entries() if entry.event == "reserved"]
        told = [(entry.kind, entry.mechanism) for entry in entries if entry.mechanism is not None]
        assert told == [
            (kind, mechanism.to_dict())
            for kind in ("sketch", "train", "train", "evaluate")
            if (mechanism := plan.mechanism(kind)) is not None
        ]
    assert all(charged(one, bank) == charged(one, BANKS[0]) for bank in BANKS)
    total = [mechanism_from_dict(facts) for facts in charged(one, BANKS[0])]
    assert 3.9 < composed(total, 0.9e-6) <= 4.0 * (1 + 1e-6)


def test_in_mode_local_under_secure_aggregation_each_bank_adds_its_noise_in_full_and_sums_stay_exact(
    consortium: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    meant = overhear(monkeypatch)
    shares = {"encoder_share": 0.2, "evaluation_share": 0.2}
    one = begin(consortium(**{**SECURE, **PRIVATE, "rounds": 1, "privacy": {**PRIVATE["privacy"], **shares}}))
    start = one.checkpoints.latest().arrays["model"]
    phase = go_on(one)
    expected = start + meant.summed("train", 1, 1, "update", BANKS) / 6
    np.testing.assert_allclose(phase.state.model, expected, rtol=0, atol=2**-20 + 1e-6)
    mechanism = one.plan.mechanism("sketch")
    assert mechanism is not None
    assert mechanism.parties == 1
    told = meant.of("sketch", 0, 1, "sketch")
    noise = np.array([told[bank] - counted(one, bank, "sketch") for bank in BANKS])
    assert noise.std() == pytest.approx(mechanism.noise_multiplier * mechanism.norm, rel=0.03)
    assert [facts["kind"] for facts in charged(one, "bank-01")] == ["gaussian", "dp-sgd"]


# Attempts that are charged anew.


def lost_in_round_1(bank_lost: str) -> Happening:
    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply | None:
        reply = work()
        return None if (bank, request.kind, request.round, request.attempt) == (bank_lost, "train", 1, 1) else reply

    return happening


def test_a_dropped_round_of_one_exchange_is_charged_anew_and_spare_attempts_pay(consortium: Make) -> None:
    one = begin(consortium(**with_privacy({**ONE_EXCHANGE, "rounds": 2}, spare_attempts=1)))
    one.happening = lost_in_round_1("bank-06")
    phase = go_on(one)
    assert [figures["banks"] for figures in phase.state.history] == [5, 6]
    times = {bank: len(charged(one, bank)) for bank in BANKS}
    assert times == dict.fromkeys(BANKS[:5], 3) | {"bank-06": 2}
    for bank in BANKS[:5]:
        rounds = [(entry.round, entry.attempt) for entry in one.ledger(bank).entries()
                  if (entry.event, entry.kind) == ("reserved", "train")]  # fmt: skip
        assert rounds == [(1, 1), (1, 2), (2, 1)]
    assert 3.9 < spent(one, "bank-01", 0.9e-6) <= 4.0 * (1 + 1e-6)
    assert openings(one, "reveal") == openings(one, "confirm") == {}


def test_a_coordinator_killed_within_a_second_attempt_asks_the_same_cohort_again_and_nothing_is_charged_twice(
    consortium: Make,
) -> None:
    one = begin(consortium(**with_privacy({**ONE_EXCHANGE, "rounds": 2}, spare_attempts=1)))
    losing, dead = lost_in_round_1("bank-06"), []

    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Any:
        reply = losing(bank, request, work)
        if (bank, request.kind, request.attempt) == ("bank-03", "train", 2) and not dead:
            dead.append(True)
            raise KilledError
        return reply

    one.happening = happening
    with pytest.raises(KilledError):
        go_on(one)
    phase = go_on(one)
    assert [figures["banks"] for figures in phase.state.history] == [5, 6]
    assert {bank: len(charged(one, bank)) for bank in BANKS} == dict.fromkeys(BANKS[:5], 3) | {"bank-06": 2}


def test_without_spare_attempts_the_banks_that_paid_twice_stop_before_their_epsilon_is_passed(
    consortium: Make,
) -> None:
    one = begin(consortium(**with_privacy({**ONE_EXCHANGE, "rounds": 2})))
    one.happening = lost_in_round_1("bank-06")
    with pytest.raises(QuorumError, match=r"(can be asked, and a sum needs 5|no sum was opened)"):
        go_on(one)
    assert one.checkpoints.latest().round == 1
    reasons = [event["reason"] for event in one.events("excluded")]
    assert any("allows 2 releases of kind 'train'" in reason for reason in reasons)
    assert spent(one, "bank-01", 0.9e-6) <= 4.0 * (1 + 1e-6)


def test_a_bank_whose_own_epsilon_cap_is_reached_is_left_out_and_the_others_go_on(consortium: Make) -> None:
    one = begin(consortium(**with_privacy({"rounds": 2})))
    mechanism = one.plan.round_mechanism
    assert mechanism is not None
    set_policy(one.folders / "bank-01", caps={"epsilon": {"total": composed([mechanism], 0.9e-6) * 1.01}})
    phase = go_on(one)
    assert [figures["banks"] for figures in phase.state.history] == [6, 5]
    assert any("caps.epsilon.total" in item["reason"] for item in phase.state.excluded)
    assert len(charged(one, "bank-01")) == 1


def test_a_resumed_phase_goes_on_with_the_optimisers_state(
    consortium: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one = begin(consortium(**with_privacy({})))
    go_on(one)
    kept = one.checkpoints.kept[2]
    own = {name.removeprefix("aggregator/"): array for name, array in kept.arrays.items() if "aggregator/" in name}
    assert {"first", "second", "average", "steps"} <= set(own)
    whole, resumed = NoisyStep(one.plan), NoisyStep(one.plan)
    for step in (whole, resumed):
        step.restore(own)
        step.start(3, kept.arrays["model"])
        step.add("cohort", np.ones_like(kept.arrays["model"]), 6.0)
    assert whole.finish().tobytes() == resumed.finish().tobytes()
