"""What the coordinator received under secure aggregation: it must look uniform, and nobody's own vector be in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2, kstest

from fraudfl.errors import PrivacyError
from fraudfl.privacy.audit.result import AuditResult
from fraudfl.secagg.bitpack import pack, unpack
from fraudfl.secagg.streams import Residues

FALSE_ALARMS = 1e-3
"""Probability that honest masks fail the whole view test."""
_CELLS_BITS = 6
_FEWEST_PER_CELL = 50
# The narrowest plain vector that is looked for byte by byte: shorter ones turn up by chance.
_FEWEST_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class Received:
    """One masked vector as a bank sent it.

    Attributes:
        bank, kind, round, attempt, part: Whose, and of what.
        cohort: How many banks were asked together.
        payload: The reply's bytes, packed residues.
        size, bits: What they unpack to.
        plain: The bank's own encoding before masks, uint64, shape (size,), where a test recorded it.
    """

    bank: str
    kind: str
    round: int
    attempt: int
    part: str
    cohort: int
    payload: bytes
    size: int
    bits: int
    plain: Residues | None = None

    @property
    def attempt_key(self) -> tuple[str, int, int, str]:
        """What all banks' vectors of one sum share."""
        return self.kind, self.round, self.attempt, self.part

    def residues(self) -> Residues:
        """Read the payload; raises SecureAggregationError when it is not what `size` and `bits` say."""
        return unpack(self.payload, self.size, self.bits)


@dataclass(frozen=True)
class Finding:
    """One test of one vector, or of several put together.

    Attributes:
        what: What was looked at, in words.
        p_value: Probability of something as odd under honest masks.
    """

    what: str
    p_value: float


def audit_view(name: str, received: Sequence[Received]) -> AuditResult:
    """Test all that a coordinator received in a phase.

    Under fresh, unpredictable masks these are uniform modulo 2^bits: each vector; the difference of one bank's vectors
    of two attempts (else a mask was used twice); the sum of any two banks' of one attempt, in a cohort of three or
    more (else masks cancel too early); and each vector less the bank's own encoding (else the mask is no mask). No
    payload may hold a bank's own encoding. The least p-value, times the number of tests (Bonferroni), is compared
    with `FALSE_ALARMS`.

    Args:
        received: At least one vector.

    Raises:
        PrivacyError: if nothing was received, or vectors are too short to be tested.
        SecureAggregationError: if a payload cannot be unpacked.
    """
    leaks = plain_leaks(received)
    findings = list(uniformity(received))
    if not findings:
        raise PrivacyError("no masked vector was received; expected those of a phase with secure aggregation")
    worst = min(findings, key=lambda finding: finding.p_value)
    adjusted = min(1.0, worst.p_value * len(findings))
    return AuditResult(
        name=name,
        mechanism="secure-aggregation",
        claimed=None,
        lower_bound=None,
        confidence=1 - FALSE_ALARMS,
        trials=len(received),
        verdict="violated" if leaks or adjusted < FALSE_ALARMS else "sound",
        detail=(
            f"{len(received)} masked vectors, {len(findings)} tests of uniformity; least p-value {worst.p_value:.2g} "
            f"({worst.what}), {adjusted:.2g} after Bonferroni; "
            + (f"found unmasked: {', '.join(leaks)}" if leaks else "no bank's own encoding among what was received")
        ),
    )


def uniformity(received: Sequence[Received]) -> Iterator[Finding]:
    """Run every test of uniformity that the vectors allow."""
    vectors = {index: one.residues() for index, one in enumerate(received)}
    for index, one in enumerate(received):
        yield from _tests(f"vector of {_spell(one)}", vectors[index], one.bits)
        if one.plain is not None:
            yield from _tests(f"mask of {_spell(one)}", vectors[index] - one.plain, one.bits)
    for (first, second), what in _pairs(received):
        bits = received[first].bits
        if what == "sum":
            yield from _tests(f"sum of {_spell_two(received, first, second)}", vectors[first] + vectors[second], bits)
        else:
            yield from _tests(
                f"difference of {_spell_two(received, first, second)}", vectors[first] - vectors[second], bits
            )


def plain_leaks(received: Iterable[Received]) -> list[str]:
    """Name each received payload in which some bank's own encoding of the same attempt is found, whole."""
    attempts: dict[tuple[str, int, int, str], list[Received]] = defaultdict(list)
    for one in received:
        attempts[one.attempt_key].append(one)
    return sorted(
        f"{_spell(own)} in what {one.bank} sent"
        for together in attempts.values()
        for own in together
        if own.plain is not None
        for one in together
        if _is_in(own.plain, one)
    )


def uniform_p_value(residues: Residues, bits: int) -> Mapping[str, float]:
    """Test residues for uniformity modulo 2^bits by their highest bits, their lowest, and their order statistics.

    Args:
        residues: uint64, shape (size,); only the lowest `bits` bits are looked at.

    Returns:
        One p-value per test, by its name.

    Raises:
        PrivacyError: if there are too few residues for a chi-square test of two cells.
    """
    cells = min(bits, _CELLS_BITS, int(np.log2(max(1, residues.size / _FEWEST_PER_CELL))))
    if cells < 1:
        raise PrivacyError(f"{residues.size} residues; expected at least {2 * _FEWEST_PER_CELL} to test for uniformity")
    kept = residues & np.uint64(2**bits - 1)
    p_values = {
        "high bits": _chi_square(kept >> np.uint64(bits - cells), cells),
        "low bits": _chi_square(kept & np.uint64(2**cells - 1), cells),
    }
    if bits >= 16:  # with fewer, ties spoil the test, and the cells already see nearly all
        p_values["distribution"] = float(kstest((kept.astype(np.float64) + 0.5) * 2.0**-bits, "uniform").pvalue)
    return p_values


def _tests(what: str, residues: Residues, bits: int) -> Iterator[Finding]:
    for test, p_value in uniform_p_value(residues, bits).items():
        yield Finding(f"{test}, {what}", p_value)


def _pairs(received: Sequence[Received]) -> Iterator[tuple[tuple[int, int], str]]:
    """Yield which vectors to add (two banks, one attempt, not the whole cohort) and to subtract (one bank, in turn)."""
    sums: dict[tuple[object, ...], list[int]] = defaultdict(list)
    turns: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for index, one in enumerate(received):
        sums[*one.attempt_key, one.size, one.bits].append(index)
        turns[one.bank, one.part, one.size, one.bits].append(index)
    for together in sums.values():
        if received[together[0]].cohort > 2:
            yield from ((pair, "sum") for pair in combinations(together, 2))
    for in_turn in turns.values():
        yield from ((pair, "difference") for pair in pairwise(in_turn))


def _chi_square(cells: npt.NDArray[np.uint64], bits: int) -> float:
    counts = np.bincount(cells.astype(np.int64), minlength=2**bits)
    expected = cells.size / counts.size
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), counts.size - 1))


def _is_in(plain: Residues, one: Received) -> bool:
    data = pack(plain, one.bits)
    return len(data) >= _FEWEST_BYTES and bool(plain.any()) and data in one.payload


def _spell(one: Received) -> str:
    return f"{one.bank}'s {one.part}, {one.kind} round {one.round}.{one.attempt}"


def _spell_two(received: Sequence[Received], first: int, second: int) -> str:
    return f"{_spell(received[first])} and {_spell(received[second])}"
