"""What secure aggregation costs a bank and the coordinator in a round: computation and bytes, on one core.

    python benchmarks/secagg.py [--quick]

200 banks with 10,000 parameters each and self masks, so that banks lost before upload are tolerated: nobody lost, then
ten. Beside it ten banks with 1,000 parameters in a plan with one exchange. Every opened sum is compared with the plain
one. Bytes are those of secure aggregation's own messages; the model that goes down is not among them. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fraudfl.privacy.noise import NoiseSource
from fraudfl.secagg.attempt import Attempt
from fraudfl.secagg.bitpack import pack, unpack
from fraudfl.secagg.fixed_point import FixedPoint
from fraudfl.secagg.masking import Masker
from fraudfl.secagg.peers import Peers
from fraudfl.secagg.phase_keys import PhaseSecret
from fraudfl.secagg.reveals import read_reveal
from fraudfl.secagg.sums import MaskedSum
from fraudfl.secagg.survivors import check_confirmations, confirm, pack_confirmations, unpack_confirmations
from fraudfl.summed import spell_members
from fraudfl.trust.keys import PrivateKey, new_key, public_text
from fraudfl.trust.roster import Member, Roster, sign_roster

PLAN, INSTANCE, PART = "ab" * 32, "rollout-1", "update"
SINCE = "2025-01-01T00:00:00+00:00"
# Noise of deviation 1 in the sum, clamped at 1 at each bank, over a plan of 3,000 rounds.
ROUNDS, BOUND, DEVIATION = 3000, 1.0, 1.0
Result = TypeVar("Result")


class Clock:
    """Adds up seconds by what they were spent on."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def of(self, name: str, work: Callable[[], Result]) -> Result:
        begun = time.perf_counter()
        result = work()
        self.seconds.setdefault(name, []).append(time.perf_counter() - begun)
        return result

    def mean(self, name: str) -> float:
        return statistics.mean(self.seconds[name])

    def total(self, *names: str) -> float:
        return sum(self.mean(name) for name in names)


@dataclass(frozen=True)
class Consortium:
    """Banks with their keys, in one process."""

    keys: dict[str, PrivateKey]
    roster: Roster
    peers: Peers
    maskers: dict[str, Masker]
    grid: FixedPoint
    size: int
    noise: NoiseSource


def join(count: int, size: int, folder: Path, clock: Clock) -> Consortium:
    """All banks make and sign a phase key, and one of them checks everybody's; all share the outcome."""
    keys = {f"bank-{n:03}": new_key() for n in range(count)}
    members = [Member(bank=bank, public_key=public_text(key), since=SINCE) for bank, key in keys.items()]
    roster = sign_roster(new_key(), "benchmark", 1, members)
    secrets = {
        bank: clock.of("make a phase key", lambda bank=bank: PhaseSecret.create(folder / f"{count}" / bank))
        for bank in keys
    }
    signed = [secrets[bank].sign(bank, PLAN, INSTANCE, key) for bank, key in keys.items()]
    data = Peers.checked(signed, roster, PLAN, INSTANCE).to_bytes()
    peers = clock.of("check all phase keys", lambda: Peers.from_bytes(data, roster, PLAN, INSTANCE))
    maskers = {bank: Masker(secret, bank, peers) for bank, secret in secrets.items()}
    step = DEVIATION / count**0.5 / 4
    grid = FixedPoint.for_sums(BOUND, count, DEVIATION, ROUNDS * size, step)
    return Consortium(keys, roster, peers, maskers, grid, size, NoiseSource())


def upload(
    banks: Consortium, attempt: Attempt, clock: Clock, *, self_mask: bool
) -> tuple[dict[str, bytes], np.ndarray]:
    """Every bank's masked vector as bytes, and all residues, one bank a row."""
    generator = np.random.default_rng(attempt.attempt)
    plain, sent = [], {}
    for bank in attempt.cohort:
        values = generator.normal(0, DEVIATION / len(attempt.cohort) ** 0.5, banks.size)
        residues = clock.of("encode", lambda v=values: banks.grid.encode(v, banks.noise.uniform(banks.size)))
        masked = clock.of(
            "mask",
            lambda b=bank, r=residues: banks.maskers[b].mask(attempt, PART, r, banks.grid.bits, self_mask=self_mask),
        )
        sent[bank] = clock.of("pack", lambda m=masked: pack(m, banks.grid.bits))
        plain.append(residues)
    return sent, np.array(plain)


def gather(
    banks: Consortium, attempt: Attempt, sent: dict[str, bytes], clock: Clock, *, self_masked: bool
) -> MaskedSum:
    """The coordinator adds up what arrived."""

    def add_all() -> MaskedSum:
        total = MaskedSum(attempt, PART, banks.size, banks.grid.bits, self_masked=self_masked)
        for bank, data in sent.items():
            total.add(bank, unpack(data, banks.size, banks.grid.bits))
        return total

    return clock.of("coordinator: add", add_all)


def attempt_of(banks: Consortium, number: int) -> Attempt:
    return Attempt(
        plan_hash=PLAN,
        instance=INSTANCE,
        kind="train",
        round=1,
        attempt=number,
        cohort=banks.peers.banks,
        peers=banks.peers.digest,
    )


