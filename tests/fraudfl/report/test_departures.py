"""What a report says of banks that left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fraudfl.report.departures import Departed, Retraining, TouchedModel, TouchedPhase
from fraudfl.report.document import document
from fraudfl.report.facts import Report
from fraudfl.report.rendering import render
from fraudfl.unlearning import Trace

Make = Callable[..., Report]
NOON = "2026-03-02T12:00:00+00:00"
AGAIN = Retraining(
    phase="without-north",
    replaces="rollout",
    plan_hash="d" * 64,
    began_at="pilot after round 4",
    encoder="kept",
    status="completed",
    rounds=6,
    banks=5,
    version=3,
    digest="5" * 64,
    aliases=("challenger",),
    epsilon=1.2345,
    delta=1e-6,
)


def traced(kind: str, first: int, rounds: int = 1) -> Trace:
    return Trace(kind=kind, first=first, rounds=rounds, at=NOON)


def departed(**facts: Any) -> Departed:
    usual: dict[str, Any] = {
        "bank": "north",
        "at": NOON,
        "by": "Ada Example",
        "reason": "it was bought",
        "roster": 7,
        "phases": (
            TouchedPhase(
                name="pilot",
                plan_hash="a" * 64,
                trains=True,
                began_at="the public start",
                traces=(traced("join", 0), traced("train", 5, 6), traced("evaluate", 10)),
            ),
            TouchedPhase(name="rollout", plan_hash="b" * 64, trains=True, began_at="version 1", traces=()),
        ),
        "models": (
            TouchedModel(version=1, digest="1" * 64, aliases=(), exported=()),
            TouchedModel(version=2, digest="2" * 64, aliases=("champion",), exported=(NOON,)),
        ),
        "retraining": (AGAIN,),
    }
    return Departed(**(usual | facts))


def words(report: Report) -> str:
    """The section's text."""

    def runs(found: Any) -> list[str]:
        if isinstance(found, dict):
            texts = [found[name] for name in ("text", "caption") if found.get(name)]
            return texts + [one for value in found.values() for one in runs(value)]
        if isinstance(found, list | tuple):
            return [one for value in found for one in runs(value)]
        return [found] if isinstance(found, str) else []

    return " ".join(
        one for section in document(report).as_data()["sections"] if section["number"] == "6.1" for one in runs(section)
    )


def test_a_report_without_departures_has_no_such_section(report: Make) -> None:
    assert words(report()) == ""


def test_it_says_who_left_what_was_touched_and_what_was_trained_again(report: Make) -> None:
    said = words(report(departures=(departed(),)))
    for part in (
        "Bank north",
        "Ada Example: it was bought",
        "2026-03-02 12:00 UTC",
        "round 5",
        "it went on from version 1",
        "Instead of rollout",
        "without-north, from pilot after round 4, encoder kept: completed, 6 rounds by 5 banks",
        "version 3, now challenger",
        "ε at most 1.234 at δ = 10⁻⁶",
    ):
        assert part in said, part
    # A request that holds no data is no release of any.
    assert "plan accepted" not in said


def test_what_could_not_be_undone_is_named(report: Make) -> None:
    said = words(report(departures=(departed(),)))
    assert "Figures of pilot that were published" in said
    assert "Version 2 had been written for banks" in said
    assert "Version 2 is still the champion" in said
    nothing = departed(phases=(), models=(), retraining=())
    said = words(report(departures=(nothing,)))
    assert "no model holds what it released" in said
    assert "Figures of" not in said
    assert "written for banks" not in said


def test_until_the_retraining_has_a_version_it_says_so(report: Make) -> None:
    waiting = AGAIN.model_copy(update={"version": None, "digest": "", "status": "not begun", "epsilon": None})
    said = words(report(departures=(departed(retraining=(waiting,)),)))
    assert "none yet; what is in use holds what the bank released until then" in said
    assert "nothing was spent yet" in said


def test_every_rendering_has_the_section(report: Make) -> None:
    files = render(report(departures=(departed(),)))
    assert files["report.pdf"].startswith(b"%PDF")
    assert b"Banks that left" in files["report.html"]
    assert Report.model_validate_json(files["report.json"]).departures == (departed(),)
