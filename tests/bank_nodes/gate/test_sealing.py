"""A bank's keys, peers and masks in a phase: made once, checked against its own roster, and bound to one attempt."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory_fleet import INSTANCE, SECURE, asking, copy_banks, make_banks, tiny_config
from scipy import stats
from sealed_banks import SealedBanks

from fraudfl.errors import FraudflError, ReleaseRefused, TrustError, WireError
from fraudfl.folder import BankFolder
from fraudfl.protocols import Request
from fraudfl.secagg.errors import SecureAggregationError
from fraudfl.secagg.phase_keys import PhaseKey, PhaseSecret
from fraudfl.secagg.sums import MaskedSum
from fraudfl.summed import parts_of
from fraudfl.trust.keys import load_key, make_key, parse_signed
from fraudfl.trust.roster import Member, sign_roster
from server.trust.certificates import Hosts
from server.trust.pki import Pki

ONE_EXCHANGE = {**SECURE, "secure_aggregation": {"min_cohort": 4, "colluding": 1, "recover": False}}
ME = "bank-02"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_banks(tmp_path_factory.mktemp("made"), tiny_config())


@pytest.fixture(scope="module")
def joined(made: Path, tmp_path_factory: pytest.TempPathFactory) -> SealedBanks:
    """Six banks that know each other under a plan with one exchange, whose masks cancel by themselves."""
    place = tmp_path_factory.mktemp("joined")
    return SealedBanks.begin(copy_banks(made, place / "banks"), place / "coordinator", ONE_EXCHANGE)


@pytest.fixture
def town(joined: SealedBanks, tmp_path: Path) -> SealedBanks:
    return joined.copy(tmp_path / "banks")


def plain(town: SealedBanks, bank: str) -> np.ndarray[Any, Any]:
    plan = town.plan
    sketch = BankFolder(town.folders / bank).sketch(plan.features, plan.split, plan.encoder)
    return sketch.without_labels().vector()


def uncharged(town: SealedBanks, request: Request, error: type[FraudflError], match: str) -> None:
    """Checks that a bank refuses before anything is reserved."""
    with pytest.raises(error, match=match):
        town.answer(ME, request)
    assert town.entries(ME, "reserved", request.kind) == []
    assert town.ledger(ME).entries()[-1].event == "refused"


# Keys.


def join_key(town: SealedBanks, bank: str, instance: str = INSTANCE) -> PhaseKey:
    reply = town.answer(bank, asking(town.plan, "join", instance=instance))
    return parse_signed(reply.payloads["phase-key"], PhaseKey, "phase key")


def test_a_phase_key_is_made_once_signed_by_the_bank_and_its_secret_is_in_nobody_elses_reach(
    town: SealedBanks,
) -> None:
    first, again = join_key(town, ME), join_key(town, ME)
    assert first == again
    assert (first.bank, first.plan_hash, first.instance) == (ME, town.plan.hash, INSTANCE)
    first.verify()
    assert first.public_key == town.roster.member(ME).public_key
    (secret,) = (town.folders / ME / "secagg").glob("*.key")
    assert secret.stat().st_mode & 0o777 == 0o600
    assert (town.folders / ME / "secagg").stat().st_mode & 0o777 == 0o700
    assert PhaseSecret.load(secret).agreement == first.agreement


def test_another_phase_instance_has_another_key(town: SealedBanks) -> None:
    assert join_key(town, ME, "another").agreement != join_key(town, ME).agreement


# Peers.


def listed(town: SealedBanks) -> list[dict[str, Any]]:
    (path,) = (town.folders / ME / "secagg").glob("*.peers")
    return list(json.loads(path.read_bytes())["keys"])


def handing(town: SealedBanks, keys: list[dict[str, Any]], digest: str = "ab" * 32) -> Request:
    """The coordinator hands a list of keys round, and calls it what it likes."""
    payloads = {"peers": json.dumps({"keys": keys}).encode()}
    return replace(asking(town.plan, "peers"), round=1, cohort=digest, payloads=payloads)


def signed_by(town: SealedBanks, folder: Path, bank: str, place: Path, instance: str = INSTANCE) -> dict[str, Any]:
    """A phase key in a bank's name as lists have it, of a fresh secret, signed with the long-term key in `folder`."""
    PhaseSecret.create(place)
    key = PhaseSecret.load(place).sign(bank, town.plan.hash, instance, load_key(folder))
    return {"bank": key.bank, "agreement": key.agreement, "signature": key.signature}


def exchanged(keys: list[dict[str, Any]], bank: str, key: dict[str, Any]) -> list[dict[str, Any]]:
    return [key if old["bank"] == bank else old for old in keys]


