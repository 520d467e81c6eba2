"""What a bank may still spend: caps within a plan, over a month and over its history, against dp-accounting."""

from __future__ import annotations

import itertools
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import dp_accounting
import pytest
from dp_accounting import pld, rdp
from memory_fleet import PRIVATE, asking, draft_of, make_bank, plan_of, set_policy

from bank_nodes.gate.checks import Draft
from bank_nodes.gate.release import Gate
from bank_nodes.rules import budget as budget_room
from bank_nodes.rules.budget import Budget, epsilon_of_history
from bank_nodes.rules.policy import Policy
from fraudfl.errors import PrivacyError
from fraudfl.folder import BankFolder
from fraudfl.plan import Plan
from fraudfl.privacy.ledger import Ledger, Release
from fraudfl.privacy.mechanisms import DpSgd, GaussianSum, Mechanism

PLAN = plan_of(**PRIVATE)
OTHER = PLAN.model_copy(update={"seed": PLAN.seed + 1})
MAY, JUNE = datetime(2025, 5, 31, 12, tzinfo=UTC), datetime(2025, 6, 1, 12, tzinfo=UTC)
ROUND = DpSgd(sampling_rate=0.25, noise_multiplier=4.0, clip_norm=1.0, steps=10, expected_batch=250.0)
SHARED = replace(ROUND, parties=10, colluding=4)
SKETCH = GaussianSum(noise_multiplier=8.0, sensitivity=3.0)
ACCOUNTS = replace(SKETCH, unit="account")


class Bank:
    """A ledger and a clock, with whatever caps a test sets."""

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(folder / "ledger.db", lambda: self.now)
        self.now = MAY
        self._numbers = itertools.count(1)

    def spend(self, mechanism: Mechanism, plan: Plan = PLAN, times: int = 1) -> None:
        for _ in range(times):
            self.ledger.reserve(
                Release(
                    key=f"key {next(self._numbers)}",
                    plan_hash=plan.hash,
                    instance="i",
                    phase="pilot",
                    round=1,
                    attempt=1,
                    kind="train",
                    mechanism=mechanism.to_dict(),
                )
            )

    def budget(self, **caps: float) -> Budget:
        return Budget(self.ledger, Policy.model_validate({"caps": {"epsilon": caps}}), lambda: self.now)


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    return Bank(tmp_path)


def exact(*events: tuple[Mechanism, int], delta: float = PLAN.delta) -> float:
    """dp-accounting itself, called with its own words."""
    accountant = pld.PLDAccountant(value_discretization_interval=1e-4)
    for mechanism, times in events:
        event: Any = dp_accounting.GaussianDpEvent(mechanism.noise_multiplier)
        if isinstance(mechanism, DpSgd):
            event = dp_accounting.PoissonSampledDpEvent(mechanism.sampling_rate, event)
        accountant.compose(event, times * getattr(mechanism, "steps", 1))
    return float(accountant.get_epsilon(delta))


def test_what_the_plan_pays_for_passes_and_the_first_that_it_does_not_is_refused(bank: Bank) -> None:
    bank.spend(SKETCH)
    budget, epsilon = bank.budget(), PLAN.privacy.epsilon
    most = next(times for times in range(10, 60) if exact((SKETCH, 1), (ROUND, times + 1)) > epsilon)
    assert most > 10
    bank.spend(replace(ROUND, steps=10 * (most - 1)))
    budget.refuse_overspending(PLAN, ROUND, "round 1, attempt 1")
    bank.spend(ROUND)
    spent, after = exact((SKETCH, 1), (ROUND, most)), exact((SKETCH, 1), (ROUND, most + 1))
    said = (
        rf"^round 9, attempt 2 would bring ε to {after:.4f} of 4 \(δ = 1e-06\), .* {spent:.4f} is spent and "
        rf"{4 - spent:.4f} is left; nothing was trained$"
    )
    with pytest.raises(PrivacyError, match=said):
        budget.refuse_overspending(PLAN, ROUND, "round 9, attempt 2")


