"""How figures are spelled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudfl.privacy.mechanisms import DpSgd, GaussianSum
from fraudfl.report.blocks import cell, shown
from fraudfl.report.words import count_of, eps, listed, mechanism, minute, size, small


@pytest.mark.parametrize(
    ("value", "said"),
    [(1e-7, "10⁻⁷"), (9e-8, "9·10⁻⁸"), (2.5e-12, "2.5·10⁻¹²"), (0.05, "0.05"), (3.0, "3"), (1e20, "10²⁰"), (0.0, "0")],
)
def test_small_figures_are_powers_of_ten(value: float, said: str) -> None:
    assert small(value) == said


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (11_934, "11.9 kB"), (5_250_000_000, "5.2 GB")]
)
def test_bytes_are_in_the_largest_unit_that_leaves_one(count: int, said: str) -> None:
    assert size(count) == said


def test_figures_that_nobody_promised_are_dashes() -> None:
    assert (eps(None), eps(2.71351), minute(""), mechanism(None)) == ("—", "2.714", "—", "—")


def test_counts_and_lists_read_as_sentences() -> None:
    assert (count_of(1, "bank"), count_of(1200, "bank"), count_of(2, "plan is", "plans are")) == (
        *("1 bank", "1,200 banks", "2 plans are"),
    )
    assert listed([]) == "none"
    assert listed([str(number) for number in range(15)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 3 more"


def test_mechanisms_show_all_that_privacy_depends_on() -> None:
    one = DpSgd(sampling_rate=0.05, noise_multiplier=1.25, clip_norm=0.5, steps=20, expected_batch=9, parties=8)
    assert mechanism(one.to_dict()) == "DP-SGD: q = 0.05, σ = 1.25, C = 0.5, 20 steps, shared by 8 banks"
    other = GaussianSum(noise_multiplier=12.5, sensitivity=3.0, releases=2)
    assert mechanism(other.to_dict()) == "Gaussian: σ = 12.5, sensitivity 3, 2 times"


@given(st.text(max_size=2000))
def test_whatever_others_wrote_becomes_one_printable_line_of_bearable_length(text: str) -> None:
    line = shown(text)
    assert line.isprintable()
    assert len(line) <= 400
    assert cell(text)[0].text == line
    if text.isprintable() and len(text) <= 400:
        assert line == text