def test_an_agreement_key_that_the_coordinator_swapped_is_refused_by_its_bank_and_by_all_others(
    town: SealedBanks, tmp_path: Path
) -> None:
    make_key(tmp_path / "coordinator.key")
    own = signed_by(town, tmp_path / "coordinator.key", "bank-05", tmp_path / "secret")
    keys = listed(town)
    pasted = [{**old, "agreement": own["agreement"]} if old["bank"] == "bank-05" else old for old in keys]
    for swapped, match in (
        (pasted, "phase key of bank bank-05: .*signature"),
        (exchanged(keys, "bank-05", own), "phase key of bank bank-05: .*signature"),
    ):
        for bank in town.banks:
            with pytest.raises(SecureAggregationError, match=match):
                town.answer(bank, handing(town, swapped))
    assert listed(town) == keys


def test_a_bank_refuses_a_list_with_another_key_of_its_own_than_the_one_it_made(
    town: SealedBanks, tmp_path: Path
) -> None:
    """As after a theft of its long-term key: the signature is good, and the secret is not here."""
    other = signed_by(town, town.folders / ME / "keys" / "bank.key", ME, tmp_path / "secret")
    with pytest.raises(ReleaseRefused, match="has another key for this bank than its own; nothing is masked"):
        town.answer(ME, handing(town, exchanged(listed(town), ME, other)))


def test_a_key_for_another_instance_is_refused(town: SealedBanks, tmp_path: Path) -> None:
    old = signed_by(town, town.folders / "bank-03" / "keys" / "bank.key", "bank-03", tmp_path / "secret", "earlier")
    with pytest.raises(SecureAggregationError, match=r"phase key of bank bank-03: .*signature"):
        town.answer(ME, handing(town, exchanged(listed(town), "bank-03", old)))


def test_a_list_without_this_bank_or_with_one_that_is_on_no_roster_is_refused(
    town: SealedBanks, tmp_path: Path
) -> None:
    keys = listed(town)
    with pytest.raises(SecureAggregationError, match=f"bank {ME} has no phase key"):
        town.answer(ME, handing(town, [key for key in keys if key["bank"] != ME]))
    make_key(tmp_path / "sybil.key")
    sybil = signed_by(town, tmp_path / "sybil.key", "bank-77", tmp_path / "secret")
    with pytest.raises(SecureAggregationError, match="phase key of bank bank-77"):
        town.answer(ME, handing(town, [*keys, sybil]))


def test_a_list_under_another_name_than_its_own_is_refused(town: SealedBanks) -> None:
    with pytest.raises(WireError, match="names another list of phase keys than it brings"):
        town.answer(ME, handing(town, listed(town)))
    with pytest.raises(WireError, match="brings no phase keys"):
        town.answer(ME, replace(handing(town, []), payloads={}))


@pytest.mark.parametrize("data", [b"", b"[]", b'{"keys": 7}', b'{"keys": [{}]}', b"\xff"])
def test_a_list_that_cannot_be_read_is_refused_by_name(town: SealedBanks, data: bytes) -> None:
    with pytest.raises(SecureAggregationError, match="phase keys"):
        town.answer(ME, replace(handing(town, []), payloads={"peers": data}))


@pytest.mark.parametrize("name", ["operator.pub", "roster.json"])
def test_without_the_operators_kit_nobodys_key_is_believed(town: SealedBanks, name: str) -> None:
    (town.folders / ME / name).unlink()
    with pytest.raises(TrustError, match=name):
        town.answer(ME, handing(town, listed(town)))
    with pytest.raises(TrustError, match=name):
        town.answer(ME, town.request(town.attempt()))


def test_a_roster_signed_by_somebody_else_than_the_pinned_operator_is_refused(
    town: SealedBanks, tmp_path: Path
) -> None:
    members = [Member(bank=bank, public_key=town.roster.member(bank).public_key, since="2025-01-01T00:00:00+00:00")
               for bank in town.banks]  # fmt: skip
    forged = sign_roster(make_key(tmp_path / "other.key"), town.plan.consortium, 9, members)
    (town.folders / ME / "roster.json").write_bytes(forged.to_bytes())
    with pytest.raises(TrustError, match="roster"):
        town.answer(ME, town.request(town.attempt()))
    assert town.entries(ME, "reserved", "sketch") == []


def test_a_bank_that_leaves_the_roster_is_no_peer_any_more_from_the_next_request_on(
    town: SealedBanks, tmp_path: Path
) -> None:
    pki = Pki.create(tmp_path / "pki", town.plan.consortium, Hosts(names=("localhost",)))
    keys = {bank: town.roster.member(bank).public_key for bank in town.banks}
    (town.folders / ME / "operator.pub").write_text(pki.operator + "\n")
    for roster in (pki.enrol(keys), pki.enrol({bank: key for bank, key in keys.items() if bank != "bank-04"})):
        (town.folders / ME / "roster.json").write_bytes(roster.to_bytes())
        if roster.number == 2:
            town.answer(ME, town.request(town.attempt()))
            continue
        with pytest.raises(SecureAggregationError, match="phase key of bank bank-04"):
            town.answer(ME, town.request(town.attempt(number=2)))


