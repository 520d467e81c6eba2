"""Handing keys round: only keys that the roster vouches for, to everybody when the list changed, to newcomers else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from memory_fleet import SECURE, Consortium
from sealed_runs import begin

from fraudfl.errors import QuorumError, TrustError
from fraudfl.protocols import Reply, Request
from fraudfl.secagg.phase_keys import PhaseSecret
from fraudfl.trust.keys import load_key, make_key
from pipelines.circle import Circle
from pipelines.encoding import join
from pipelines.peers import admit_newcomers, hand_round
from pipelines.world import Phase, State

Make = Callable[..., Consortium]
BANKS = tuple(f"bank-0{number}" for number in range(1, 7))


@pytest.fixture(scope="module")
def joined(shared: Make) -> tuple[Consortium, Phase]:
    one = shared("joined", **SECURE)
    phase = one.phase()
    join(phase)
    return one, phase


def own_key(one: Consortium, bank: str, place: Path, signer: Path, instance: str | None = None) -> bytes:
    phase = one.phase()
    PhaseSecret.create(place)
    secret = PhaseSecret.load(place)
    return secret.sign(bank, phase.plan.hash, instance or phase.terms.instance, load_key(signer)).to_bytes()


def answering_with(bank: str, key: bytes) -> Callable[..., Reply]:
    def happening(who: str, request: Request, work: Callable[[], Reply]) -> Reply:
        reply = work()
        if (who, request.kind) == (bank, "join"):
            return replace(reply, payloads={"phase-key": key})
        return reply

    return happening


def test_everybody_gets_the_same_list_of_all_keys(joined: tuple[Consortium, Phase]) -> None:
    one, phase = joined
    circle = phase.state.circle
    assert circle.members == set(circle.keys) == set(BANKS)
    assert list(circle.keys) == list(BANKS)
    lists = {path.read_bytes() for path in one.folders.glob("*/secagg/*.peers")}
    assert lists == {circle.peers}
    assert {key["bank"] for key in json.loads(circle.peers)["keys"]} == set(BANKS)
    (event,) = one.events("peers")
    assert event == {"banks": list(BANKS), "bytes": len(circle.peers)}


def test_a_key_that_the_banks_own_key_did_not_sign_ends_the_phase_by_name(consortium: Make, tmp_path: Path) -> None:
    one = consortium(**SECURE)
    make_key(tmp_path / "other.key")
    one.happening = answering_with("bank-04", own_key(one, "bank-04", tmp_path / "secret", tmp_path / "other.key"))
    with pytest.raises(
        QuorumError, match=r"cannot be handed round: phase key of bank bank-04: is signed by another key"
    ):
        join(one.phase())
    assert not list(one.folders.glob("*/secagg/*.peers"))


@pytest.mark.parametrize("wrong", ["instance", "bank", "garbage"])
def test_a_bank_whose_key_is_anothers_or_for_another_phase_is_left_out_and_not_handed_on(
    consortium: Make, tmp_path: Path, wrong: str
) -> None:
    one = consortium(**SECURE)
    bank = "bank-05" if wrong == "bank" else "bank-04"
    signer = one.folders / bank / "keys" / "bank.key"
    key = own_key(one, bank, tmp_path / "secret", signer, "earlier" if wrong == "instance" else None)
    one.happening = answering_with("bank-04", b"garbage" if wrong == "garbage" else key)
    phase = one.phase()
    join(phase)
    assert phase.state.circle.members == set(BANKS) - {"bank-04"}
    (told,) = phase.state.excluded
    assert (told["bank"], told["round"]) == ("bank-04", 0)
    expected = "phase key" if wrong == "garbage" else "the phase key is another bank's, or for another phase"
    assert expected in told["reason"]


def test_without_a_roster_no_key_can_be_checked(consortium: Make) -> None:
    one = consortium(**SECURE)
    phase = one.phase()
    phase.world = replace(phase.world, roster=lambda: None)
    with pytest.raises(TrustError, match="needs the consortium's roster; make it with `fraudfl pki init`"):
        join(phase)


def requests(one: Consortium, kind: str) -> list[str]:
    return [bank for bank, request in zip(one.fleet.asked_of, one.fleet.asked, strict=True) if request.kind == kind]


def test_a_list_that_has_not_changed_goes_to_those_that_ask_for_it_alone(
    joined: tuple[Consortium, Phase], tmp_path: Path
) -> None:
    one = joined[0].copy(tmp_path)
    phase = one.phase()
    phase.state = joined[1].state
    before = phase.state.circle.digest
    phase.state.circle.members.discard("bank-02")
    hand_round(phase, ["bank-02"])
    assert requests(one, "peers") == ["bank-02"]
    assert (phase.state.circle.digest, phase.state.circle.members) == (before, set(BANKS))


def test_newcomers_are_looked_for_only_when_there_are_any_and_not_more_often_than_it_pays(consortium: Make) -> None:
    one = consortium(**SECURE)
    one.fleet.gone = {"bank-06"}
    one.happening = lambda bank, _request, work: None if bank in one.fleet.gone else work()
    phase = one.phase()
    join(phase)
    admit_newcomers(phase)
    assert requests(one, "join").count("bank-06") == 1  # it is not there, so nobody looks
    one.fleet.gone.clear()
    admit_newcomers(phase)
    assert phase.state.circle.members == set(BANKS)
    phase.state.circle.members.discard("bank-03")
    admit_newcomers(phase)
    assert requests(one, "join").count("bank-03") == 1  # within half a minute nobody looks again
    phase.state.next_look = 0.0
    admit_newcomers(phase)
    assert phase.state.circle.members == set(BANKS)


def test_a_bank_that_refused_for_good_is_not_asked_again(consortium: Make) -> None:
    one = begin(consortium(**SECURE))
    phase = one.phase()
    phase.state.circle.gone = set(BANKS)
    asked = len(one.fleet.asked)
    admit_newcomers(phase)
    assert len(one.fleet.asked) == asked


def test_a_bank_that_leaves_the_roster_leaves_the_circle_and_the_others_get_keys_without_its(
    joined: tuple[Consortium, Phase], tmp_path: Path
) -> None:
    one = joined[0].copy(tmp_path)
    phase = one.phase()
    phase.state = State(circle=Circle.from_facts(joined[1].state.circle.to_facts()), joined=set(BANKS))
    roster = one.roster()
    left = tuple(member for member in roster.members if member.bank != "bank-04")
    phase.world = replace(phase.world, roster=lambda: roster.model_copy(update={"members": left}))
    phase.state.next_look = float("inf")
    admit_newcomers(phase)
    rest = set(BANKS) - {"bank-04"}
    assert phase.state.circle.members == set(phase.state.circle.keys) == rest == set(requests(one, "peers"))
    assert {key["bank"] for key in json.loads(phase.state.circle.peers)["keys"]} == rest