def test_all_kinds_of_release_draw_on_the_plans_one_budget(bank: Bank) -> None:
    bank.spend(replace(ROUND, steps=100))
    Budget(bank.ledger, Policy()).refuse_overspending(PLAN, SKETCH, "sketch")
    loud = replace(SKETCH, noise_multiplier=0.9)
    assert exact((loud, 1)) > 4
    with pytest.raises(PrivacyError, match="sketch would bring"):
        bank.budget().refuse_overspending(PLAN, loud, "sketch")


def test_another_plan_has_a_budget_of_its_own_but_shares_month_and_total(bank: Bank) -> None:
    bank.spend(ROUND, times=10)
    bank.budget(phase=exact((ROUND, 10))).refuse_overspending(OTHER, ROUND, "round 1")
    for span in ("month", "total"):
        cap = exact((ROUND, 10))
        with pytest.raises(
            PrivacyError, match=rf"caps\.epsilon\.{span} is .*would bring ε to .*is spent and 0\.0000 is"
        ):
            bank.budget(**{span: cap}).refuse_overspending(OTHER, ROUND, "round 1")


def test_a_cap_of_one_plan_is_met_exactly_by_its_distribution(bank: Bank) -> None:
    bank.spend(ROUND, times=10)
    cap = exact((ROUND, 11))
    for span in ("phase", "month", "total"):
        bank.budget(**{span: cap * (1 + 1e-9)}).refuse_overspending(PLAN, ROUND, "round 11")
        with pytest.raises(PrivacyError, match=rf"caps\.epsilon\.{span}"):
            bank.budget(**{span: cap * 0.999}).refuse_overspending(PLAN, ROUND, "round 11")


def test_across_plans_the_filter_decides_at_the_order_that_the_cap_fixed(bank: Bank) -> None:
    """Oracle: dp-accounting's Rényi divergences at that order, summed by hand over both plans."""
    bank.spend(SKETCH, OTHER)
    divergence = rdp.RdpAccountant(orders=[budget_room.RdpFilter(2.0, PLAN.delta).order])
    divergence.compose(dp_accounting.GaussianDpEvent(8.0))
    step = dp_accounting.PoissonSampledDpEvent(0.25, dp_accounting.GaussianDpEvent(4.0))
    rounds = 0
    while divergence.compose(step, 10).get_epsilon(PLAN.delta) <= 2.0:
        rounds += 1
    assert rounds > 1
    bank.spend(ROUND, times=rounds - 1)
    bank.budget(total=2.0).refuse_overspending(PLAN, ROUND, "the last")
    bank.spend(ROUND)
    with pytest.raises(PrivacyError, match=r"caps\.epsilon\.total is 2;"):
        bank.budget(total=2.0).refuse_overspending(PLAN, ROUND, "one more")


def test_caps_are_read_at_the_policys_delta_and_not_at_one_of_the_plans_choosing(bank: Bank) -> None:
    careless = PLAN.model_copy(
        update={"privacy": PLAN.privacy.model_copy(update={"delta": 0.09, "units": 1, "epsilon": 100.0})}
    )
    bank.spend(ROUND, careless, times=9)
    assert exact((ROUND, 10), delta=0.09) < 1
    cap = exact((ROUND, 10))
    assert cap > 1
    for span in ("phase", "month", "total"):
        bank.budget(**{span: cap * (1 + 1e-9)}).refuse_overspending(careless, ROUND, "round 10")
        with pytest.raises(PrivacyError, match=rf"caps\.epsilon\.{span} is .*\(δ = 1e-06\)"):
            bank.budget(**{span: cap * 0.999}).refuse_overspending(careless, ROUND, "round 10")
        at_its_own = bank.budget(**{span: exact((ROUND, 10), delta=1e-9) * (1 + 1e-9), "delta": 1e-9})
        at_its_own.refuse_overspending(careless, ROUND, "round 10")
        with pytest.raises(PrivacyError, match=r"\(δ = 1e-09\)"):
            bank.budget(**{span: cap, "delta": 1e-9}).refuse_overspending(careless, ROUND, "round 10")
    bank.spend(ROUND, OTHER)
    with pytest.raises(PrivacyError, match=r"caps\.epsilon\.total is .*\(δ = 1e-06\)"):
        bank.budget(total=1.0).refuse_overspending(careless, ROUND, "round 10")


