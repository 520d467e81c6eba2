"""Pictures: well-formed, the same every time, and telling by shape and place what they tell by colour."""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from fraudfl.results.drawn import pictures
from fraudfl.results.facts import PhaseResult, Results
from fraudfl.results.measured import Estimate, GainBins
from fraudfl.results.pictures.axes import Scale, scale_over, spelled
from fraudfl.results.pictures.bars import Bar, Panel, bars
from fraudfl.results.pictures.canvas import Canvas, standalone
from fraudfl.results.pictures.gains import gain_bins
from fraudfl.results.pictures.heat import Cell, heat_map
from fraudfl.results.pictures.lines import Chart, Happening, Series, lines
from fraudfl.results.pictures.timeline import Sentry, Step, timeline

Make = Callable[..., Results]
SVG = "{http://www.w3.org/2000/svg}"


def shapes(svg: str, kind: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(svg).iter(SVG + kind))


def words(svg: str) -> list[str]:
    return [one.text or "" for one in shapes(svg, "text")]


def test_every_picture_is_well_formed_says_what_it_shows_and_is_the_same_each_time(results: Make) -> None:
    first, second = pictures(results()), pictures(results())
    assert list(first) == [
        *("timeline", "savings", "rollout-figures", "rollout-gain", "rollout-rounds", "watch-windows", "watch-drift"),
        *("watch-retrain-1-figures", "watch-retrain-1-gain", "watch-retrain-1-rounds"),
    ]
    assert first == second
    for picture in first.values():
        root = ElementTree.fromstring(picture.svg)
        assert root.get("role") == "img"
        assert root.get("aria-label") == picture.alt
        assert picture.alt
        assert picture.caption
        assert not re.search(r"\d\.\d{2,}\"", picture.svg), "coordinates have noise in their last digits"


def test_nothing_lies_outside_of_a_picture(results: Make) -> None:
    for name, picture in pictures(results()).items():
        root = ElementTree.fromstring(picture.svg)
        width, height = float(root.get("width") or 0), float(root.get("height") or 0)
        for shape in root.iter():
            for across, limit in ((("x", "x1", "x2", "cx"), width), (("y", "y1", "y2", "cy"), height)):
                places = [float(shape.get(one) or 0) for one in across if shape.get(one)]
                assert all(0 <= place <= limit for place in places), f"{name}: {shape.attrib}"


def test_a_picture_by_itself_is_dark_where_the_readers_pages_are() -> None:
    canvas = Canvas(100, 50)
    canvas.text(10, 20, "north & south")
    own = standalone(canvas.svg("two banks"))
    root = ElementTree.fromstring(own)
    assert "prefers-color-scheme: dark" in (root.findtext(f"{SVG}style") or "")
    inks = {name for shape in root.iter() for name in (shape.get("class") or "").split()}
    assert inks == {"f-paper", "f-ink"}
    assert all(f".{ink}{{" in own for ink in inks)


def test_words_of_others_are_text() -> None:
    canvas = Canvas(100, 50)
    canvas.text(10, 20, "<script>alert('x')</script> & \x07 \u202e")
    svg = canvas.svg('"quoted" <b>')
    assert words(svg) == ["<script>alert('x')</script> & \\u0007 \\u202e"]
    assert ElementTree.fromstring(svg).get("aria-label") == '"quoted" <b>'


def test_words_that_have_no_room_are_cut() -> None:
    canvas = Canvas(100, 50)
    canvas.text(10, 20, "a-bank-with-a-very-long-name", size=10, room=54)
    assert words(canvas.svg("")) == ["a-bank-wi…"]


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (-0.013, 0.4), (3.0, 3.0), (0.0, 0.0), (2.0, 9731.0), (-5.0, -4.9)]
)
def test_scales_hold_their_values_between_round_ends(low: float, high: float) -> None:
    scale = scale_over([low, high], 100, 0)
    assert scale.low <= low <= high <= scale.high
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 7
    assert ticks == sorted(set(ticks))
    assert (scale.at(scale.low), scale.at(scale.high)) == (100, 0)
    assert scale.at(scale.high + 1e6) == 0


def test_figures_on_axes_are_short() -> None:
    assert (spelled(0.25), spelled(0.5, percent=True), spelled(20_000.0)) == ("0.25", "50 %", "2e+04")
    assert Scale(0, 1, 0, 100).ticks(3) == [0.0, 0.5, 1.0]


