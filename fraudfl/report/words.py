"""How figures are spelled on the pages: numbers, bytes, times, digests, mechanisms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NONE = "—"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(count: int) -> str:
    """A count with thousands apart."""
    return f"{count:,}"


def eps(value: float | None) -> str:
    """An ε to three digits behind the point; a dash where nothing is promised."""
    return NONE if value is None else f"{value:.3f}"


def small(value: float) -> str:
    """A δ or another figure to four digits; powers of ten as people write them."""
    digits, _, exponent = f"{value:.4g}".partition("e")
    if not exponent:
        return digits
    power = f"10{str(int(exponent)).translate(_RAISED)}"
    return power if digits == "1" else f"{digits}·{power}"


def size(count: int) -> str:
    """Bytes in the largest unit that leaves at least 1."""
    if count < 1000:
        return f"{count} B"
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    raise AssertionError(count)


def minute(moment: str) -> str:
    """A time of a record to the minute, in UTC."""
    return f"{moment[:10]} {moment[11:16]} UTC" if moment else NONE


def day(moment: str) -> str:
    """The day of a time."""
    return moment[:10] or NONE


def short(digest: str) -> str:
    """The beginning of a digest, as people compare it."""
    return f"{digest[:16]}…" if len(digest) > 16 else digest or NONE


def count_of(number_of: int, one: str, many: str = "") -> str:
    """A count with its noun."""
    return f"{number_of:,} {one if number_of == 1 else many or one + 's'}"


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names with commas; of many, the first."""
    if not names:
        return "none"
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest:,} more" if rest > 0 else "")


def mechanism(facts: Mapping[str, Any] | None) -> str:
    """One release's mechanism in a few signs."""
    if facts is None:
        return NONE
    noise = f"σ = {small(facts['noise_multiplier'])}"
    shared = f", shared by {facts['parties']} banks" if facts.get("parties", 1) > 1 else ""
    if facts["kind"] == "dp-sgd":
        steps = count_of(facts["steps"], "step")
        return f"DP-SGD: q = {small(facts['sampling_rate'])}, {noise}, C = {small(facts['clip_norm'])}, {steps}{shared}"
    times = f", {facts['releases']} times" if facts.get("releases", 1) > 1 else ""
    return f"Gaussian: {noise}, sensitivity {small(facts['sensitivity'])}{times}{shared}"