def test_what_a_cap_leaves_is_told_at_the_policys_delta(bank: Bank) -> None:
    bank.spend(ROUND, times=5)
    left = bank.budget(phase=3.5, delta=1e-9).statement(PLAN)
    assert left is not None
    assert (left.delta, left.epsilon) == (1e-6, pytest.approx(exact((ROUND, 5)), abs=1e-6))
    assert (left.cap, left.left) == (3.5, pytest.approx(3.5 - exact((ROUND, 5), delta=1e-9), abs=1e-6))
    (capped,) = bank.budget(total=9.0, delta=1e-9).statements("all", 1e-5)
    assert (capped.delta, capped.epsilon) == (1e-9, pytest.approx(exact((ROUND, 5), delta=1e-9), abs=1e-6))
    (uncapped,) = bank.budget(delta=1e-9).statements("all", 1e-5)
    assert (uncapped.delta, uncapped.epsilon) == (1e-5, pytest.approx(exact((ROUND, 5), delta=1e-5), abs=1e-6))


@pytest.mark.parametrize("spare", [0, 1])
def test_which_rounds_a_cap_allows_does_not_depend_on_when_the_other_kinds_are_asked_for(
    bank: Bank, spare: int
) -> None:
    """A mix that is chosen on the way has no proven composition: the few other kinds are set aside at the start."""
    noise = {"encoder_noise": 9.0, "evaluation_noise": 7.0, "noise_multiplier": 2.0}
    plan = PLAN.model_copy(
        update={"privacy": PLAN.privacy.model_copy(update={"spare_attempts": spare}), "rounds": 6, **noise}
    )
    sketch, train, histograms = (plan.mechanism(kind) for kind in ("sketch", "train", "evaluate"))
    assert sketch is not None
    assert train is not None
    assert histograms is not None
    few = 2 if spare else 1
    counts = [plan.paid_releases(kind) for kind in ("sketch", "train", "evaluate")]
    assert counts == [few, 6 + spare, few]
    capped = bank.budget(phase=exact((sketch, few), (histograms, few), (train, 3)) * (1 + 1e-6))
    for mechanism in (train, train, sketch, train):
        capped.refuse_overspending(plan, mechanism, "in room")
        bank.spend(mechanism, plan)
    with pytest.raises(PrivacyError, match=r"caps\.epsilon\.phase is .* 0\.0000 is left"):
        capped.refuse_overspending(plan, train, "round 4")
    for mechanism in (histograms, *([sketch, histograms] if spare else [])):
        capped.refuse_overspending(plan, mechanism, "set aside")
        bank.spend(mechanism, plan)
    for mechanism in (sketch, histograms):
        with pytest.raises(PrivacyError, match=r"caps\.epsilon\.phase"):
            capped.refuse_overspending(plan, mechanism, "beyond the plan")


def test_a_plans_own_epsilon_stops_none_of_the_releases_that_it_has(bank: Bank) -> None:
    shares = {"encoder_share": 0.2, "evaluation_share": 0.2, "spare_attempts": 2}
    plan = plan_of(**{**PRIVATE, "privacy": {**PRIVATE["privacy"], **shares}})
    budget = bank.budget()
    for kind in ("train", "evaluate", "sketch"):
        mechanism = plan.mechanism(kind)
        assert mechanism is not None
        for number in range(plan.paid_releases(kind)):
            budget.refuse_overspending(plan, mechanism, f"{kind} {number}")
            bank.spend(mechanism, plan)
    for kind in ("train", "evaluate", "sketch"):
        mechanism = plan.mechanism(kind)
        assert mechanism is not None
        with pytest.raises(PrivacyError, match="the plan's own budget"):
            budget.refuse_overspending(plan, mechanism, kind)


