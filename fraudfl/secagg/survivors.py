"""Survivor sets: the banks sign which of them are in the sum before any of them reveals a mask.

With n banks in the cohort, of which at most t collude with the coordinator, honest banks sign one set per attempt and
colluding ones as many as they like. Two sets with `needed` signatures each would take 2·needed <= (n - t) + 2t = n + t
signatures, and needed > (n + t) / 2. So two sets cannot both be confirmed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from pydantic import ValidationError

from fraudfl.errors import TrustError
from fraudfl.frozen import Frozen, Name
from fraudfl.secagg.attempt import Attempt
from fraudfl.secagg.errors import SecureAggregationError, invalid
from fraudfl.secagg.peers import check_signer
from fraudfl.secagg.phase_keys import Hex32
from fraudfl.trust.keys import PrivateKey, PublicText, Signed, canonical, public_text
from fraudfl.trust.roster import Roster


class SurvivorSet(Signed):
    """One bank's word for which banks are in an attempt's sum.

    Attributes:
        attempt: The attempt's digest, hex.
        survivors: Banks whose vectors arrived, sorted.
        bank, public_key: Who says so, and signs.
    """

    purpose: ClassVar[str] = "survivors"

    version: Literal[1] = 1
    attempt: Hex32
    survivors: tuple[Name, ...]
    bank: Name
    public_key: PublicText

    @property
    def signer(self) -> str:
        """The bank itself."""
        return self.public_key


class _Bundle(Frozen):
    """Many banks' signatures over one set, said once."""

    attempt: Hex32
    survivors: tuple[Name, ...]
    signatures: dict[Name, str]


def needed(min_cohort: int, banks: int, colluding: int) -> int:
    """How many banks must have signed one survivor set before anybody reveals.

    Args:
        min_cohort: m; no sum over fewer banks is opened.
        banks: n, the size of the attempt's cohort.
        colluding: t, the most banks that may work with the coordinator.
    """
    return max(min_cohort, (banks + colluding) // 2 + 1)


def confirm(
    attempt: Attempt, survivors: tuple[str, ...], bank: str, long_term: PrivateKey, min_cohort: int
) -> SurvivorSet:
    """Sign a survivor set as one bank. The caller makes sure, durably, that it signs one set per attempt only.

    A bank of the cohort may sign a set that it is not in itself: it then never reveals anything for this attempt.

    Raises:
        SecureAggregationError: when the bank is not of the cohort, or the set is malformed or too small.
    """
    if bank not in attempt.cohort:
        raise SecureAggregationError(f"bank {bank} is not in the cohort, so it does not sign its survivor set")
    record = SurvivorSet(
        attempt=attempt.digest,
        survivors=attempt.survivors(survivors, min_cohort),
        bank=bank,
        public_key=public_text(long_term),
    )
    return record.signed_by(long_term)


def check_confirmations(
    confirmations: Iterable[SurvivorSet],
    attempt: Attempt,
    survivors: tuple[str, ...],
    roster: Roster,
    min_cohort: int,
    colluding: int,
) -> None:
    """Check that enough banks of the cohort signed this very set.

    A signature that is foreign, doubled, for another set or attempt, or wrong is not counted. Checking stops at the
    first `needed` good ones.

    Args:
        confirmations: As they came from the coordinator.
        attempt, survivors: What they must be about.
        roster: The one in this bank's own folder.
        min_cohort, colluding: m and t of the plan.

    Raises:
        SecureAggregationError: when the set is malformed or too small, or too few signed it; it names each
            signature that was not counted, and why.
    """
    attempt.survivors(survivors, min_cohort)
    enough = needed(min_cohort, len(attempt.cohort), colluding)
    signed: set[str] = set()
    rejected: list[str] = []
    for record in confirmations:
        try:
            _check(record, attempt, survivors, roster, signed)
        except SecureAggregationError as error:
            rejected.append(str(error))
            continue
        signed.add(record.bank)
        if len(signed) == enough:
            return
    raise SecureAggregationError(
        f"survivor set of round {attempt.round}, attempt {attempt.attempt}: found {len(signed)} good signatures; "
        f"expected {enough} of the cohort's {len(attempt.cohort)} banks. Nothing is revealed"
        + "".join(f"\n  not counted: {reason}" for reason in rejected)
    )


def pack_confirmations(confirmations: Iterable[SurvivorSet]) -> bytes:
    """Many banks' confirmations of one set as bytes, with the set said once and the keys left to the roster.

    Raises:
        SecureAggregationError: when there is none, or they are about different sets or attempts.
    """
    records = list(confirmations)
    about = {(record.attempt, record.survivors) for record in records}
    if len(about) != 1:
        raise SecureAggregationError(f"confirmations: found {len(about)} survivor sets; expected one")
    attempt, survivors = about.pop()
    bundle = _Bundle(
        attempt=attempt, survivors=survivors, signatures={record.bank: record.signature for record in records}
    )
    return canonical(bundle.model_dump(mode="json"))


def unpack_confirmations(data: bytes, roster: Roster) -> list[SurvivorSet]:
    """Read what `pack_confirmations` wrote; the signatures are not checked yet.

    Raises:
        SecureAggregationError: when it is malformed, or names a bank that is not on the roster.
    """
    try:
        bundle = _Bundle.model_validate_json(data)
        return [
            SurvivorSet(
                attempt=bundle.attempt,
                survivors=bundle.survivors,
                bank=bank,
                public_key=roster.member(bank).public_key,
                signature=signature,
            )
            for bank, signature in bundle.signatures.items()
        ]
    except TrustError as error:
        raise SecureAggregationError(f"confirmations: {error}") from error
    except ValidationError as error:
        raise invalid("confirmations", error) from error


def _check(record: SurvivorSet, attempt: Attempt, survivors: tuple[str, ...], roster: Roster, signed: set[str]) -> None:
    said = f"confirmation of bank {record.bank}"
    if record.attempt != attempt.digest:
        raise SecureAggregationError(f"{said}: is about another attempt ({record.attempt[:12]})")
    if record.survivors != survivors:
        raise SecureAggregationError(f"{said}: is over another survivor set, of {len(record.survivors)} banks")
    if record.bank not in attempt.cohort:
        raise SecureAggregationError(f"{said}: it is not in the cohort")
    if record.bank in signed:
        raise SecureAggregationError(f"{said}: was counted already")
    check_signer(record, roster, "confirmation")
