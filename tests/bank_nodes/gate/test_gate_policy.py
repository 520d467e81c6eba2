"""The gate and the bank's own rules: who said yes, when it works, and how much may leave."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from memory_fleet import MADE_UP, PRIVATE, UNSEALED, asking, draft_of, make_bank, plan_of, plan_with, set_policy

from bank_nodes.gate.checks import Draft
from bank_nodes.gate.release import Gate
from bank_nodes.rules.approvals import Approvals
from fraudfl.errors import ConfigError, FraudflError, NotApproved, NotNow, PrivacyError, ReleaseRefused, TrustError
from fraudfl.folder import BankFolder
from fraudfl.plan import Plan
from fraudfl.privacy.accounting import epsilon
from fraudfl.privacy.ledger import Ledger
from fraudfl.protocols import KINDS, Kind, Request
from fraudfl.transfer.frame import frame

OPEN, CLOSED = plan_of(), plan_of(**PRIVATE)
LONGER = plan_of(rounds=4)
NOON = datetime(2025, 1, 15, 12, tzinfo=UTC)
ASK_A_PERSON: dict[str, Any] = {"approve": {"automatic": False}}
AT_NIGHT: dict[str, Any] = {"hours": {"zone": "Europe/Berlin", "windows": ["daily 22:00-06:00"]}}


class Bank:
    """One bank's folder, gate, and a clock to turn."""

    def __init__(self, path: Path) -> None:
        self.folder = BankFolder(path)
        self.path = path
        self.now = NOON

    @property
    def gate(self) -> Gate:
        return Gate(self.folder, lambda: self.now)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.path / "ledger.db", lambda: self.now)

    def take(self, *plans: Plan) -> None:
        for plan in plans:
            self.gate.join(asking(plan, "join"))

    def train(self, plan: Plan = OPEN, round_number: int = 1, **facts: Any) -> None:
        self.gate.answer(asking(plan, round=round_number, **facts), lambda plan: draft_of(plan, "train"))

    def refuses(self, error: type[FraudflError], match: str, request: Request) -> FraudflError:
        """Checks that no work begins, that no byte exists to be sent, and that the ledger has it written down."""
        with pytest.raises(error, match=match) as caught:
            self.gate.answer(request, never)
        last = self.ledger.entries()[-1]
        assert (last.event, last.key) == ("refused", request.key)
        assert str(caught.value)[:200] in last.note
        return caught.value


def never(_plan: Plan) -> Draft:
    raise AssertionError("the gate let work begin")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bank(tmp_path_factory.mktemp("made") / "bank-01").path


@pytest.fixture
def bank(made: Path, tmp_path: Path) -> Iterator[Bank]:
    bank = Bank(shutil.copytree(made, tmp_path / "bank-01"))
    yield bank
    bank.ledger.verify()


def offering(kind: Kind, plan: Plan | None = None) -> Request:
    plan = plan or plan_with(kind)
    return asking(plan, kind, payloads={"plan": plan.canonical_json()})


# Who said yes.


@pytest.mark.parametrize("kind", MADE_UP)
def test_a_plan_that_nobody_approved_waits_and_is_kept_for_who_decides(bank: Bank, kind: Kind) -> None:
    plan = plan_with(kind)
    set_policy(bank.path, **ASK_A_PERSON)
    bank.refuses(NotApproved, f"plan {plan.hash[:12]} waits for an approval at this bank", offering(kind))
    assert (bank.path / "plans" / f"{plan.hash}.json").read_bytes() == plan.canonical_json()
    Approvals(bank.path).decide(plan, "approve", "ann")
    reply = bank.gate.answer(offering(kind), lambda plan: draft_of(plan, kind))
    assert reply.key == offering(kind).key


