"""Opening a sum at a bank: for what it released itself, once, for one set of banks, confirmed by enough of them."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from memory_fleet import SECURE, asking, copy_banks, make_banks, plan_of, set_policy, tiny_config
from sealed_banks import SealedBanks

from bank_nodes.gate.release import Gate
from bank_nodes.gate.sealing import Sealing, _circle
from bank_nodes.rules.approvals import Approvals
from fraudfl.errors import NotApproved, PrivacyError, ReleaseRefused, WireError, WorkFailed
from fraudfl.folder import BankFolder
from fraudfl.protocols import Request
from fraudfl.secagg.errors import SecureAggregationError
from fraudfl.secagg.reveals import read_reveal
from fraudfl.secagg.survivors import SurvivorSet, pack_confirmations
from fraudfl.transfer.frame import frame
from fraudfl.trust.keys import parse_signed

# Of six banks, bank-06 does not answer, and the coordinator might say that bank-05 did not.
ALL = tuple(f"bank-0{number}" for number in range(1, 7))
FIVE, FOUR, OTHER_FOUR = ALL[:5], ALL[:4], ALL[1:5]
ME = "bank-02"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_banks(tmp_path_factory.mktemp("made"), tiny_config())


def uploaded(made: Path, place: Path, phase: dict[str, Any]) -> SealedBanks:
    """Five of six banks have released their masked sketches."""
    town = SealedBanks.begin(made, place, phase)
    town.upload(town.attempt(), FIVE)
    return town


@pytest.fixture(scope="module")
def sent(made: Path, tmp_path_factory: pytest.TempPathFactory) -> SealedBanks:
    return uploaded(made, tmp_path_factory.mktemp("coordinator"), SECURE)


@pytest.fixture
def town(sent: SealedBanks, tmp_path: Path) -> SealedBanks:
    return sent.copy(tmp_path / "banks")


def refused(town: SealedBanks, request: Request, match: str, error: type[Exception] = ReleaseRefused) -> None:
    """Checks that a bank says no, writes it down, and lets nothing leave."""
    before = town.ledger(ME).head()[0]
    with pytest.raises(error, match=match):
        town.answer(ME, request)
    assert not {entry.event for entry in town.ledger(ME).entries(before)} & {"released", "resent"}
    assert town.ledger(ME).entries()[-1].event == "refused"


def test_a_bank_confirms_and_reveals_one_set_and_gives_the_same_bytes_again(town: SealedBanks) -> None:
    attempt = town.attempt()
    records = town.confirmed(attempt, FIVE, FIVE)
    request = town.reveal(attempt, FIVE, records)
    first, again = town.answer(ME, request), town.answer(ME, request)
    assert frame(first) == frame(again)
    seeds = read_reveal(first.payloads["reveal"], town.roster).seeds(attempt, "sketch", FIVE)
    assert set(seeds.pairs) == {"bank-06"}
    assert town.ledger(ME).mechanisms() == []
    town.ledger(ME).verify()


def restarted(town: SealedBanks) -> SealedBanks:
    _circle.cache_clear()
    return town


def untouched(town: SealedBanks) -> SealedBanks:
    return town


@pytest.mark.parametrize("acknowledged", [0, 3])
@pytest.mark.parametrize("process", [untouched, restarted])
def test_a_second_set_of_banks_in_one_attempt_is_neither_confirmed_nor_revealed(
    town: SealedBanks, process: Callable[[SealedBanks], SealedBanks], acknowledged: int
) -> None:
    attempt = town.attempt()
    records = town.confirmed(attempt, FIVE, FIVE)
    process(town)

    def asked(request: Request) -> Request:
        return replace(request, acknowledged=acknowledged)

    refused(town, asked(town.request(attempt, "confirm", FOUR)), "spoken for another set of banks in this attempt")
    refused(town, asked(town.reveal(attempt, FOUR, records)), "has not confirmed that set of banks")
    town.answer(ME, asked(town.reveal(attempt, FIVE, records)))
    process(town)
    refused(town, asked(town.request(attempt, "confirm", FOUR)), "spoken for another set of banks in this attempt")
    refused(town, asked(town.reveal(attempt, FOUR, records)), "spoken for another set of banks in this attempt")
    assert len(town.entries(ME, "released", "confirm")) == len(town.entries(ME, "released", "reveal")) == 1


def test_two_sets_cannot_both_get_the_signatures_that_a_reveal_needs(town: SealedBanks) -> None:
    """The coordinator shows one set to some banks and another to the rest; one bank colludes and signs both."""
    attempt, colluding = town.attempt(), "bank-03"
    shown = {FIVE: ["bank-01", ME, colluding], OTHER_FOUR: ["bank-04", "bank-05"]}
    signed = {survivors: town.confirmed(attempt, survivors, banks) for survivors, banks in shown.items()}
    beside_its_gate = Sealing(BankFolder(town.folders / colluding), town.plan, attempt.instance)
    record = beside_its_gate.confirm(town.request(attempt, "confirm", OTHER_FOUR))[1]["confirmation"]
    signed[OTHER_FOUR].append(parse_signed(record, SurvivorSet, "confirmation"))
    for survivors, banks in shown.items():
        request = town.reveal(attempt, survivors, signed[survivors])
        with pytest.raises(SecureAggregationError, match="found 3 good signatures; expected 4 of the cohort's 6"):
            town.answer(banks[0], request)


def test_a_bank_that_was_declared_lost_though_it_had_sent_reveals_nothing_and_its_upload_stays_closed(
    town: SealedBanks,
) -> None:
    attempt = town.attempt()
    records = town.confirmed(attempt, OTHER_FOUR, ALL[:5])
    with pytest.raises(SecureAggregationError, match="bank bank-01 is not in it, so it reveals nothing"):
        town.answer("bank-01", town.reveal(attempt, OTHER_FOUR, records))
    reveals = [
        read_reveal(town.answer(bank, town.reveal(attempt, OTHER_FOUR, records)).payloads["reveal"], town.roster)
        for bank in OTHER_FOUR
    ]
    # Its pairwise masks with the survivors are known now; its self mask is in nobody's reveal.
    assert all("bank-01" in reveal.parts["sketch"].pairs for reveal in reveals)
    assert all(reveal.bank != "bank-01" for reveal in reveals)
    assert town.entries("bank-01", "released", "reveal") == []


def test_nothing_is_confirmed_or_revealed_for_a_sum_that_the_bank_has_no_part_in(town: SealedBanks) -> None:
    match = "released nothing for the {} sum to be opened"
    for attempt in (town.attempt(number=2), town.attempt("evaluate"), town.attempt("sketch", cohort=FIVE)):
        refused(town, town.request(attempt, "confirm", FOUR), match.format(attempt.kind))
        refused(town, town.reveal(attempt, FIVE, town_signatures(town)), match.format(attempt.kind))


def town_signatures(town: SealedBanks) -> list[SurvivorSet]:
    return town.confirmed(town.attempt(), FIVE, FIVE)


def test_a_reservation_that_released_nothing_opens_nothing(town: SealedBanks, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = town.attempt(number=2)
    with monkeypatch.context() as patch:
        patch.setattr(Sealing, "seal", lambda *_: {}["broken"])
        with pytest.raises(WorkFailed):
            town.answer(ME, town.request(attempt))
    assert len(town.entries(ME, "reserved", "sketch")) == 2
    refused(town, town.request(attempt, "confirm", FIVE), "released nothing for the sketch sum")


def test_a_request_to_open_must_say_which_sum(town: SealedBanks) -> None:
    request = replace(town.request(town.attempt(), "confirm", FIVE), about="")
    refused(town, request, "released nothing for the unnamed sum")


@pytest.mark.parametrize("about", ["sketch", "train", "evaluate", "alone"])
def test_a_request_for_a_sum_cannot_be_about_another_so_that_two_values_never_leave_under_one_mask(
    town: SealedBanks, about: Any
) -> None:
    """With `about` its key is another one, and its attempt, and so its masks, are the same."""
    request = replace(town.request(town.attempt()), about=about)
    assert request.key != town.request(town.attempt()).key
    refused(town, request, "only a request to confirm or reveal is about another sum")
    assert len(town.entries(ME, "released", "sketch")) == 1


def test_a_reveal_needs_the_signatures_of_enough_other_banks(town: SealedBanks) -> None:
    attempt = town.attempt()
    records = town.confirmed(attempt, FIVE, FIVE)
    # max(4, (6 + 1) // 2 + 1) = 4 of six.
    for few in (1, 2, 3):
        for chosen in list(combinations(records, few))[:3]:
            refused(town, town.reveal(attempt, FIVE, chosen), "expected 4 of the cohort's 6", SecureAggregationError)
    town.answer(ME, town.reveal(attempt, FIVE, records[:4]))


def test_signatures_that_are_wrong_foreign_or_over_another_set_do_not_count(town: SealedBanks) -> None:
    attempt = town.attempt()
    good = town.confirmed(attempt, FIVE, FIVE)
    forged = [*good[:3], good[3].model_copy(update={"signature": good[4].signature})]
    refused(town, town.reveal(attempt, FIVE, forged), "confirmation of bank bank-04", SecureAggregationError)
    # The coordinator writes another set over signatures that were given for this one.
    moved = [record.model_copy(update={"survivors": FOUR}) for record in good]
    refused(town, town.reveal(attempt, FIVE, moved), "is over another survivor set", SecureAggregationError)
    strange = pack_confirmations(good).replace(b'"bank-05"', b'"bank-99"')
    request = town.request(attempt, "reveal", FIVE, payloads={"confirmations": strange})
    refused(town, request, "bank-99", SecureAggregationError)
    refused(town, town.request(attempt, "reveal", FIVE), "brings no 'confirmations'", WireError)


def test_no_set_below_the_minimum_cohort_is_confirmed(town: SealedBanks) -> None:
    match = "found 3 banks; expected the minimum cohort of 4 or more"
    refused(town, town.request(town.attempt(), "confirm", ALL[:3]), match, SecureAggregationError)


@pytest.mark.parametrize("survivors", ["", "f", "zz", "ffff", "ff", 7])
def test_a_set_that_is_not_spelled_as_one_is_refused_by_name(town: SealedBanks, survivors: Any) -> None:
    request = town.request(town.attempt(), "confirm", values={"survivors": survivors})
    refused(town, request, "members", WireError)


def test_sums_are_opened_at_any_hour_for_what_was_released_in_time(town: SealedBanks) -> None:
    set_policy(town.folders / ME, hours={"windows": ["mon 00:00-00:01"]})
    records = town.confirmed(town.attempt(), FIVE, FIVE)
    town.answer(ME, town.reveal(town.attempt(), FIVE, records))


@pytest.mark.parametrize("kind", ["confirm", "reveal"])
def test_a_revoked_plan_opens_nothing_more(town: SealedBanks, kind: Any) -> None:
    records = town.confirmed(town.attempt(), FIVE, FIVE)
    Approvals(town.folders / ME).decide(town.plan, "revoke", "ann")
    payloads = {"confirmations": pack_confirmations(records)}
    request = town.request(town.attempt(), kind, FIVE, payloads=payloads)
    refused(town, request, "was revoked", NotApproved)


def forbid(town: SealedBanks, event: str) -> None:
    with closing(sqlite3.connect(town.folders / ME / "ledger.db")) as connection, connection:
        connection.execute(
            f"CREATE TRIGGER full BEFORE INSERT ON entries WHEN NEW.event = '{event}' AND NEW.kind = 'confirm' "
            "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )


@pytest.mark.parametrize("event", ["reserved", "released"])
def test_a_ledger_that_cannot_keep_a_signature_gives_none_away(town: SealedBanks, event: str) -> None:
    """What is not kept could be given for another set after the next start."""
    forbid(town, event)
    refused(town, town.request(town.attempt(), "confirm", FIVE), "disk full", PrivacyError)
    assert town.entries(ME, "released", "confirm") == []


def test_a_process_killed_over_its_signature_has_given_none_and_signs_one_set_afterwards(
    town: SealedBanks, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = town.attempt()
    child = os.fork()
    if child == 0:
        try:
            Sealing.confirm = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign,assignment]
            town.answer(ME, town.request(attempt, "confirm", FIVE))
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert [entry.event for entry in town.ledger(ME).entries() if entry.kind == "confirm"] == ["reserved"]
    town.answer(ME, town.request(attempt, "confirm", FOUR))
    refused(town, town.request(attempt, "confirm", FIVE), "spoken for another set")


def test_under_a_coordinator_taken_to_be_honest_a_bank_reveals_unconfirmed_but_still_for_one_set(
    made: Path, tmp_path: Path
) -> None:
    secure = {"min_cohort": 4, "colluding": 1, "coordinator": "honest-but-curious"}
    folders = copy_banks(made, tmp_path / "banks")
    town = uploaded(folders, tmp_path / "coordinator", {**SECURE, "secure_aggregation": secure})
    attempt = town.attempt()
    reply = town.answer(ME, town.request(attempt, "reveal", FIVE))
    assert read_reveal(reply.payloads["reveal"], town.roster).bank == ME
    refused(town, town.request(attempt, "reveal", FOUR), "spoken for another set of banks")


def test_a_plan_with_one_exchange_contains_nothing_to_confirm_or_reveal(made: Path, tmp_path: Path) -> None:
    secure = {"min_cohort": 4, "colluding": 1, "recover": False}
    folders = copy_banks(made, tmp_path / "banks")
    town = uploaded(folders, tmp_path / "coordinator", {**SECURE, "secure_aggregation": secure})
    for kind in ("confirm", "reveal"):
        refused(town, town.request(town.attempt(), kind, FIVE), f"does not contain '{kind}'")  # type: ignore[arg-type]


def test_what_opens_a_sum_is_refused_under_a_plan_without_secure_aggregation(town: SealedBanks) -> None:
    plain = plan_of()
    Gate(BankFolder(town.folders / ME)).join(asking(plain, "join"))
    refused(town, asking(plain, "reveal"), "does not contain 'reveal'")


def test_banks_that_are_asked_to_work_on_different_models_are_in_different_attempts(town: SealedBanks) -> None:
    """Masks of different attempts never cancel, so that no sum isolates the one bank that got the real model."""
    one, other = (town.attempt(number=2, values={"model": digit * 64}) for digit in "ab")
    assert one.digest != other.digest != town.attempt(number=2).digest
    with pytest.raises(WireError, match="is not that of the cohort it names"):
        town.answer(ME, town.request(one))


def test_a_second_cohort_in_one_attempt_is_refused_before_anything_is_charged(town: SealedBanks) -> None:
    whole, fewer = town.attempt(number=2), town.attempt(number=2, cohort=FIVE)
    town.answer(ME, town.request(whole))
    begun = len(town.entries(ME, "reserved", "sketch"))
    refused(town, town.request(fewer), "was begun with another cohort, model or phase instance")
    assert len(town.entries(ME, "reserved", "sketch")) == begun