def test_a_month_begins_anew_and_the_total_never(bank: Bank) -> None:
    bank.spend(ROUND, OTHER, times=10)
    cap = exact((ROUND, 10))
    bank.now = JUNE
    bank.budget(month=cap).refuse_overspending(PLAN, ROUND, "round 1")
    with pytest.raises(PrivacyError, match=r"caps\.epsilon\.total"):
        bank.budget(month=cap, total=cap).refuse_overspending(PLAN, ROUND, "round 1")


def test_a_charge_put_back_without_a_plan_counts_against_every_plan(bank: Bank) -> None:
    bank.ledger.restore(50, [replace(ROUND, steps=3000).to_dict()], "nobody knows")
    for plan in (PLAN, OTHER):
        with pytest.raises(PrivacyError, match=r"and 0\.0000 is left"):
            bank.budget().refuse_overspending(plan, ROUND, "round 1")


def test_units_are_charged_apart(bank: Bank) -> None:
    bank.spend(replace(ACCOUNTS, releases=200), OTHER)
    bank.budget(total=3.0).refuse_overspending(PLAN, ROUND, "round 1")
    bank.spend(ROUND)
    account, transaction = bank.budget(total=3.0).statements("all", PLAN.delta)
    assert (account.unit, account.releases, account.left) == ("account", 1, 0)
    assert (transaction.unit, transaction.releases) == ("transaction", 1)


def test_a_plans_statement_says_both_readings_and_what_is_left(bank: Bank) -> None:
    bank.spend(SHARED, times=9)
    said = bank.budget(phase=3.0).statement(PLAN)
    assert said is not None
    assert said.epsilon == pytest.approx(exact((SHARED, 9)), abs=1e-6)
    weaker = replace(ROUND, noise_multiplier=4 * (6 / 10) ** 0.5)
    assert said.epsilon_colluding == pytest.approx(exact((weaker, 9)), abs=1e-6)
    assert (said.cap, said.left) == (3.0, pytest.approx(3.0 - said.epsilon))
    assert (said.window, said.unit, said.delta, said.releases) == ("plan", "transaction", 1e-6, 9)
    assert said.method == "PLD within one plan"
    assert bank.budget().statement(plan_of()) is None


def test_a_history_of_one_plan_is_composed_exactly_and_one_of_several_by_the_filter(bank: Bank) -> None:
    bank.spend(ROUND, times=5)
    (said,) = bank.budget(total=5.0).statements("all", PLAN.delta)
    assert (said.method, said.epsilon) == ("PLD within one plan", pytest.approx(exact((ROUND, 5)), abs=1e-6))
    bank.spend(ROUND, OTHER, times=5)
    (both,) = bank.budget(total=5.0).statements("all", PLAN.delta)
    assert re.fullmatch(r"RDP filter at order [\d.]+, fixed by a cap of 5", both.method)
    assert exact((ROUND, 10)) < both.epsilon < 1.5 * exact((ROUND, 10))
    assert both.left == pytest.approx(5 - both.epsilon)
    (uncapped,) = bank.budget().statements("month", PLAN.delta)
    assert exact((ROUND, 10)) > 2
    assert "fixed by a cap of 4" in uncapped.method
    # Seventeen caps were held up to the history, each at its part of δ.
    order = float(uncapped.method.split("order ")[1].split(",")[0])
    divergence = rdp.RdpAccountant(orders=[order])
    step = dp_accounting.PoissonSampledDpEvent(0.25, dp_accounting.GaussianDpEvent(4.0))
    divergence.compose(step, 100)
    assert uncapped.epsilon == pytest.approx(divergence.get_epsilon(PLAN.delta / 17))
    assert uncapped.delta == PLAN.delta
    assert (uncapped.cap, uncapped.left) == (None, None)
    assert bank.budget().statements("all", PLAN.delta)[0].releases == 10


def test_an_empty_ledger_states_nothing(bank: Bank) -> None:
    assert bank.budget().statements("all", 1e-6) == ()
    said = bank.budget().statement(PLAN)
    assert said is not None
    assert (said.epsilon, said.left) == (0, 4)
    assert epsilon_of_history([], "account", 1e-6)[:2] == (0, 0)


