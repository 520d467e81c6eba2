"""`fraudfl privacy`: what a configuration would cost the banks, before anybody approves its plans."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from fraudfl.command import console
from fraudfl.config_file import load_config
from fraudfl.data.dataset import contract_of
from fraudfl.privacy.mechanisms import DpSgd
from server.phases.budgeting import Forecast, Part, Point, forecast

privacy_app = typer.Typer(help="Plan, and audit, what phases cost in privacy.", no_args_is_help=True)

_out = console(highlight=False)


@privacy_app.command("plan")
def plan(
    config: Annotated[Path, typer.Argument(help="The consortium's YAML file.", metavar="CONFIG", show_default=False)],
    data: Annotated[
        str | None, typer.Option("--data", help="Where the data set is, as NAME:PATH.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print what ε each bank would spend in each phase, for which rounds and noise, before anyone approves.

    A δ above 1 / (10 units) is refused, as is noise that cannot keep its ε.
    """
    loaded = load_config(config, data)
    contract = contract_of(loaded.data, base=Path() if data else config.resolve().parent)
    forecasts = [forecast(loaded, phase, contract) for phase in loaded.phases]
    if as_json:
        sys.stdout.write(json.dumps([_facts(one) for one in forecasts]) + "\n")
        return
    for one in forecasts:
        show_forecast(one)


def _facts(one: Forecast) -> dict[str, Any]:
    facts = asdict(one)
    for part, found in zip(facts["parts"], one.parts, strict=True):
        part["mechanism"] = found.mechanism.to_dict()
    return facts


def show_forecast(one: Forecast) -> None:
    """Print what a phase would cost each bank."""
    _out.print(f"\n[bold]phase {one.phase}[/] (plan {one.plan_hash[:12]}), privacy mode {one.mode}", soft_wrap=True)
    if one.mode == "none":
        _out.print("[red]no privacy is promised; everything that leaves is uncovered[/]")
        return
    for line in _terms(one):
        _out.print(line, soft_wrap=True)
    _out.print(_parts_table(one.parts))
    _out.print(_points_table(one))
    for line in _remarks(one):
        _out.print(line, soft_wrap=True)


def _terms(one: Forecast) -> Iterator[str]:
    yield (
        f"ε = {one.epsilon:g} at δ = {one.delta:g}, for one {one.unit}, at each bank; δ may be at most "
        f"{one.largest_delta:g} for {one.units:,} units"
    )
    if one.parties > 1:
        yield (
            f"the noise of a sum is that of {one.parties} banks, of whom {one.colluding} may collude; the coordinator "
            "sees sums alone"
        )
    else:
        yield "each bank adds all of the noise itself; nobody else is trusted"
    if one.rounds_per_bank < one.rounds:
        yield f"a bank takes part in {one.rounds_per_bank:,} of the {one.rounds:,} rounds at most; its gate stops there"


def _parts_table(parts: tuple[Part, ...]) -> Table:
    table = Table(title="what ε pays for", title_justify="left", box=None, pad_edge=False)
    for heading in ("part", "noise multiplier", "sensitivity", "q", "releases", "ε by itself"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    for part in parts:
        mechanism = part.mechanism
        steps = f" of {mechanism.steps} steps" if isinstance(mechanism, DpSgd) and mechanism.steps > 1 else ""
        table.add_row(
            part.name,
            f"{mechanism.noise_multiplier:.4g}",
            f"{mechanism.norm:.4g}",
            f"{mechanism.sampling_rate:g}",
            f"{part.releases:,}{steps}",
            f"{part.epsilon:.4f}",
        )
    return table


def _points_table(one: Forecast) -> Table:
    table = Table(title="what a bank has spent", title_justify="left", box=None, pad_edge=False)
    for heading in ("after", "rounds", "ε against coordinator and outsiders", f"ε against {one.colluding} colluding"):
        table.add_column(heading, justify="left" if heading == "after" else "right")
    rows: list[tuple[str, Point]] = [(f"{point.share:.0%} of the rounds", point) for point in one.points]
    if one.expected is not None:
        rows.append((f"the end, at {one.participation:.0%} of the rounds, as expected", one.expected))
    if one.worst is not None and one.spare_attempts:
        rows.append((f"the end, with all {one.spare_attempts} spare attempts", one.worst))
    for name, point in rows:
        colluding = f"{point.epsilon_colluding:.4f}" if one.colluding else "–"
        table.add_row(name, f"{point.rounds:,}", f"{point.epsilon:.4f}", colluding)
    return table


def _remarks(one: Forecast) -> Iterator[str]:
    yield f"one more attempt of a round costs {one.spare_cost:.4f}; {one.spare_attempts} are paid for"
    if one.expected is not None:
        yield "a bank pays for the rounds it takes part in; the lines by share are for one that is in all of them"
    if one.discretisation is not None:
        yield f"adding up whole numbers takes at most {one.discretisation:.2g} of δ; {one.set_aside:.2g} is set aside"
    if one.not_covered:
        yield f"[red]not covered by ε: {', '.join(one.not_covered)}[/]"
    else:
        yield "everything that leaves is covered by ε"
