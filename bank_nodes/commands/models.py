"""`bank-node model …`: taking the operator's signed bundles, choosing which one scores, and scoring with it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bank_nodes.commands.options import AsJson, Folder, say
from bank_nodes.folder.home import Home
from fraudfl.folder import write_whole

if TYPE_CHECKING:
    from bank_nodes.folder.models import TakenModel, TakenModels

model_app = typer.Typer(help="Take, choose and use the consortium's models.", no_args_is_help=True)

By = Annotated[str, typer.Option("--by", help="Who decides: a person's name.")]
Reason = Annotated[str, typer.Option("--reason", help="Why.")]


@model_app.command("take")
def take(folder: Folder, bundle: Annotated[Path, typer.Argument(help="A bundle's folder.", metavar="BUNDLE")]) -> None:
    """Take a bundle, if its files are whole and this consortium's operator signed it. It is not in use yet."""
    model = _models(folder).take(bundle)
    say(_line(model))
    say(f"put it in use with `bank-node model use {folder} {model.signature.number} --by NAME`")


@model_app.command("show")
def show(folder: Folder, as_json: AsJson = False) -> None:
    """Show the models here, and which one is in use."""
    models = _models(folder).all()
    if as_json:
        facts = [one.signature.model_dump(mode="json") | {"name": one.name, "in_use": one.in_use} for one in models]
        sys.stdout.write(json.dumps(facts) + "\n")
        return
    if not models:
        say("no model was taken yet")
    for one in models:
        say(_line(one))


@model_app.command("use")
def use(
    folder: Folder,
    model: Annotated[str, typer.Argument(help="Its number, or its name.", metavar="MODEL")],
    by: By,
    reason: Reason = "",
) -> None:
    """Put a model in use, after checking all of it again; the ledger notes who decided."""
    say(_line(_models(folder).use(model, by, reason)))


@model_app.command("back")
def back(folder: Folder, by: By, reason: Reason = "") -> None:
    """Use the model again that was in use before."""
    say(_line(_models(folder).back(by, reason)))


@model_app.command("score")
def score(
    folder: Folder,
    transactions: Annotated[
        Path | None, typer.Argument(help="Parquet file with the contract's columns; this bank's own without.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Parquet file to write.")] = Path("scores.parquet"),
    threshold: Annotated[str, typer.Option(help="What makes an alert: budget, balanced_accuracy or f1.")] = "budget",
    personalised: Annotated[
        bool, typer.Option("--personalised", help="With this bank's own last layer and thresholds on top.")
    ] = False,
) -> None:
    """Score transactions with the model in use; one that is unsigned or was altered is refused."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from fraudfl.models.personal import personal_for
    from fraudfl.models.scoring import score_file

    bundle = _models(folder).bundle()
    if personalised:
        bundle = personal_for(folder, bundle).on(bundle)
    scored = score_file(bundle, transactions or folder / "transactions.parquet", threshold)
    write_whole(out, lambda part: pq.write_table(scored, part))
    alerts = int(pc.sum(scored["alert"]).as_py() or 0)
    say(f"{scored.num_rows:,} transactions scored, {alerts:,} alerts: {out}")


def _models(folder: Path) -> TakenModels:
    # Imported on use: it brings torch.
    from bank_nodes.folder.models import TakenModels

    return TakenModels(Home(folder))


def _line(model: TakenModel) -> str:
    mark = "in use" if model.in_use else "taken"
    signed = model.signature
    return (
        f"{mark:<8}{model.name}  version {signed.number} of {signed.consortium}, signed by the operator on {signed.at}"
    )