# Cohorts: refused before anything is charged.


def test_a_cohort_below_the_minimum_is_refused_before_anything_is_charged(town: SealedBanks) -> None:
    request = town.request(town.attempt(cohort=town.banks[:3]))
    uncharged(town, request, ReleaseRefused, "the cohort has 3 banks; under this plan no sum over fewer than 4 is op")


def test_a_cohort_without_this_bank_is_refused_before_anything_is_charged(town: SealedBanks) -> None:
    cohort = [bank for bank in town.banks if bank != ME]
    uncharged(town, town.request(town.attempt(cohort=cohort)), ReleaseRefused, "this bank is not in the cohort")


CHANGES: dict[str, tuple[Callable[[Request], Request], str]] = {
    "digest": (lambda request: replace(request, cohort="ab" * 32), "digest is not that of the cohort it names"),
    "round": (lambda request: replace(request, round=1), "digest is not that of the cohort it names"),
    "attempt": (lambda request: replace(request, attempt=2), "digest is not that of the cohort it names"),
    "kind": (lambda request: replace(request, kind="evaluate"), "digest is not that of the cohort it names"),
    "members": (
        lambda request: replace(request, values={**request.values, "members": "f8"}),
        "digest is not that of the cohort it names",
    ),
    "peers": (
        lambda request: replace(request, values={**request.values, "peers": "cd" * 32}),
        "the phase keys here are list [0-9a-f]{12}, the request's cdcdcdcdcdcd; send them",
    ),
    "no values": (lambda request: replace(request, values={}), "the request's ; send them"),
}


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_a_digest_that_is_not_that_of_the_cohort_named_is_refused_before_anything_is_charged(
    town: SealedBanks, name: str
) -> None:
    change, match = CHANGES[name]
    uncharged(town, change(town.request(town.attempt())), WireError, match)


def test_an_instance_whose_keys_are_not_here_is_refused_before_anything_is_charged(town: SealedBanks) -> None:
    request = replace(town.request(town.attempt()), instance="another")
    uncharged(town, request, WireError, "the banks' phase keys are not here; send them again")


# Masks.


def test_masked_vectors_of_a_whole_cohort_sum_to_the_banks_own_figures_and_each_looks_like_noise(
    town: SealedBanks,
) -> None:
    attempt = town.attempt()
    replies = town.upload(attempt)
    (part,) = parts_of(town.plan, "sketch", 0, 6)
    total = MaskedSum(attempt, "sketch", part.size, part.encoding.bits, self_masked=False)
    for bank, reply in replies.items():
        residues = town.residues(attempt, reply, "sketch")
        total.add(bank, residues)
        assert set(reply.payloads) == {"sketch"}
        assert reply.values == {}
        own = part.encoding.encode(plain(town, bank).astype(np.float64))
        # Of some thousand residues modulo 2^32 and more, hardly any is by chance what it hides.
        assert np.count_nonzero(residues == own) <= 1
        # 16 equal classes; once in ten thousand runs a true uniform fails.
        classes = np.bincount((residues >> np.uint64(part.encoding.bits - 4)).astype(np.int64), minlength=16)
        assert stats.chisquare(classes).pvalue > 1e-4 / 6
    expected = np.sum([plain(town, bank) for bank in town.banks], axis=0)
    assert part.encoding.decode(total.complete()).tolist() == expected.tolist()


def test_another_attempt_masks_the_same_figures_anew(town: SealedBanks) -> None:
    first, second = (town.attempt(number=number) for number in (1, 2))
    found = [town.residues(attempt, town.upload(attempt, [ME])[ME], "sketch") for attempt in (first, second)]
    assert np.count_nonzero(found[0] == found[1]) <= 1


def test_a_lost_secret_is_an_error_by_name_and_never_silently_replaced(town: SealedBanks) -> None:
    (secret,) = (town.folders / ME / "secagg").glob("*.key")
    secret.unlink()
    uncharged(town, town.request(town.attempt()), ReleaseRefused, "this bank's secret for the phase is gone")
    assert not secret.exists()


def test_peers_in_a_file_that_was_changed_on_disk_are_checked_again(town: SealedBanks) -> None:
    (path,) = (town.folders / ME / "secagg").glob("*.peers")
    town.answer(ME, town.request(town.attempt()))
    peers = json.loads(path.read_bytes())
    peers["keys"][0]["agreement"] = "07" * 32
    path.write_text(json.dumps(peers))
    with pytest.raises(SecureAggregationError, match="phase key of bank bank-01"):
        town.answer(ME, town.request(town.attempt(number=2)))
