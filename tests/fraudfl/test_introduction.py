"""What a bank says of itself, to values and back."""

from __future__ import annotations

import pytest

from fraudfl.errors import WireError
from fraudfl.introduction import LONGEST, Introduction


def test_what_a_bank_says_of_itself_survives_the_way() -> None:
    said = Introduction(software="0.1.0", hours="daily 22:00-06:00 (Europe/Berlin)")
    assert Introduction.from_values(said.to_values()) == said


def test_what_is_not_told_is_empty_and_takes_no_place() -> None:
    assert Introduction(software="0.1.0").to_values() == {"software": "0.1.0"}
    assert Introduction.from_values({"loss": 0.5}) == Introduction()


def test_a_text_that_is_too_long_is_cut_before_it_leaves_and_refused_when_it_comes() -> None:
    assert Introduction(hours="x" * 999).to_values() == {"hours": "x" * LONGEST}
    with pytest.raises(WireError, match="'hours'"):
        Introduction.from_values({"hours": "x" * (LONGEST + 1)})


@pytest.mark.parametrize("said", [3, "two\nlines", "\x1b[2J"])
def test_what_is_no_printable_text_is_refused_by_name(said: object) -> None:
    with pytest.raises(WireError, match="'software'"):
        Introduction.from_values({"software": said})  # type: ignore[dict-item]
