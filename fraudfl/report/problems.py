"""What is wrong with the records behind a report: stated in it, without quoting any row."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from fraudfl.errors import DataError, FraudflError

Arguments = ParamSpec("Arguments")
Read = TypeVar("Read")


class Problems:
    """Collects problems, so that one broken record does not keep the rest from being reported."""

    def __init__(self) -> None:
        """Begin with none."""
        self._found: list[str] = []

    @property
    def found(self) -> tuple[str, ...]:
        """All of them, in order, each once."""
        return tuple(dict.fromkeys(self._found))

    def note(self, text: str) -> None:
        """Add one."""
        self._found.append(text)

    def attempt(self, read: Callable[Arguments, Read], *args: Arguments.args, **named: Arguments.kwargs) -> Read | None:
        """Read a part of the records; None when it cannot be read, which is noted."""
        try:
            return read(*args, **named)
        except (FraudflError, OSError, ValueError) as error:
            self._found.append(_told(error))
            return None


def _told(error: Exception) -> str:
    # Messages about a bank's data quote it, and those of unforeseen errors may.
    if isinstance(error, FraudflError) and not isinstance(error, DataError):
        return f"{type(error).__name__}: {error}"
    return f"{type(error).__name__}: a part of the records cannot be read, and is left out of this report"