def test_a_plan_that_the_rules_approve_is_approved_in_writing(bank: Bank) -> None:
    bank.take(OPEN)
    standing = Approvals(bank.path).standing(OPEN.hash)
    assert standing is not None
    assert (standing.decision, standing.by) == ("approve", "policy")
    notes = [entry.note for entry in bank.ledger.entries() if entry.event == "noted"]
    assert notes == ["plan of phase pilot was offered", "approved by the policy's rules"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_rejected_plan_is_refused_whatever_the_rules_say(bank: Bank, kind: Kind) -> None:
    plan = plan_with(kind)
    (bank.path / "plans").mkdir()
    (bank.path / "plans" / f"{plan.hash}.json").write_bytes(plan.canonical_json())
    Approvals(bank.path).decide(plan, "reject", "ann", "not with them")
    error = bank.refuses(NotApproved, f"plan {plan.hash[:12]} was rejected at this bank on 20", asking(plan, kind))
    assert "not with them" not in str(error)


@pytest.mark.parametrize("kind", MADE_UP)
def test_a_revoked_plan_is_refused_and_what_it_had_released_is_not_sent_again(bank: Bank, kind: Kind) -> None:
    plan = plan_with(kind)
    bank.gate.answer(offering(kind), lambda plan: draft_of(plan, kind))
    Approvals(bank.path).decide(plan, "revoke", "ann")
    bank.refuses(NotApproved, f"plan {plan.hash[:12]} was revoked at this bank on 20", asking(plan, kind))
    assert [entry for entry in bank.ledger.entries() if entry.event == "resent"] == []


def test_a_plan_that_was_approved_again_after_a_revocation_is_answered(bank: Bank) -> None:
    bank.take(OPEN)
    for decision in ("revoke", "approve"):
        Approvals(bank.path).decide(OPEN, decision, "ann")
    bank.train()


@pytest.mark.parametrize("by", ["a rule", "a person"])
def test_a_line_taken_out_of_the_policy_binds_also_what_was_approved_before(bank: Bank, by: str) -> None:
    bank.take(OPEN)
    if by == "a person":
        Approvals(bank.path).decide(OPEN, "approve", "ann")
    set_policy(bank.path, uncovered=["encoder sketches"])
    bank.refuses(NotApproved, "was approved, but this bank's policy has changed: .*would be released", asking(OPEN))
    set_policy(bank.path)
    bank.train()


def test_a_rule_that_was_tightened_takes_back_what_it_approved_and_nothing_that_a_person_did(bank: Bank) -> None:
    bank.take(OPEN)
    set_policy(bank.path, approve={"automatic": True, "modes": ["none"], "max_rounds": 2})
    bank.refuses(NotApproved, "policy has changed: the plan has 3 rounds; approve.max_rounds is 2", asking(OPEN))
    Approvals(bank.path).decide(OPEN, "approve", "ann")
    bank.train()


def test_another_banks_approvals_are_no_yes(bank: Bank, tmp_path: Path) -> None:
    other = Bank(make_bank(tmp_path / "bank-02", "bank-02").path)
    other.take(OPEN)
    shutil.copy(other.path / "approvals.jsonl", bank.path)
    bank.refuses(TrustError, "line 1: found a decision of bank 'bank-02'; expected 'bank-01'", offering("join"))


@pytest.mark.parametrize(
    ("spoil", "error", "match"),
    [
        (lambda path: (path / "approvals.jsonl").write_text("{}\n"), TrustError, "line 1"),
        (lambda path: (path / "keys" / "bank.key").unlink(), TrustError, "bank.key"),
        (lambda path: (path / "policy.yaml").write_text("caps: {releases: {total: many}}"), ConfigError, "total"),
        (lambda path: (path / "policy.yaml").rename(path / "policy.yml"), ConfigError, "under another name"),
        (lambda path: (path / "policy.yaml").unlink(), NotApproved, "waits for an approval"),
    ],
    ids=["approvals", "key", "policy", "policy's name", "no policy"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_rules_or_records_that_cannot_be_trusted_let_nothing_leave(
    bank: Bank, kind: Kind, spoil: Callable[[Path], object], error: type[FraudflError], match: str
) -> None:
    spoil(bank.path)
    bank.refuses(error, match, offering(kind))


# When it works.


@pytest.mark.parametrize("kind", [kind for kind in UNSEALED if kind != "join"])
def test_outside_its_hours_a_bank_says_from_when_on_it_works(bank: Bank, kind: Kind) -> None:
    set_policy(bank.path, **AT_NIGHT)
    error = bank.refuses(NotNow, "^not now, from 22:00 CET$", offering(kind))
    assert isinstance(error, NotNow)
    assert datetime.fromisoformat(error.opens_at) == datetime(2025, 1, 15, 21, tzinfo=UTC)
    bank.now = datetime(2025, 1, 15, 21, tzinfo=UTC)
    bank.gate.answer(offering(kind), lambda plan: draft_of(plan, kind))


def test_a_plan_is_taken_at_any_hour_so_that_somebody_can_decide_on_it(bank: Bank) -> None:
    set_policy(bank.path, **AT_NIGHT)
    bank.take(OPEN)
    assert Approvals(bank.path).standing(OPEN.hash) is not None


def test_what_was_released_at_night_is_sent_again_by_day_without_any_work(bank: Bank) -> None:
    set_policy(bank.path, **AT_NIGHT)
    bank.now = datetime(2025, 1, 15, 23, tzinfo=UTC)
    first = bank.gate.answer(offering("train"), lambda plan: draft_of(plan, "train"))
    bank.now = datetime(2025, 1, 16, 12, tzinfo=UTC)
    assert frame(bank.gate.answer(asking(OPEN), never)) == frame(first)
    bank.refuses(NotNow, "from 22:00", asking(OPEN, round=2))


def test_a_busy_machine_says_not_now_without_a_time(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    set_policy(bank.path, hours={"max_load": 0.5})
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr("os.getloadavg", lambda: (2.4, 0.0, 0.0))
    error = bank.refuses(NotNow, "not now, the load is 0.6 of at most 0.5 per core", offering("train"))
    assert isinstance(error, NotNow)
    assert error.opens_at == ""
    monkeypatch.setattr("os.getloadavg", lambda: (1.9, 9.0, 9.0))
    bank.gate.answer(offering("train"), lambda plan: draft_of(plan, "train"))


# How much may leave.

NEXT_DAY, NEXT_MONTH = datetime(2025, 1, 15, 23, tzinfo=UTC), datetime(2025, 1, 31, 23, tzinfo=UTC)
YEARS_LATER = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cap", "most", "used", "freed"),
    [
        ("rounds.phase", 2, 2, "another plan"),
        ("rounds.month", 2, 2, NEXT_MONTH),
        ("rounds.total", 2, 2, None),
        ("releases.phase", 3, 3, "another plan"),
        ("releases.day", 4, 4, NEXT_DAY),
        ("releases.month", 4, 4, NEXT_MONTH),
        ("releases.total", 4, 4, None),
    ],
)
def test_a_cap_is_never_passed_and_ends_where_it_says(
    bank: Bank, cap: str, most: int, used: int, freed: datetime | str | None
) -> None:
    bank.take(OPEN, LONGER)
    section, span = cap.split(".")
    set_policy(bank.path, hours={"zone": "Europe/Berlin"}, caps={section: {span: most}})
    for number in (1, 2):
        bank.train(OPEN, number)
    match = rf"this bank's policy: caps\.{cap} is {most}; {used} are used, and this release needs 1 more"
    bank.refuses(ReleaseRefused, match, asking(OPEN, round=3))
    bank.refuses(ReleaseRefused, match, asking(OPEN, round=3, instance="another"))
    if freed != "another plan":
        bank.refuses(ReleaseRefused, match, asking(LONGER))
    if isinstance(freed, datetime):
        bank.now = freed - timedelta(minutes=1)
        bank.refuses(ReleaseRefused, match, asking(OPEN, round=3))
        bank.now = freed
        bank.train(OPEN, 3)
        return
    bank.now = YEARS_LATER
    bank.refuses(ReleaseRefused, match, asking(OPEN, round=3))
    if freed == "another plan":
        bank.train(LONGER)


@pytest.mark.parametrize("span", ["phase", "day", "month", "total"])
@pytest.mark.parametrize("kind", MADE_UP)
def test_a_cap_of_zero_releases_stops_every_kind(bank: Bank, kind: Kind, span: str) -> None:
    set_policy(bank.path, caps={"releases": {span: 0}})
    bank.refuses(ReleaseRefused, rf"caps\.releases\.{span} is 0", offering(kind))


def test_a_cap_on_rounds_lets_what_is_no_round_pass(bank: Bank) -> None:
    set_policy(bank.path, caps={"rounds": {"total": 0}})
    bank.gate.answer(offering("evaluate"), lambda plan: draft_of(plan, "evaluate"))
    bank.refuses(ReleaseRefused, r"caps\.rounds\.total is 0", asking(OPEN))


def bytes_today(bank: Bank) -> int:
    return sum(entry.size for entry in bank.ledger.entries() if entry.event in ("released", "resent"))


def test_bytes_that_would_pass_the_days_cap_do_not_leave(bank: Bank) -> None:
    bank.take(OPEN)
    bank.train()
    left = bytes_today(bank)
    set_policy(bank.path, hours={"zone": "Europe/Berlin"}, caps={"bytes_per_day": left + 1})
    request = asking(OPEN, round=2)
    with pytest.raises(ReleaseRefused, match=rf"caps\.bytes_per_day is {left + 1}; {left} left today, this has \d+"):
        bank.gate.answer(request, lambda plan: draft_of(plan, "train"))
    assert bank.ledger.kept(request.key) is None
    bank.now = NEXT_DAY
    bank.train(OPEN, 2)


def test_work_whose_reply_cannot_leave_today_does_not_begin_and_is_not_charged(bank: Bank) -> None:
    bank.take(CLOSED)
    set_policy(bank.path, caps={"bytes_per_day": bytes_today(bank)})
    bank.refuses(ReleaseRefused, r"caps\.bytes_per_day", asking(CLOSED))
    assert bank.ledger.mechanisms() == []


def test_bytes_sent_again_count_towards_the_days_cap(bank: Bank) -> None:
    bank.take(OPEN)
    bank.train()
    once = bank.ledger.entries()[-1].size
    set_policy(bank.path, caps={"bytes_per_day": bytes_today(bank) + 2 * once})
    for _ in range(2):
        bank.gate.answer(asking(OPEN), never)
    bank.refuses(ReleaseRefused, rf"caps\.bytes_per_day is \d+; \d+ left today, this has {once}", asking(OPEN))


def epsilon_of(plan: Plan, rounds: int) -> float:
    mechanism = plan.round_mechanism
    assert mechanism is not None
    return epsilon([mechanism] * rounds, plan.privacy.delta)


def test_more_rounds_than_the_plans_noise_was_calibrated_for_are_refused_before_training(bank: Bank) -> None:
    bank.take(CLOSED)
    for number in (1, 2, 3):
        bank.train(CLOSED, number)
    for facts in ({"attempt": 2}, {"instance": "another"}):
        request = asking(CLOSED, round=3, **facts)
        bank.refuses(ReleaseRefused, r"allows 3 releases of kind 'train', and all were begun here", request)
    assert len(bank.ledger.mechanisms()) == 3


def test_more_rounds_than_a_bank_takes_part_in_are_refused_though_the_phase_has_them(bank: Bank) -> None:
    plan = CLOSED.model_copy(update={"privacy": CLOSED.privacy.model_copy(update={"rounds_per_bank": 2})})
    assert plan.rounds == 3
    bank.take(plan)
    for number in (1, 3):
        bank.train(plan, number)
    bank.refuses(ReleaseRefused, r"allows 2 releases of kind 'train', and all were begun here", asking(plan, round=2))
    assert len(bank.ledger.mechanisms()) == 2


@pytest.mark.parametrize(("span", "freed"), [("phase", "another plan"), ("month", NEXT_MONTH), ("total", None)])
def test_an_epsilon_cap_is_never_passed_and_ends_where_it_says(
    bank: Bank, span: str, freed: datetime | str | None
) -> None:
    other = CLOSED.model_copy(update={"seed": CLOSED.seed + 1})
    bank.take(CLOSED, other)
    # Two rounds fit and three do not, by what the mechanisms cost together.
    cap = (epsilon_of(CLOSED, 2) + epsilon_of(CLOSED, 3)) / 2
    set_policy(bank.path, hours={"zone": "Europe/Berlin"}, caps={"epsilon": {span: cap}})
    for number in (1, 2):
        bank.train(CLOSED, number)
    match = rf"caps\.epsilon\.{span} is [\d.]+; this release would bring ε to [\d.]+; nothing was trained"
    bank.refuses(PrivacyError, match, asking(CLOSED, round=3))
    assert len(bank.ledger.mechanisms()) == 2
    if freed == "another plan":
        bank.train(other)
        return
    bank.refuses(PrivacyError, match, asking(other))
    bank.now = NEXT_MONTH - timedelta(minutes=1) if freed else YEARS_LATER
    bank.refuses(PrivacyError, match, asking(CLOSED, round=3))
    if isinstance(freed, datetime):
        bank.now = freed
        bank.train(CLOSED, 3)


def test_new_instances_are_no_more_releases_than_the_plan_has(bank: Bank) -> None:
    """Else a coordinator could have any number of models judged on this bank's rows."""
    bank.take(OPEN)
    for attempt in range(1, OPEN.attempts + 1):
        bank.gate.answer(asking(OPEN, "sketch", attempt=attempt), lambda plan: draft_of(plan, "sketch"))
    bank.refuses(ReleaseRefused, "allows 3 releases of kind 'sketch'", asking(OPEN, "sketch", instance="another"))
    bank.train()


def test_a_coordinator_that_waits_fills_no_ledger(bank: Bank) -> None:
    set_policy(bank.path, **ASK_A_PERSON)
    for _ in range(3):
        bank.refuses(NotApproved, "waits for an approval", offering("join"))
    refused = [entry for entry in bank.ledger.entries() if entry.event == "refused"]
    assert len(refused) == 1
