"""`fraudfl dashboard`: starts the pages as a process of their own, for this machine alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fraudfl.command import EXIT_INTERRUPTED, QUIET
from fraudfl.errors import ConfigError
from fraudfl.results.pictures.canvas import Ink, colours
from server.store.workspace import Workspace

_ADDRESS = "127.0.0.1"
_SETTINGS = {
    "server.address": _ADDRESS,
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "server.maxUploadSize": "50",
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "viewer",
    "client.showErrorDetails": "none",
    "client.showErrorLinks": "false",
    "runner.magicEnabled": "false",
}
"""No telemetry, nobody else's address, no tracebacks for readers."""
_THEME: dict[str, Ink] = {
    "primaryColor": "blue",
    "backgroundColor": "paper",
    "secondaryBackgroundColor": "shade",
    "textColor": "ink",
    "linkColor": "blue",
    "borderColor": "rule",
}
"""The reports' inks, light and dark."""

_out = Console(emoji=False, highlight=False)


def dashboard(
    workspace: Annotated[
        Path, typer.Option("--workspace", "-w", help="The coordinator's workspace, or a run's.")
    ] = Path("work"),
    port: Annotated[int, typer.Option("--port", help="Port on this machine.", min=1, max=65535)] = 8501,
) -> None:
    """Show what the runs stored, in a browser on this machine; Ctrl-C ends it."""
    home = _home()
    folder = Workspace(workspace).path
    settings = _SETTINGS | _theme() | {"server.port": str(port)}
    options = [f"--{name}={value}" for name, value in settings.items()]
    command = [sys.executable, "-m", "streamlit", "run", str(home), *options]
    # The pages' own package must be found wherever the command is typed.
    path = os.pathsep.join(part for part in (str(home.parent.parent), os.environ.get("PYTHONPATH", "")) if part)
    environment = os.environ | QUIET | {"FRAUDFL_DASHBOARD_WORKSPACE": str(folder), "PYTHONPATH": path}
    _out.print(f"http://{_ADDRESS}:{port} shows {folder}; Ctrl-C ends it", soft_wrap=True)
    with subprocess.Popen(command, env=environment) as process:
        for ending in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(ending, lambda *_: process.terminate())
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
    # What ended it from outside is no error of it.
    if code not in (0, -signal.SIGTERM, EXIT_INTERRUPTED):
        raise typer.Exit(1)


def _theme() -> dict[str, str]:
    pages = (("light", colours(dark=False)), ("dark", colours(dark=True)))
    return {f"theme.{page}.{part}": inks[ink] for page, inks in pages for part, ink in _THEME.items()}


def _home() -> Path:
    """The file that Streamlit runs; found without importing it."""
    found = find_spec("app")
    place = next(iter(found.submodule_search_locations or ()), None) if found is not None else None
    if place is None or find_spec("streamlit") is None:
        raise ConfigError("the dashboard is not installed here; install it with `pip install 'fraudfl[app]'`")
    return Path(place) / "home.py"
