"""The operator's end of the line to a running coordinator: a Unix socket in its workspace, for its owner alone."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import httpx

from fraudfl.errors import RuntimeFailure, TrustError

CALL_SECONDS = 90.0
_LONGEST = 100


def socket_path(workspace: Path) -> Path:
    """Where the coordinator of a workspace listens for its operator."""
    path = workspace.resolve() / "coordinator" / "control.sock"
    if len(os.fsencode(path)) <= _LONGEST:
        return path
    # The kernel takes no longer name for a socket: it lies in a folder of this user's own, named after the workspace.
    own = Path(tempfile.gettempdir()) / f"fraudfl-{os.getuid()}"
    own.mkdir(mode=0o700, exist_ok=True)
    if own.stat().st_uid != os.getuid() or own.stat().st_mode & 0o077:
        raise TrustError(f"{own}: is not this user's alone; remove it, or give the workspace a shorter path")
    return own / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}.sock"


class Operator:
    """Calls a running coordinator."""

    def __init__(self, workspace: Path) -> None:
        """Name the workspace whose coordinator is meant."""
        self._socket = socket_path(workspace)

    def status(self) -> dict[str, Any]:
        """How the coordinator and its phases stand."""
        return self._call("GET", "/status")

    def start(self, name: str, *, resume: bool) -> dict[str, Any]:
        """Begin or resume a phase."""
        return self._call("POST", f"/phases/{name}/start", {"resume": resume})

    def stop(self, name: str) -> dict[str, Any]:
        """Stop a phase."""
        return self._call("POST", f"/phases/{name}/stop")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(self._socket)), timeout=CALL_SECONDS) as client:
                answer = client.request(method, f"http://coordinator{path}", json=body)
        except httpx.TransportError as error:
            raise RuntimeFailure(
                f"{self._socket}: no coordinator answers ({error}). Start it with `fraudfl serve CONFIG -w WORKSPACE`"
            ) from error
        facts: dict[str, Any] = answer.json()
        if answer.is_error:
            raise RuntimeFailure(str(facts.get("error", facts)))
        return facts
