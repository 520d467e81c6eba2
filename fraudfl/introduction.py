"""What a bank says of itself when it takes a plan: which release it runs, and when it works. Nothing of its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from fraudfl.errors import WireError
from fraudfl.protocols import Scalar

NAMES = frozenset({"software", "hours"})
LONGEST = 200
"""Characters of each text."""


@dataclass(frozen=True, kw_only=True)
class Introduction:
    """What a bank says of itself.

    Attributes:
        software: Version of fraudfl that it runs.
        hours: Its windows with their time zone, as its policy spells them; empty where it does not tell.
    """

    software: str = ""
    hours: str = ""

    def to_values(self) -> dict[str, Scalar]:
        """For a reply; cut where a text is too long."""
        return {name: str(text)[:LONGEST] for name, text in asdict(self).items() if text}

    @classmethod
    def from_values(cls, values: Mapping[str, Scalar]) -> Introduction:
        """Read a reply's values; what is not there was not told.

        Raises:
            WireError: if a text is none, is too long, or holds what cannot be printed.
        """
        told = {name: values[name] for name in sorted(NAMES) if name in values}
        for name, text in told.items():
            if not isinstance(text, str) or len(text) > LONGEST or not text.isprintable():
                raise WireError(f"value {name!r} is {text!r:.80}; expected at most {LONGEST} printable characters")
        return cls(**{name: str(text) for name, text in told.items()})
