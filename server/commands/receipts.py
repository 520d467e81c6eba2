"""`fraudfl bank receipts`: what the coordinator has signed for, for a bank whose ledger came from a backup."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fraudfl.errors import TrustError
from fraudfl.folder import write_bytes
from server.store.workspace import Workspace
from server.trust.receipts import Receipts, receipts_file


def receipts(
    bank: Annotated[str, typer.Argument(help="The bank's id.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, one receipt to a line.")],
    workspace: Annotated[Path, typer.Option("--workspace", "-w", help="The coordinator's workspace.")] = Path("work"),
) -> None:
    """Write down every receipt that a bank was given, for `bank-node ledger restore` and `ledger verify` there.

    Receipts hold no figures: numbers and digests of releases, signed by the operator.
    """
    path = receipts_file(Workspace(workspace))
    if not path.exists():
        raise TrustError(f"{path}: there are no receipts; expected the workspace of a coordinator that ran a phase")
    lines = list(Receipts(path).of_bank(bank))
    if not lines:
        raise TrustError(f"{path}: bank {bank} was given no receipt; check its id with `fraudfl bank list`")
    write_bytes(out, b"".join(line + b"\n" for line in lines))
    typer.echo(f"{len(lines)} receipts of bank {bank} in {out}")