def test_a_cap_is_checked_in_a_ledger_of_ten_thousand_charges_without_composing_again(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is slow, a composition of distributions, happens a few times for a whole phase, not in each round."""
    facts = [replace(ROUND, noise_multiplier=60.0, steps=1).to_dict()] * 9000 + [SKETCH.to_dict()] * 1000
    bank.ledger.restore(10, facts, "a long history", PLAN.hash)
    long = PLAN.model_copy(update={"privacy": PLAN.privacy.model_copy(update={"epsilon": 100.0})})
    bank.spend(replace(ROUND, noise_multiplier=60.0, steps=1), long)
    composed = []
    exactly = budget_room.grouped_epsilon
    monkeypatch.setattr(budget_room, "grouped_epsilon", lambda *facts: composed.append(facts) or exactly(*facts))
    budget, next_one = (
        bank.budget(phase=100.0, month=500.0, total=500.0),
        replace(ROUND, noise_multiplier=60.0, steps=1),
    )
    budget.refuse_overspending(long, next_one, "round 2")
    before = len(composed)
    assert before < 30
    started = time.perf_counter()
    for number in range(5):
        bank.spend(next_one, long)
        budget.refuse_overspending(long, next_one, f"round {3 + number}")
    took = (time.perf_counter() - started) / 5
    assert len(composed) == before
    sys.stdout.write(f"a cap's check and a reservation in a ledger of 10,000 charges: {took * 1000:.1f} ms\n")


# Through the gate, with real processes.


@pytest.fixture
def folder(tmp_path: Path) -> BankFolder:
    """A bank that has trained one round, with a cap that leaves room for one more; the plan itself has three."""
    made = make_bank(tmp_path / "bank-01")
    set_policy(made.path, caps={"epsilon": {"phase": exact((PLAN.round_mechanism, 2)) * (1 + 1e-9)}})
    Gate(made).join(asking(PLAN, "join"))
    Gate(made).answer(asking(PLAN, round=1), lambda plan: draft_of(plan, "train"))
    return made


def in_a_process(work: Callable[[], object], start: int) -> int:
    """Begin `work` in a process of its own once `start` brings a byte; it ends with 3 on a PrivacyError."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.read(start, 1)
            work()
            code = 0
        except PrivacyError:
            code = 3
        finally:
            os._exit(code)
    return child


def test_two_processes_that_race_for_the_last_of_the_budget_do_not_both_get_it(folder: BankFolder) -> None:
    read, write = os.pipe()

    def train(attempt: int) -> None:
        Gate(folder).answer(asking(PLAN, round=2, attempt=attempt), lambda plan: draft_of(plan, "train"))

    children = [in_a_process(partial(train, attempt), start=read) for attempt in (1, 2)]
    os.write(write, b"go")
    ended = sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
    os.close(read)
    os.close(write)
    assert ended == [0, 3]
    ledger = Ledger(folder.path / "ledger.db")
    ledger.verify()
    assert len(ledger.mechanisms(PLAN.hash)) == 2


def test_work_that_a_crash_ends_is_charged_and_its_repetition_is_not_charged_again(folder: BankFolder) -> None:
    """Nothing may begin that is not reserved: the process dies in the middle of its work."""
    read, write = os.pipe()
    request = asking(PLAN, round=2)

    def killed(_plan: Plan) -> Draft:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    os.write(write, b"g")
    child = in_a_process(lambda: Gate(folder).answer(request, killed), start=read)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    os.close(read)
    os.close(write)
    ledger = Ledger(folder.path / "ledger.db")
    assert len(ledger.mechanisms(PLAN.hash)) == 2
    with pytest.raises(PrivacyError, match=r"caps\.epsilon\.phase is .* round 2, attempt 2;"):
        Gate(folder).answer(asking(PLAN, round=2, attempt=2), lambda plan: draft_of(plan, "train"))
    Gate(folder).answer(request, lambda plan: draft_of(plan, "train"))
    assert len(ledger.mechanisms(PLAN.hash)) == 2
