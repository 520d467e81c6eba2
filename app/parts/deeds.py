"""Our own commands as processes beside the dashboard: one at a time for each workspace, and followed to their end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import IO

import streamlit as st

import server
from app.parts.text import as_text
from app.roles import demand
from fraudfl.access.roles import Deed
from fraudfl.errors import RuntimeFailure
from server.store.workspace import Workspace

_LOOK_SECONDS = 0.3
_MOST_BYTES = 65_536
_one_at_a_time = Lock()
_under_way: dict[Path, Command] = {}


@dataclass(eq=False)
class Command:
    """One of our commands, that was begun.

    Attributes:
        words: What it does, as readers are told.
    """

    words: str
    process: subprocess.Popen[bytes]
    _output: IO[bytes]
    _began: datetime = field(default_factory=lambda: datetime.now(UTC))
    _last_words: str | None = None

    @property
    def code(self) -> int | None:
        """How it ended, as the command line would say; None while it runs."""
        return self.process.poll()

    @property
    def since(self) -> str:
        """When it began, in UTC."""
        return f"{self._began:%H:%M:%S} UTC"

    @property
    def seconds(self) -> float:
        """For how long it is known, in seconds."""
        return (datetime.now(UTC) - self._began).total_seconds()

    def said(self) -> str:
        """All that it printed so far."""
        if self._last_words is not None:
            return self._last_words
        ended = self.code is not None
        words = os.pread(self._output.fileno(), _MOST_BYTES, 0).decode("utf-8", "replace").strip()
        if ended:
            self._last_words = words
            self._output.close()
        return words

    def end(self) -> None:
        """End it now if it still runs; what it printed is kept."""
        self.process.terminate()
        self.process.wait()
        self.said()


def begin(deed: Deed, workspace: Workspace, words: str, arguments: Sequence[str]) -> Command:
    """Begin one of our commands, as the command line would; it goes on when nobody looks any more.

    Args:
        deed: What the reader must be allowed to do.
        words: What it does, as readers are told.
        arguments: What is typed after `fraudfl`, without the workspace.

    Raises:
        AccessRefused: when the reader may not; nothing was begun.
        RuntimeFailure: when another one is under way in this workspace.
    """
    demand(deed)
    with _one_at_a_time:
        other = under_way(workspace)
        if other is not None:
            raise RuntimeFailure(f"{other.words}, since {other.since}, has not ended yet; wait until it has")
        begun = Command(words, *_started([*arguments, f"--workspace={workspace.path}"]))
        _under_way[workspace.path] = begun
    return begun


def under_way(workspace: Workspace) -> Command | None:
    """The command that runs in a workspace now, whoever began it."""
    found = _under_way.get(workspace.path)
    return found if found is not None and found.code is None else None


def follow(command: Command) -> None:
    """Show what a command says until it ends."""
    with st.status(as_text(command.words), expanded=True) as box:
        place = st.empty()
        while command.code is None:
            with place.container():
                st.caption(f"For {command.seconds:.0f} s")
                st.text(command.said())
            time.sleep(_LOOK_SECONDS)
        place.text(command.said())
        box.update(state="error" if command.code else "complete")


def _started(arguments: Sequence[str]) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """The process, and the nameless file it prints to."""
    output = TemporaryFile()  # noqa: SIM115 - it lives as long as the command
    houses = str(Path(server.__file__).parents[1])
    path = os.pathsep.join(part for part in (houses, os.environ.get("PYTHONPATH", "")) if part)
    process = subprocess.Popen(
        # -P: a folder that happens to be called `server` where the dashboard was started is not ours.
        [sys.executable, "-P", "-m", "server.cli", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=os.environ | {"PYTHONPATH": path, "NO_COLOR": "1", "TERM": "dumb"},
    )
    return process, output
