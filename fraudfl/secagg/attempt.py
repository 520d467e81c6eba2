"""One attempt at one masked sum: what all its masks are bound to."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property

from fraudfl.protocols import INSTANCE
from fraudfl.secagg.errors import SecureAggregationError
from fraudfl.trust.keys import canonical

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """Which banks are asked for what; checked when it is made.

    Another value of any field is another attempt, whose masks have nothing to do with this one's.

    Attributes:
        plan_hash: SHA-256 (hex) of the plan.
        instance: The phase instance.
        kind: What is asked for: `sketch`, `train`, …
        round, attempt: As in the request; `attempt` counts from 1.
        cohort: The banks asked together, sorted, at least two.
        peers: Digest (hex) of the phase keys that the cohort uses.
        asked: Digest (hex) of what the banks are asked to work on, the model first of all: banks that are given
            different ones have masks that never cancel (Pasquini et al. 2022).

    Raises:
        SecureAggregationError: naming the field that is not what it should be.
    """

    plan_hash: str
    instance: str
    kind: str
    round: int
    attempt: int
    cohort: tuple[str, ...]
    peers: str
    asked: str = "0" * 64

    def __post_init__(self) -> None:
        """Check every field."""
        for name in ("plan_hash", "peers", "asked"):
            _require(name, getattr(self, name), _DIGEST, "64 hexadecimal digits")
        _require("instance", self.instance, INSTANCE, "1 to 64 letters, digits, '_' and '-'")
        _require("kind", self.kind, _NAME, "lower-case letters, digits and hyphens")
        for bank in self.cohort:
            _require("cohort", bank, _NAME, "bank ids")
        if self.round < 0 or self.attempt < 1:
            raise SecureAggregationError(
                f"attempt: found round {self.round} and attempt {self.attempt}; expected at least 0 and 1"
            )
        if len(self.cohort) < 2 or list(self.cohort) != sorted(set(self.cohort)):
            raise SecureAggregationError(
                f"attempt: cohort: found {self.cohort!r}; expected two or more banks, sorted, each once"
            )

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over all fields."""
        facts = {
            "plan_hash": self.plan_hash,
            "instance": self.instance,
            "kind": self.kind,
            "round": self.round,
            "attempt": self.attempt,
            "cohort": self.cohort,
            "peers": self.peers,
            "asked": self.asked,
        }
        return hashlib.sha256(b"fraudfl/secagg/attempt/1\0" + canonical(facts)).hexdigest()

    def context(self, purpose: str, part: str, *banks: str) -> bytes:
        """HKDF's `info` for one seed: canonical JSON, so that two different uses never share it.

        Args:
            purpose: What the seed is for.
            part: Which vector of the reply it masks.
            banks: Whose seed it is: one bank's own, or a pair's, sorted.
        """
        _require("part", part, _NAME, "lower-case letters, digits and hyphens")
        return canonical(["fraudfl/secagg/seed/1", purpose, self.digest, part, banks])

    def survivors(self, banks: tuple[str, ...], min_cohort: int) -> tuple[str, ...]:
        """Check a survivor set: sorted, each bank once, of this cohort, and no fewer than the minimum cohort.

        Raises:
            SecureAggregationError: naming what is wrong with it.
        """
        if list(banks) != sorted(set(banks)):
            raise SecureAggregationError(f"survivor set: found {banks!r}; expected banks sorted, each once")
        foreign = sorted(set(banks) - set(self.cohort))
        if foreign:
            raise SecureAggregationError(
                f"survivor set: bank {foreign[0]} is not in the cohort of round {self.round}, attempt {self.attempt}"
            )
        if len(banks) < max(min_cohort, 1):
            raise SecureAggregationError(
                f"survivor set: found {len(banks)} banks; expected the minimum cohort of {min_cohort} or more. "
                "Nothing is revealed for fewer"
            )
        return banks


def _require(name: str, value: object, pattern: re.Pattern[str], expected: str) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise SecureAggregationError(f"attempt: {name}: found {str(value)[:80]!r}; expected {expected}")
