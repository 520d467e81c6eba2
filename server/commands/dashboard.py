"""`fraudfl dashboard`: starts the pages as a process of their own, for this machine alone, or for those who sign in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from threading import Timer
from typing import Annotated

import typer

from fraudfl.access.file import LOOPBACK
from fraudfl.command import EXIT_INTERRUPTED, QUIET, console
from fraudfl.errors import ConfigError
from fraudfl.results.pictures.canvas import Ink, colours
from server.commands.login import prepare_login
from server.store.workspace import Workspace, read_json

_ADDRESS = "127.0.0.1"
_PATIENCE_SECONDS = 8.0
_SETTINGS = {
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "server.maxUploadSize": "50",
    "server.enableCORS": "true",
    "server.enableXsrfProtection": "true",
    "server.enableAgentApi": "false",
    "server.trustedUserHeaders": "{}",
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "viewer",
    "client.showErrorDetails": "none",
    "client.showErrorLinks": "false",
    "runner.magicEnabled": "false",
}
"""No telemetry, no tracebacks for readers, and nobody is who a header says they are."""
_THEME: dict[str, Ink] = {
    "primaryColor": "blue",
    "backgroundColor": "paper",
    "secondaryBackgroundColor": "shade",
    "textColor": "ink",
    "linkColor": "blue",
    "borderColor": "rule",
}
"""The reports' inks, light and dark."""

_out = console(highlight=False)


def dashboard(
    workspace: Annotated[
        Path, typer.Option("--workspace", "-w", help="The coordinator's workspace, or a run's.")
    ] = Path("work"),
    port: Annotated[int, typer.Option("--port", help="Port on this machine.", min=1, max=65535)] = 8501,
    access: Annotated[
        Path | None,
        typer.Option("--access", help="YAML file that says where people sign in, and who has which role."),
    ] = None,
    bank: Annotated[
        str | None, typer.Option("--bank", help="Look as this bank's people do: at no other bank's figures.")
    ] = None,
    address: Annotated[
        str, typer.Option("--address", help="Address to listen on; another than this machine's own needs --access.")
    ] = _ADDRESS,
) -> None:
    """Show what the runs stored, in a browser on this machine; Ctrl-C ends it."""
    home = _home()
    found = Workspace(workspace)
    told = {"FRAUDFL_DASHBOARD_WORKSPACE": str(found.path)}
    settings = _SETTINGS | _theme() | {"server.port": str(port), "server.address": address}
    where, hosts = f"http://{address}:{port}", [*LOOPBACK]
    _check(found, access, bank, address)
    with ExitStack() as at_the_end:
        if bank is not None:
            told["FRAUDFL_DASHBOARD_BANK"] = bank
        if access is not None:
            signing_in = prepare_login(access, at_the_end)
            told["FRAUDFL_DASHBOARD_ACCESS"] = str(access.resolve())
            settings |= signing_in.settings | {"browser.serverAddress": signing_in.host}
            where = signing_in.where
            hosts.append(signing_in.host)
        _out.print(f"{where} shows {found.path}; Ctrl-C ends it", soft_wrap=True)
        code = _serve(home, settings, told, hosts)
    # What ended it from outside is no error of it.
    if code not in (0, -signal.SIGTERM, -signal.SIGKILL, EXIT_INTERRUPTED):
        raise typer.Exit(1)


def _serve(home: Path, settings: dict[str, str], told: dict[str, str], hosts: Iterable[str]) -> int:
    """Run the pages until they end; returns their exit code.

    Args:
        hosts: Names by which browsers may know them: a foreign page cannot come in under a name of its own.
    """
    options = [f"--{name}={value}" for name, value in settings.items()]
    options += [f"--server.allowedHosts={host}" for host in hosts]
    command = [sys.executable, "-m", "app", "run", str(home), *options]
    # The pages' own package must be found wherever the command is typed.
    path = os.pathsep.join(part for part in (str(home.parent.parent), os.environ.get("PYTHONPATH", "")) if part)
    # What somebody left in the environment decides nothing about who may look.
    plain = {
        name: value for name, value in os.environ.items() if not name.startswith(("FRAUDFL_DASHBOARD_", "STREAMLIT_"))
    }
    with subprocess.Popen(command, env=plain | QUIET | told | {"PYTHONPATH": path}) as process:
        for ending in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(ending, lambda *_: _end(process))
        try:
            return process.wait()
        except KeyboardInterrupt:
            _end(process)
            process.wait()
            raise


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let the pages end in peace, but not for ever: a reader's open connection must not keep them."""
    process.terminate()
    last = Timer(_PATIENCE_SECONDS, process.kill)
    last.daemon = True
    last.start()


def _check(workspace: Workspace, access: Path | None, bank: str | None, address: str) -> None:
    if access is None and address not in LOOPBACK:
        raise ConfigError(
            f"--address {address}: without --access nobody signs in, so the dashboard listens on {_ADDRESS} alone. "
            "Give an access file, or leave --address out"
        )
    if bank is None:
        return
    if access is not None:
        raise ConfigError("--bank goes without --access: the access file says who is of which bank")
    rosters = (read_json(path) or {} for path in workspace.coordinator.glob("phases/*/roster.json"))
    banks = {one for roster in rosters for one in roster.get("banks", ())}
    if banks and bank not in banks:
        raise ConfigError(f"--bank {bank}: no phase of {workspace.path} asked a bank of that name")


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