def test_bars_are_as_long_as_their_figures_and_whiskers_as_their_intervals() -> None:
    row = Bar("federated", "blue", (Estimate(value=0.5, low=0.4, high=0.7), None))
    svg = bars([row], [Panel("AUPRC"), Panel("Recall", percent=True)], "bars")
    (bar,) = [one for one in shapes(svg, "rect") if one.get("class") == "f-blue"]
    whisker = next(one for one in shapes(svg, "line") if one.get("class") == "s-ink")
    ticks = {one.text: float(one.get("x") or 0) for one in shapes(svg, "text") if one.get("text-anchor") == "middle"}
    wide = ticks["1"] - ticks["0"]
    assert float(bar.get("width") or 0) == pytest.approx(0.5 * wide, abs=0.2)
    ends = [float(whisker.get(end) or 0) - ticks["0"] for end in ("x1", "x2")]
    assert ends == pytest.approx([0.4 * wide, 0.7 * wide], abs=0.2)
    assert "0.500" in words(svg)
    assert "–" in words(svg)


def test_a_saving_below_nothing_reaches_to_the_left(phase: Callable[..., PhaseResult], results: Make) -> None:
    lost = phase().transfer.model_copy(update={"vs_csv": Estimate(value=-0.4, low=-0.9, high=0.1)})
    svg = pictures(results(phases=(phase(transfer=lost),)))["savings"].svg
    ticks = {one.text: float(one.get("x") or 0) for one in shapes(svg, "text") if one.get("text-anchor") == "middle"}
    (bar,) = [one for one in shapes(svg, "rect") if one.get("class") == "f-blue"]
    assert float(bar.get("x") or 0) < ticks["0 %"]
    assert float(bar.get("x") or 0) + float(bar.get("width") or 0) == pytest.approx(ticks["0 %"], abs=0.2)


def test_a_line_has_a_gap_where_nothing_is_known_and_a_band_where_an_interval_is() -> None:
    points = tuple(None if place == 2 else Estimate(value=place, low=place - 1, high=place + 1) for place in range(5))
    series = Series("AUPRC", "blue", points)
    happened = Happening(3, "2025-05-31 alert", "orange")
    svg = lines([Chart("AUPRC", (series,))], list("abcde"), "window", "lines", happenings=[happened], shaded=2)
    assert len([one for one in shapes(svg, "polyline") if one.get("class") == "s-blue"]) == 2
    assert len(shapes(svg, "polygon")) == 2
    assert {"reference", "2025-05-31 alert", "a", "e"} <= set(words(svg))


def test_a_chart_of_which_nothing_is_known_is_left_out() -> None:
    empty, one = Series("loss", "blue", (None, None)), Series("banks", "green", (Estimate(value=1), Estimate(value=2)))
    svg = lines([Chart("Loss", (empty,)), Chart("Banks", (one,))], ["1", "2"], "round", "lines")
    assert "Loss" not in words(svg)
    assert "Banks" in words(svg)


def test_a_map_darkens_with_psi_and_stars_what_chance_does_not_explain() -> None:
    rows = {"amount": [None, Cell(0.01, False), Cell(0.07, True), Cell(0.31, True)]}
    svg = heat_map(rows, list("wxyz"), "window", "map", marks={3: "!"})
    cells = [one.get("fill") for one in shapes(svg, "rect") if one.get("height") == "18"]
    light = [int((fill or "#000000")[1:3], 16) for fill in cells]
    assert len(cells) == 3
    assert light == sorted(light, reverse=True)
    assert {"★", "0.31★", "!", "amount"} <= set(words(svg))


def test_bins_left_of_nothing_lose_and_right_of_it_gain() -> None:
    bins = GainBins(edges=(-0.1, -0.01, 0.01, 0.1), counts=(2, 0, 1, 0, 5), undefined=1, noise=0.0)
    svg = gain_bins(bins, "gains")
    tall = {
        ink: sum(float(one.get("height") or 0) for one in shapes(svg, "rect") if one.get("class") == f"f-{ink}")
        for ink in ("vermillion", "blue", "muted")
    }
    bar = (tall["blue"] - 10) / 5
    assert tall["vermillion"] - 10 == pytest.approx(2 * bar, abs=0.2)
    assert tall["muted"] - 10 == pytest.approx(bar, abs=0.2)
    assert {"2", "5", "1", "-0.1", "+0.1"} <= set(words(svg))


def test_gates_are_told_apart_by_shape() -> None:
    def drawn(sign: str) -> dict[str, int]:
        step = Step("pilot", "pilot", (), (Sentry("gain", sign, "Ada"),), sign)  # type: ignore[arg-type]
        svg = timeline([step], "one")
        return {kind: len(shapes(svg, kind)) for kind in ("circle", "polygon", "line")}

    found = [tuple(drawn(sign).items()) for sign in ("pass", "hold", "fail")]
    assert len(set(found)) == 3
