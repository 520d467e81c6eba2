"""Pictures of monitoring: figures over windows, and a map of what moved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fraudfl.monitoring.baseline import SCORE
from fraudfl.report.blocks import Picture
from fraudfl.report.words import count_of
from fraudfl.results.kinds import Action, Moved, WatchedWindow, Watching
from fraudfl.results.measured import Estimate
from fraudfl.results.pictures.canvas import Ink
from fraudfl.results.pictures.heat import Cell, heat_map
from fraudfl.results.pictures.lines import Chart, Happening, Series, lines

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SIGNIFICANT = 0.01
_MOST_ROWS = 16
_SEVERE: dict[str, Ink] = {"info": "blue", "warning": "orange", "critical": "vermillion"}


def watching_pictures(phase: str, found: Watching) -> Iterator[tuple[str, Picture]]:
    """Pictures by name."""
    yield f"{phase}-windows", _windows(phase, found)
    if any(window.drifts for window in found.windows):
        yield f"{phase}-drift", _drift(phase, found)


def _windows(phase: str, found: Watching) -> Picture:
    windows = found.windows
    charts = [
        Chart("AUPRC", (_series("AUPRC", "blue", [one.auprc for one in windows]),)),
        Chart("Recall at alert budget", (_series("recall", "green", [one.recall_at_budget for one in windows]),), True),
        Chart(
            "Missed frauds against quiet windows", (_series("missed", "vermillion", [one.missed for one in windows]),)
        ),
        Chart("Alerts per transaction", (_series("alerts", "purple", [one.alert_rate for one in windows]),), True),
    ]
    alt = (
        f"{count_of(len(windows), 'window')} of monitoring, the first {found.quiet} of them the reference; "
        f"{count_of(len(found.alerts), 'alert')} and {count_of(len(found.actions), 'action')}."
    )
    drawn = lines(
        charts,
        _names(windows),
        "window begins",
        alt,
        happenings=_happenings(found),
        shaded=_place(windows, found.quiet),
    )
    return Picture(drawn, alt, f"{phase}: figures with 95 % intervals, once labels were known")


def _happenings(found: Watching) -> list[Happening]:
    places = {window.number: place for place, window in enumerate(found.windows)}
    alerts = [
        (one.day, Happening(places[one.window], f"{one.day} alert {one.rule} ({one.severity})", _SEVERE[one.severity]))
        for one in found.alerts
        if one.window in places
    ]
    actions = [
        (one.day, Happening(_on(found.windows, one.day), f"{one.day} {_told(one)}", "green" if one.done else "muted"))
        for one in found.actions
    ]
    return [happening for _, happening in sorted([*alerts, *actions], key=lambda pair: pair[0])]


def _told(one: Action) -> str:
    if one.action == "rollback":
        return f"back to version {one.version}" if one.done else "nothing to go back to"
    said = "became champion" if one.done else "did not win"
    return f"challenger {one.phase} {said}" + ("" if one.version is None else f" (version {one.version})")


def _on(windows: Sequence[WatchedWindow], day: str) -> int:
    """The window under way on a day; the last for a day after all of them."""
    begun = [place for place, window in enumerate(windows) if window.first <= day]
    return begun[-1] if begun else 0


def _place(windows: Sequence[WatchedWindow], quiet: int) -> int:
    return sum(1 for window in windows if window.number <= quiet)


def _series(name: str, ink: Ink, points: Sequence[Estimate | None]) -> Series:
    return Series(name, ink, tuple(points))


def _drift(phase: str, found: Watching) -> Picture:
    compared = [window for window in found.windows if window.drifts]
    worst: dict[str, float] = {}
    for window in compared:
        for one in window.drifts:
            worst[one.name] = max(worst.get(one.name, 0.0), one.psi)
    # The score first, then what moved most.
    order = sorted(worst, key=lambda name: (name != SCORE, -worst[name]))[:_MOST_ROWS]
    rows = {name: [_cell(window, name) for window in found.windows] for name in order}
    places = {window.number: place for place, window in enumerate(found.windows)}
    marks = {places[one.window]: "!" for one in found.alerts if one.window in places}
    most = max((name for name in worst if name != SCORE), key=lambda name: worst[name], default=SCORE)
    alt = f"PSI of the score and of features in each window; {most} moved most, with a PSI of {worst[most]:.2f}."
    drawn = heat_map(rows, _names(found.windows), "window begins", alt, marks=marks)
    hidden = f" (of {len(worst)} features, those that moved most)" if len(worst) > len(order) else ""
    return Picture(drawn, alt, f"{phase}: what moved{hidden}; ! marks windows with an alert")


def _cell(window: WatchedWindow, name: str) -> Cell | None:
    one: Moved | None = next((one for one in window.drifts if one.name == name), None)
    return None if one is None else Cell(one.psi, one.p <= _SIGNIFICANT)


def _names(windows: Sequence[WatchedWindow]) -> list[str]:
    """Month and year of each window's beginning."""
    return [f"{_MONTHS[int(window.first[5:7]) - 1]} ’{window.first[2:4]}" for window in windows]
