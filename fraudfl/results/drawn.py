"""The report's pictures: which there are, and what each shows in words."""

from __future__ import annotations

from collections.abc import Iterator

from fraudfl.metrics.figures import FigureName
from fraudfl.report.blocks import Picture
from fraudfl.report.words import count_of, number
from fraudfl.results.drawn_watching import watching_pictures
from fraudfl.results.facts import PhaseResult, Results
from fraudfl.results.measured import Estimate, GainBins, TookPart
from fraudfl.results.pictures.bars import Bar, Panel, bars
from fraudfl.results.pictures.canvas import Ink
from fraudfl.results.pictures.gains import gain_bins
from fraudfl.results.pictures.lines import Chart, Series, lines
from fraudfl.results.pictures.timeline import Sentry, Sign, Step, timeline
from fraudfl.results.spelling import FIGURE_NAMES, PERCENT, WAY_NAMES, epsilon, estimate, joined

_WAY_INKS: dict[str, Ink] = {
    "federated": "blue",
    "alone": "orange",
    "xgboost alone": "yellow",
    "pooled": "green",
    "xgboost pooled": "purple",
}
_SIGNS: dict[str, Sign] = {"completed": "pass", "held": "hold", "gated": "fail", "failed": "fail"}
_LEAST_ROUNDS = 2


def pictures(results: Results) -> dict[str, Picture]:
    """Every picture by its name, in the report's order."""
    return dict(_all(results))


def _all(results: Results) -> Iterator[tuple[str, Picture]]:
    yield "timeline", _timeline(results)
    if any(_trained(phase) for phase in results.phases):
        yield "savings", _savings(results)
    for phase in results.phases:
        if len(phase.ways) > 1:
            yield f"{phase.name}-figures", _figures(phase)
        if phase.gains is not None and phase.gains.tell(phase.took_part.banks):
            yield f"{phase.name}-gain", _gains(phase, phase.gains)
        if len(phase.rounds) >= _LEAST_ROUNDS:
            yield f"{phase.name}-rounds", _rounds(phase)
        if phase.watching is not None and phase.watching.windows:
            yield from watching_pictures(phase.name, phase.watching)


def _timeline(results: Results) -> Picture:
    said = (f"{phase.name} ({phase.kind}) {phase.status}" for phase in results.phases)
    alt = f"Phases from top to bottom, with their gates: {'; '.join(said)}."
    won = {
        one.phase: one.done for phase in results.phases for one in (phase.watching.actions if phase.watching else ())
    }
    steps = [_step(phase, won.get(phase.name)) for phase in results.phases]
    return Picture(timeline(steps, alt), alt, "Phases and their gates")


def _step(phase: PhaseResult, won: bool | None) -> Step:
    promised = "" if phase.spent.promised is None else f"ε {epsilon(phase)}"
    done = joined([_banks(phase.took_part), _length(phase), promised])
    model = "" if phase.version is None else f"model version {phase.version}"
    promoted = won if phase.promotion is None else phase.promotion.done
    if promoted is not None:
        model = joined([model, "became champion" if promoted else "did not become champion"])
    watched = phase.watching
    seen = (
        ""
        if watched is None
        else f"{count_of(len(watched.alerts), 'alert')}, {count_of(len(watched.actions), 'action')}"
    )
    return Step(
        name=phase.name,
        kind=phase.kind,
        lines=tuple(line for line in (done, model, seen) if line),
        gates=tuple(
            Sentry(gate.name, gate.outcome, "" if gate.released is None else gate.released.by) for gate in phase.gates
        ),
        sign=_SIGNS.get(phase.status, "none"),
        inner=bool(phase.within),
    )


def _banks(part: TookPart) -> str:
    return f"{number(part.banks)} of {count_of(part.asked, 'bank')}"


def _length(phase: PhaseResult) -> str:
    if phase.watching is not None:
        return f"{len(phase.watching.windows)} of {count_of(phase.watching.planned, 'window')}"
    return count_of(len(phase.rounds), "round") if phase.rounds else ""


def _savings(results: Results) -> Picture:
    rows = [
        Bar(phase.name, "sky" if phase.within else "blue", (phase.transfer.vs_csv,))
        for phase in results.phases
        if _trained(phase)
    ]
    low = min(0.0, *(row.figures[0].low or 0.0 for row in rows if row.figures[0]), 0.0)
    said = "; ".join(f"{row.name} {estimate(row.figures[0], percent=True)}" for row in rows)
    alt = f"Share of the CSV bytes that was not transferred: {said}."
    panel = Panel("Transfer saved against CSV", low=max(-1.0, low), high=1.0, percent=True)
    caption = "Phases that train: transfer saved in all, and from 2.5 % to 97.5 % of the banks"
    return Picture(bars(rows, [panel], alt), alt, caption)


def _trained(phase: PhaseResult) -> bool:
    """Whether a phase trained, and what it saved is known: sending the training data instead would be for training."""
    return phase.rounds_planned > 0 and phase.transfer.vs_csv is not None


def _figures(phase: PhaseResult) -> Picture:
    names: tuple[FigureName, ...] = ("balanced_accuracy", "auprc", "recall_at_budget")
    panels = [Panel(FIGURE_NAMES[name], percent=name in PERCENT) for name in names]
    rows = [
        Bar(WAY_NAMES[way.way], _WAY_INKS[way.way], tuple(way.figure(name) for name in names)) for way in phase.ways
    ]
    said = "; ".join(f"{row.name} " + ", ".join(estimate(figure) for figure in row.figures) for row in rows)
    alt = f"Balanced accuracy, AUPRC and recall at the alert budget, with 95 % intervals: {said}."
    return Picture(bars(rows, panels, alt), alt, f"{phase.name}: ways to train, on the same later transactions")


def _gains(phase: PhaseResult, bins: GainBins) -> Picture:
    zero = sum(1 for edge in bins.edges if edge <= 0)
    lose, even, gain = sum(bins.counts[:zero]), bins.counts[zero], sum(bins.counts[zero + 1 :])
    alt = (
        f"Banks per gain in AUPRC over training alone: {max(0, lose):.0f} lose, {max(0, even):.0f} are about even, "
        f"{max(0, gain):.0f} gain, {max(0, bins.undefined):.0f} have no fraud to test on."
    )
    noise = f"; noise of {bins.noise:.1f} in each count" if bins.noise else ""
    return Picture(gain_bins(bins, alt), alt, f"{phase.name}: what banks gained, counted in bins{noise}")


def _rounds(phase: PhaseResult) -> Picture:
    auprc = tuple(None if one.auprc is None else Estimate(value=one.auprc) for one in phase.rounds)
    loss = tuple(None if one.loss is None else Estimate(value=one.loss) for one in phase.rounds)
    banks = tuple(Estimate(value=one.banks) for one in phase.rounds)
    charts = [
        Chart("AUPRC on validation rows", (Series("AUPRC", "blue", auprc),)),
        Chart("Training loss", (Series("loss", "orange", loss),)),
        Chart("Banks whose update was received", (Series("banks", "green", banks),)),
    ]
    private = "" if any(auprc) else "; figures per round stayed at the banks"
    fewest, most = (round(end(one.value for one in banks)) for end in (min, max))
    alt = f"{count_of(len(banks), 'round')} with {fewest} to {most} banks{private}."
    names = [str(one.number) for one in phase.rounds]
    return Picture(lines(charts, names, "round", alt), alt, f"{phase.name}: round by round{private}")
