"""Flower's simulation runtime as a child process: started, given one run per phase, and ended without leftovers."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from fraudfl.command import QUIET
from fraudfl.errors import RuntimeFailure

TOKEN_VARIABLE = "FRAUDFL_RUNTIME_TOKEN"
QUIET_ENVIRONMENT = {
    **QUIET,
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
}
APP = Path(__file__).parent / "flower_app"
START_SECONDS = 60.0
COORDINATOR = "flwr-simulation"
"""Flower's process that the coordinator of a simulation runs in."""


class SimulationRuntime:
    """A private SuperLink in simulation mode, with its own port, home and database.

    Every process it starts carries a token in its environment, so that all of them can be found and ended.
    """

    def __init__(self, folder: Path) -> None:
        """Keep the runtime's files under `folder`; nothing is started yet."""
        self._folder = folder
        self._token = secrets.token_hex(16)
        self._token_file = folder / "token"
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the SuperLink and wait until it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        # A killed coordinator leaves its runtime behind, which would go on writing to this workspace.
        if self._token_file.exists():
            _end_all(self._token_file.read_text().strip())
        self._token_file.write_text(self._token)
        home = self._folder / "flwr"
        home.mkdir(exist_ok=True)
        connection = f'address = "127.0.0.1:{self._port}"\ninsecure = true\n'
        (home / "config.toml").write_text(f'[superlink]\ndefault = "local"\n\n[superlink.local]\n{connection}')
        command = [_tool("flower-superlink"), "--insecure", "--simulation", "--isolation", "subprocess"]
        command += ["--host", "127.0.0.1", "--port", str(self._port), "--disable-runtime-dependency-installation"]
        with (self._folder / "superlink.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait_until_healthy()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End every process that was started."""
        self.close()

    def start_run(self, banks: int, run_config: Mapping[str, str]) -> int:
        """Submit one run over `banks` simulated nodes; returns Flower's run id."""
        cores = os.cpu_count() or 1
        federation = f"num-supernodes={banks} client-resources-num-cpus=1 init-args-num-cpus={cores}"
        settings = " ".join(f"{name}={json.dumps(value)}" for name, value in run_config.items())
        answer = self._flwr(
            "run", str(self._app()), "local", "--run-config", settings, "--federation-config", federation
        )
        return int(answer["run-id"])

    def run_status(self, run_id: int) -> tuple[str, str]:
        """Flower's word on a run: (status, details); `flwr run --stream` exits 0 even for failed ones."""
        for run in self._flwr("list", "local").get("runs", []):
            if int(run["run-id"]) == run_id:
                return str(run["status"]), str(run.get("details") or run.get("status-details") or "")
        return "unknown", ""

    @property
    def alive(self) -> bool:
        """Whether the SuperLink still runs."""
        return self._process is not None and self._process.poll() is None

    def close(self) -> None:
        """End the SuperLink, Flower's simulation, and Ray: everything that carries our token."""
        if self._process is None:
            return
        with _uninterrupted():
            _end_all(self._token)
            self._process.wait(timeout=10)
            self._process = None
            self._token_file.unlink(missing_ok=True)

    def log_tail(self, lines: int = 30) -> str:
        """The last lines of the runtime's log."""
        path = self._folder / "superlink.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def _app(self) -> Path:
        target = self._folder / "app"
        if not target.exists():
            shutil.copytree(APP, target, ignore=shutil.ignore_patterns("__pycache__"))
        return target

    def _environment(self) -> dict[str, str]:
        # The environment names this home only: nothing of the user's own Flower settings is read or written.
        quiet = {**QUIET_ENVIRONMENT, "FLWR_HOME": str(self._folder / "flwr"), TOKEN_VARIABLE: self._token}
        return {**os.environ, **quiet, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}

    def _flwr(self, *arguments: str, timeout: float = 120.0) -> dict[str, Any]:
        command = [_tool("flwr"), *arguments, "--format", "json"]
        try:
            done = subprocess.run(
                command, env=self._environment(), capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeFailure(f"`flwr {arguments[0]}` did not answer within {timeout:g} s") from error
        start = done.stdout.find("{")
        try:
            answer: dict[str, Any] = json.loads(done.stdout[start:]) if start >= 0 else {}
        except json.JSONDecodeError:
            answer = {}
        if done.returncode or not answer.get("success", False):
            said = (done.stdout + done.stderr).strip()[-2000:]
            raise RuntimeFailure(f"`flwr {arguments[0]}` failed: {said}")
        return answer

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if not self.alive:
                raise RuntimeFailure(f"Flower's SuperLink ended while starting:\n{self.log_tail()}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=1) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.1)
        raise RuntimeFailure(f"Flower's SuperLink did not answer within {START_SECONDS:g} s:\n{self.log_tail()}")


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let an impatient second Ctrl-C wait, so that no process is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _marked(token: str) -> list[psutil.Process]:
    """Every process that carries the token in its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(TOKEN_VARIABLE) == token:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def _end_all(token: str) -> None:
    # The coordinator first, and at once: it would take banks that end before it for banks that answered with an error,
    # and might call a round complete without them. Its checkpoints are whole at any time.
    coordinators = [process for process in _marked(token) if _runs(process, COORDINATOR)]
    _end(coordinators, signal.SIGKILL, wait=5.0)
    _end(_marked(token), signal.SIGTERM, wait=5.0)
    _end(_marked(token), signal.SIGKILL, wait=5.0)


def _runs(process: psutil.Process, tool: str) -> bool:
    """Whether a process is one of Flower's tools."""
    try:
        return any(Path(part).name == tool for part in process.cmdline()[:2])
    except psutil.Error:
        return False


def _end(processes: list[psutil.Process], with_signal: signal.Signals, wait: float) -> None:
    for process in processes:
        try:
            process.send_signal(with_signal)
        except psutil.Error:
            continue
    psutil.wait_procs(processes, timeout=wait)


def _tool(name: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise RuntimeFailure(f"`{name}` is not installed beside {sys.executable}; run `make install`")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
