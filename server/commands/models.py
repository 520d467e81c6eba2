"""`fraudfl models …`: the consortium's versions, who is champion, and how that changes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from fraudfl.command import EXIT_GATED, console
from fraudfl.metrics.figures import FigureName
from server.store.workspace import Workspace

if TYPE_CHECKING:
    from server.models.champion import Champion
    from server.models.versions import Version


models_app = typer.Typer(help="List, compare, promote and roll back models.", no_args_is_help=True)

WorkspaceDir = Annotated[Path, typer.Option("--workspace", "-w", help="The coordinator's workspace, or a run's.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="Number or alias.", metavar="VERSION")]
By = Annotated[str, typer.Option("--by", help="Who decides: a person's name.", metavar="NAME")]
Reason = Annotated[str, typer.Option("--reason", help="Why.", metavar="TEXT")]
Figure = Annotated[FigureName, typer.Option("--figure", help="By which figure.")]

_out = console(highlight=False)


@models_app.command("list")
def list_versions(workspace: WorkspaceDir = Path("work"), as_json: AsJson = False) -> None:
    """List every version, oldest first."""
    versions = _champion(workspace).models.all()
    if as_json:
        _print_json([_facts(one) for one in versions])
        return
    table = Table(box=None, pad_edge=False)
    # Shown only where somebody left: most consortia never see it.
    more = ("to be unlearned",) if any(one.holds for one in versions) else ()
    for heading in ("version", "alias", "phase", "AUPRC", "interval", "privacy", "tested on", *more):
        table.add_column(heading, justify="right" if heading in ("version", "AUPRC") else "left", overflow="fold")
    for one in versions:
        table.add_row(*_row(one), *(", ".join(one.holds) for _ in more))
    _out.print(table)


@models_app.command("show")
def show(version: Name, workspace: WorkspaceDir = Path("work"), as_json: AsJson = False) -> None:
    """Show everything that is known about one version."""
    found = _champion(workspace).version(version)
    facts = _facts(found)
    if as_json:
        _print_json(facts)
        return
    for name, value in facts.items():
        if name not in ("metrics", "split"):
            _say(f"{name.replace('_', ' '):<16}{_words(value)}")
    for name in (found.metrics or {}).get("federated", {}):
        value, interval = found.figure(name)
        _say(f"{name.replace('_', ' '):<22}{_number(value)}  {_interval(interval)}")


@models_app.command("compare")
def compare(
    challenger: Annotated[str, typer.Argument(help="Number or alias.")] = "challenger",
    champion: Annotated[str, typer.Argument(help="Number or alias.")] = "champion",
    workspace: WorkspaceDir = Path("work"),
    figure: Figure = "auprc",
    as_json: AsJson = False,
) -> None:
    """Compare two versions on the same later transactions; changes nothing."""
    here = _champion(workspace)
    found = here.contest.compare(here.version(challenger), here.version(champion), figure)
    if as_json:
        _print_json(found.model_dump(mode="json") | {"value": found.difference.value})
        return
    from server.models.versions import spelled

    _say(f"version {found.challenger} against {found.champion}: {found.difference.in_words()}")
    source = "row by row" if found.difference.source == "rows" else "sums over banks, which cannot pair rows"
    _say(f"window {spelled(found.window)}, {found.banks} banks, {source}")


@models_app.command("promote")
def promote(
    version: Name,
    by: By,
    reason: Reason,
    workspace: WorkspaceDir = Path("work"),
    figure: Figure = "auprc",
    at_least: Annotated[
        float, typer.Option("--at-least", help="What the lower end of the difference's interval must be above.")
    ] = 0.0,
    force: Annotated[bool, typer.Option("--force", help="Promote it although the gate says no; recorded.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a version champion if it is better than the champion; signed with the operator's key.

    Exit 3 when it is not better, or nobody can tell; nothing changes then.
    """
    from server.models.champion import Bar, Word

    bar = Bar(figure=figure, at_least=at_least, force=force)
    verdict = _champion(workspace).promote(version, Word(by=by, reason=reason), bar)
    decision = verdict.decision
    if as_json:
        facts = {"comparison": verdict.comparison, "decision": decision}
        shown = {name: None if one is None else one.model_dump(mode="json") for name, one in facts.items()}
        _print_json({"promoted": decision is not None, "reason": verdict.reason} | shown)
    elif decision is None:
        _say(f"[red]refused:[/] {escape(verdict.reason)}")
    else:
        forced = " [yellow]by force[/]" if decision.forced else ""
        _say(f"version {decision.champion} is champion{forced}, decided by {escape(decision.by)} on {decision.at}")
        _say(escape(verdict.reason))
    if decision is None:
        raise typer.Exit(EXIT_GATED)


