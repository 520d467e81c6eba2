import secrets

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from scipy.stats import kstest

from fraudfl.errors import PrivacyError
from fraudfl.privacy.audit.view import FALSE_ALARMS, Received, audit_view, uniform_p_value, uniformity
from fraudfl.secagg.attempt import Attempt
from fraudfl.secagg.bitpack import pack
from fraudfl.secagg.errors import SecureAggregationError
from fraudfl.secagg.fixed_point import FixedPoint
from fraudfl.secagg.masking import Masker
from fraudfl.secagg.peers import Peers
from fraudfl.secagg.phase_keys import PhaseSecret
from fraudfl.trust.keys import new_key, now_text, public_text
from fraudfl.trust.roster import Member, sign_roster

BANKS = ("east", "north", "south", "west")
PLAN, SIZE, BITS = "ab" * 32, 400, 20
ENCODING = FixedPoint(2.0**-6, BITS)


def maskers() -> tuple[Peers, dict[str, Masker]]:
    long_term = {bank: new_key() for bank in BANKS}
    members = [Member(bank=bank, public_key=public_text(key), since=now_text()) for bank, key in long_term.items()]
    secret = {bank: PhaseSecret(X25519PrivateKey.generate(), secrets.token_bytes(32)) for bank in BANKS}
    keys = [secret[bank].sign(bank, PLAN, "one", long_term[bank]) for bank in BANKS]
    peers = Peers.checked(keys, sign_roster(new_key(), "test", 1, members), PLAN, "one")
    return peers, {bank: Masker(secret[bank], bank, peers) for bank in BANKS}


@pytest.fixture(scope="module")
def circle() -> tuple[Peers, dict[str, Masker]]:
    return maskers()


def encodings(rounds: int, seed: int = 1) -> dict[tuple[str, int], np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        (bank, number): ENCODING.encode(2 * generator.standard_normal(SIZE), generator.random(SIZE))
        for bank in BANKS
        for number in range(1, rounds + 1)
    }


def sent(bank: str, number: int, masked: np.ndarray, plain: np.ndarray | None) -> Received:
    return Received(
        bank=bank,
        kind="train",
        round=number,
        attempt=1,
        part="update",
        cohort=len(BANKS),
        payload=pack(masked, BITS),
        size=SIZE,
        bits=BITS,
        plain=plain,
    )


def phase(
    circle: tuple[Peers, dict[str, Masker]], rounds: int = 3, *, reused: bool = False, with_plain: bool = True
) -> list[Received]:
    peers, maskers = circle
    plain = encodings(rounds)
    received = []
    for number in range(1, rounds + 1):
        attempt = Attempt(
            plan_hash=PLAN,
            instance="one",
            kind="train",
            round=1 if reused else number,
            attempt=1,
            cohort=BANKS,
            peers=peers.digest,
        )
        for bank in BANKS:
            masked = maskers[bank].mask(attempt, "update", plain[bank, number], BITS, self_mask=True)
            received.append(sent(bank, number, masked, plain[bank, number] if with_plain else None))
    return received


def test_honest_masks_pass_every_test(circle: tuple[Peers, dict[str, Masker]]) -> None:
    result = audit_view("view", phase(circle))
    assert result.verdict == "sound"
    assert result.trials == 12
    assert "no bank's own encoding" in result.detail
    assert result.confidence == 1 - FALSE_ALARMS


def test_a_vector_that_was_not_masked_is_found(circle: tuple[Peers, dict[str, Masker]]) -> None:
    received = phase(circle)
    plain = encodings(3)["north", 2]
    received[5] = sent("north", 2, plain, plain)
    result = audit_view("view", received)
    assert result.verdict == "violated"
    assert "found unmasked: north's update, train round 2.1 in what north sent" in result.detail


def test_a_vector_that_was_not_masked_is_found_without_knowing_it(circle: tuple[Peers, dict[str, Masker]]) -> None:
    received = phase(circle, with_plain=False)
    received[5] = sent("north", 2, encodings(3)["north", 2], None)
    result = audit_view("view", received)
    assert result.verdict == "violated"
    assert "north" in result.detail


def test_a_bank_s_encoding_inside_another_s_longer_payload_is_found(circle: tuple[Peers, dict[str, Masker]]) -> None:
    received = phase(circle, rounds=1)
    own = received[0].plain
    assert own is not None
    other = received[1]
    doubled = pack(np.concatenate([own, own]), BITS)
    received[1] = Received(**{**other.__dict__, "payload": doubled, "size": 2 * SIZE, "plain": None})
    result = audit_view("view", received)
    assert result.verdict == "violated"
    assert "found unmasked: east's update, train round 1.1 in what north sent" in result.detail


def test_a_mask_that_is_used_twice_is_found(circle: tuple[Peers, dict[str, Masker]]) -> None:
    result = audit_view("view", phase(circle, reused=True, with_plain=False))
    assert result.verdict == "violated"
    assert "difference of" in result.detail


def test_masks_that_cancel_between_two_of_four_banks_are_found() -> None:
    generator = np.random.default_rng(2)
    mask = generator.integers(0, 2**BITS, SIZE, dtype=np.uint64)
    other = generator.integers(0, 2**BITS, SIZE, dtype=np.uint64)
    plain = encodings(1)
    top = np.uint64(2**BITS - 1)
    masks = {"east": mask, "north": -mask & top, "south": other, "west": -other & top}
    received = [sent(bank, 1, (plain[bank, 1] + masks[bank]) & top, None) for bank in BANKS]
    result = audit_view("view", received)
    assert result.verdict == "violated"
    assert "sum of" in result.detail


def test_a_mask_that_covers_the_low_bits_only_is_found() -> None:
    generator = np.random.default_rng(3)
    plain = encodings(1)
    short = generator.integers(0, 2**12, (4, SIZE), dtype=np.uint64)
    top = np.uint64(2**BITS - 1)
    received = [sent(bank, 1, (plain[bank, 1] + short[place]) & top, None) for place, bank in enumerate(BANKS)]
    assert audit_view("view", received).verdict == "violated"


def test_false_alarms_are_as_rare_as_stated() -> None:
    generator = np.random.default_rng(4)
    p_values = []
    for number in range(300):
        one = sent("east", number, generator.integers(0, 2**BITS, SIZE, dtype=np.uint64), None)
        p_values += [finding.p_value for finding in uniformity([one])]
    assert len(p_values) == 900
    assert kstest(p_values, "uniform").pvalue > 1e-3


def test_few_bits_are_tested_without_order_statistics() -> None:
    residues = np.random.default_rng(5).integers(0, 8, 500, dtype=np.uint64)
    assert set(uniform_p_value(residues, 3)) == {"high bits", "low bits"}
    assert min(uniform_p_value(residues, 3).values()) > 1e-3
    assert min(uniform_p_value(residues // np.uint64(2), 3).values()) < 1e-9


def test_too_few_residues_are_refused() -> None:
    with pytest.raises(PrivacyError, match="at least 100"):
        uniform_p_value(np.zeros(5, dtype=np.uint64), 8)


def test_nothing_received_is_refused() -> None:
    with pytest.raises(PrivacyError, match="no masked vector"):
        audit_view("view", [])


def test_a_payload_that_was_cut_is_refused(circle: tuple[Peers, dict[str, Masker]]) -> None:
    received = phase(circle, rounds=1)
    cut = Received(**{**received[0].__dict__, "payload": received[0].payload[:-1]})
    with pytest.raises(SecureAggregationError, match="bytes"):
        audit_view("view", [cut])
