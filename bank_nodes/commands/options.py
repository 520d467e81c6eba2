"""What the commands of `bank-node` share: the folder they work on, and how they speak."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fraudfl.command import console

Folder = Annotated[Path, typer.Argument(help="This bank's folder.", metavar="DIR", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

out = console()


def say(text: str, *, markup: bool = False) -> None:
    """Print one line as it is."""
    out.print(text, highlight=False, soft_wrap=True, markup=markup)