@models_app.command("rollback")
def rollback(
    by: By,
    reason: Reason,
    workspace: WorkspaceDir = Path("work"),
    force: Annotated[
        bool, typer.Option("--force", help="Also to one that holds what a bank released that left; recorded.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make the version champion again that was so before; signed with the operator's key."""
    from server.models.champion import Word

    decision = _champion(workspace).rollback(Word(by=by, reason=reason), force=force)
    if as_json:
        _print_json(decision.model_dump(mode="json"))
        return
    _say(f"version {decision.champion} is champion again, decided by {escape(decision.by)} on {decision.at}")
    _say(f"version {decision.replaced} is not champion any more")


@models_app.command("decisions")
def decisions(workspace: WorkspaceDir = Path("work"), as_json: AsJson = False) -> None:
    """Show every signed decision about the champion, after checking signatures and order."""
    found = _champion(workspace).log.read()
    if as_json:
        _print_json([one.model_dump(mode="json") for one in found])
        return
    for one in found:
        forced = " by force" if one.forced else ""
        replaced = "" if one.replaced is None else f" in place of {one.replaced}"
        _say(escape(f"{one.at}  {one.action}{forced}: version {one.champion}{replaced}, by {one.by}: {one.reason}"))
        if one.comparison is not None:
            _say(escape(f"    {one.comparison.difference.in_words()}"))


@models_app.command("export")
def export(
    version: Name,
    out: Annotated[Path, typer.Argument(help="Folder to write; it must not exist.", metavar="FOLDER")],
    workspace: WorkspaceDir = Path("work"),
) -> None:
    """Write a version's bundle, signed by the operator, for `bank-node model take`."""
    champion = _champion(workspace)
    found = champion.version(version)
    signature = champion.models.export(found, out)
    if found.holds:
        _say(f"[yellow]it holds what {', '.join(found.holds)} released, which is to be unlearned[/]", error=True)
    _say(escape(f"version {signature.number}, digest {signature.digest[:12]}, signed on {signature.at}: {out}"))


def _champion(workspace: Path) -> Champion:
    """The registry, with its aliases as the log has them."""
    # Imported on use: it brings MLflow and torch.
    from server.models.champion import Champion

    champion = Champion(Workspace(workspace))
    if champion.settle():
        _say("[yellow]MLflow's aliases were set again to what the signed decisions say[/]", error=True)
    return champion


def _facts(version: Version) -> dict[str, Any]:
    """A version for JSON."""
    facts = asdict(version) | {"split": version.split.model_dump(mode="json"), "aliases": list(version.aliases)}
    return facts | {name: _days(window) for name, window in (("trained", version.trained), ("tested", version.tested))}


def _row(version: Version) -> Iterable[str]:
    value, interval = version.figure("auprc")
    epsilon = "" if version.epsilon is None else f", ε {version.epsilon:g} per {version.unit}"
    return (
        str(version.number),
        ", ".join(version.aliases),
        version.phase,
        _number(value),
        _interval(interval),
        version.mode + epsilon,
        " to ".join(_days(version.tested) or ["as given"]),
    )


def _days(window: tuple[Any, Any] | None) -> list[str] | None:
    return None if window is None else [day.isoformat() for day in window]


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(one)}" for name, one in value.items())
    if isinstance(value, list):
        return escape(", ".join(map(str, value)))
    return "none" if value is None else escape(str(value))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _interval(interval: list[float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def _print_json(facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")


def _say(text: str, *, error: bool = False) -> None:
    (console(stderr=True, highlight=False) if error else _out).print(text, soft_wrap=True)