def recovering_round(
    banks: Consortium, number: int, lost: int, clock: Clock, *, m: int, t: int, probes: int = 5
) -> dict[str, int]:
    """One round with self masks; `probes` banks check the confirmations. Returns bytes a bank."""
    attempt = attempt_of(banks, number)
    sent, plain = upload(banks, attempt, clock, self_mask=True)
    survivors = attempt.cohort[lost:]
    total = gather(banks, attempt, {bank: sent[bank] for bank in survivors}, clock, self_masked=True)
    confirmations = [
        clock.of("confirm", lambda b=bank: confirm(attempt, survivors, b, banks.keys[b], m)) for bank in survivors
    ]
    bundle = clock.of("coordinator: bundle", lambda: pack_confirmations(confirmations))
    for _ in range(probes):
        clock.of(
            "check confirmations",
            lambda: check_confirmations(
                unpack_confirmations(bundle, banks.roster), attempt, survivors, banks.roster, m, t
            ),
        )
    revealed = [
        clock.of(
            "reveal",
            lambda b=bank: banks.maskers[b].reveal(attempt, [PART], survivors, m, banks.keys[b]).to_bytes(),
        )
        for bank in survivors
    ]
    read = clock.of("coordinator: read reveals", lambda: [read_reveal(data, banks.roster) for data in revealed])
    opened = clock.of("coordinator: unmask", lambda: total.unmask(read))
    check_sum(opened, plain[lost:], banks.grid.bits)
    # As requests spell it: the digest of the phase keys and the cohort in each, the survivors in two of the three.
    cohort, set_ = (len(spell_members(members, attempt.cohort)) for members in (attempt.cohort, survivors))
    return {
        "bytes_up": len(sent[survivors[0]]) + len(confirmations[0].to_bytes()) + len(revealed[0]),
        "bytes_down": 3 * (len(attempt.peers) + cohort) + 2 * set_ + len(bundle),
        "bytes_vector": len(sent[survivors[0]]),
    }


def one_exchange(banks: Consortium, number: int, clock: Clock) -> int:
    """One round without self masks. Returns bytes up a bank; nothing goes down for it."""
    attempt = attempt_of(banks, number)
    sent, plain = upload(banks, attempt, clock, self_mask=False)
    total = gather(banks, attempt, sent, clock, self_masked=False)
    opened = clock.of("coordinator: open", total.complete)
    check_sum(opened, plain, banks.grid.bits)
    return len(sent[attempt.cohort[0]])


def check_sum(opened: np.ndarray, plain: np.ndarray, bits: int) -> None:
    if not np.array_equal(opened, plain.sum(axis=0, dtype=np.uint64) & np.uint64(2**bits - 1)):
        sys.exit("secagg: the opened sum is not the banks' sum")


BANK = ("encode", "mask", "pack", "confirm", "check confirmations", "reveal")
COORDINATOR = ("coordinator: add", "coordinator: bundle", "coordinator: read reveals", "coordinator: unmask")


def run_many(count: int, size: int, folder: Path) -> dict[str, Any]:
    """The round that recovers, with nobody and with a twentieth of the banks lost."""
    figures: dict[str, Any] = {"banks": count, "parameters": size}
    clock = Clock()
    banks = join(count, size, folder, clock)
    m, t, lost = count * 3 // 4, count // 10, count // 20
    # The first round computes the secrets that banks share, once for the phase.
    recovering_round(banks, 1, 0, clock, m=m, t=t, probes=1)
    figures["seconds_join_per_bank"] = clock.total("make a phase key", "check all phase keys")
    figures["seconds_first_mask_per_bank"] = clock.mean("mask")
    for number, gone in ((2, 0), (3, lost)):
        clock = Clock()
        sizes = recovering_round(banks, number, gone, clock, m=m, t=t)
        suffix = "" if gone else "_none_lost"
        figures[f"seconds_per_bank{suffix}"] = clock.total(*BANK)
        figures[f"seconds_per_coordinator{suffix}"] = clock.total(*COORDINATOR)
        print(f"\n{count} banks x {size} parameters of {banks.grid.bits} bits, {gone} lost (m = {m}, t = {t})")
        show(clock, (*BANK, *COORDINATOR))
    return figures | sizes | {"bits": banks.grid.bits, "lost": lost}


def run_ten(folder: Path) -> dict[str, Any]:
    """Ten banks with 1,000 parameters and one exchange; the second of two rounds counts."""
    banks = join(10, 1000, folder, Clock())
    one_exchange(banks, 1, Clock())
    clock = Clock()
    sent = one_exchange(banks, 2, clock)
    print(f"\n10 banks x 1000 parameters of {banks.grid.bits} bits, one exchange")
    show(clock, (*BANK[:3], "coordinator: add", "coordinator: open"))
    return {
        "seconds_per_bank_10": clock.total(*BANK[:3]),
        "seconds_per_coordinator_10": clock.total("coordinator: add", "coordinator: open"),
        "bytes_up_10": sent,
        "bytes_down_10": 0,
        "bits_10": banks.grid.bits,
    }


def show(clock: Clock, names: tuple[str, ...]) -> None:
    for name in names:
        print(f"  {name:<28}{clock.mean(name) * 1e3:>10.2f} ms")


def main() -> None:
    """Run both, print the tables and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--quick", action="store_true", help="40 banks with 2,000 parameters instead of 200 with 10,000"
    )
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as scratch:
        many = run_many(40, 2000, Path(scratch)) if quick else run_many(200, 10_000, Path(scratch))
        figures = many | run_ten(Path(scratch))
    print(f"\n  {'bytes up per bank and round':<28}{figures['bytes_up']:>10}  (vector {figures['bytes_vector']})")
    print(f"  {'bytes down per bank':<28}{figures['bytes_down']:>10}  (without the model)")
    print(json.dumps({key: round(value, 6) if isinstance(value, float) else value for key, value in figures.items()}))


if __name__ == "__main__":
    main()
