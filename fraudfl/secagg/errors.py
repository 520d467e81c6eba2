"""What can go wrong in secure aggregation."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from fraudfl.errors import FraudflError


class SecureAggregationError(FraudflError):
    """A key, survivor set, reveal or masked vector is not what the attempt needs; nothing was opened."""


class UnmaskingError(SecureAggregationError):
    """A masked sum cannot be opened, for some banks did not answer; another attempt is a new release.

    Attributes:
        missing: The banks that are missing, sorted.
    """

    def __init__(self, message: str, missing: Iterable[str] = ()) -> None:
        """Say what is missing, and from whom."""
        super().__init__(message)
        self.missing = tuple(sorted(missing))


def invalid(what: str, error: ValidationError) -> SecureAggregationError:
    """The first thing wrong with a record: which field, what was found there and what was expected."""
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"]) or "record"
    found = "" if isinstance(problem["input"], dict | list) else f"found {str(problem['input'])[:80]!r}; "
    return SecureAggregationError(f"{what}: {field}: {found}{problem['msg'].removeprefix('Value error, ')}")
