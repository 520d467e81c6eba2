"""A deployment on loopback: one coordinator and its banks as real processes, with real keys and certificates."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fraudfl.trust.enrolment import read_enrolment
from server.store.operator_line import Operator, socket_path
from server.trust.certificates import Hosts
from server.trust.pki import Pki

BIN = Path(sys.executable).parent
PATIENCE = 180.0


def free_port() -> int:
    """A port that nobody has, below those that the system gives to connections: it is free again after a restart."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def wait_until(holds: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if found := holds():
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds:g} s: {what}")


def call(*command: str | Path, code: int = 0) -> str:
    """Run one of our commands to its end."""
    done = subprocess.run(
        [str(BIN / str(command[0])), *map(str, command[1:])],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=_environment(),
    )
    assert done.returncode == code, (command, done.returncode, done.stdout + done.stderr)
    return done.stdout + done.stderr


def start(log: Path, *command: str | Path) -> subprocess.Popen[bytes]:
    """Start one of our commands in a process group of its own."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [str(BIN / str(command[0])), *map(str, command[1:])],
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=_environment(),
            # Whoever runs the tests in the background has SIGINT ignored, and a child would inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONWARNINGS": "ignore"}


@dataclass
class Deployment:
    """One consortium in `folder`: `co/` the coordinator's workspace, `banks/<id>/` the banks' folders."""

    folder: Path
    config: dict[str, Any]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @classmethod
    def create(cls, folder: Path, config: dict[str, Any], data: Path, policy: str | None = None) -> Deployment:
        """Make keys, enrol every bank of `data` (folders as simulation makes them), and hand out the kits.

        Args:
            data: A folder with one simulated bank's folder each.
            policy: The banks' policy; as in simulation when None.
        """
        port = free_port()
        facts = config | {"coordinator": {"listen": f"127.0.0.1:{port}", "metrics": None}}
        made = cls(folder, facts)
        folder.mkdir(parents=True, exist_ok=True)
        made.write_config()
        pki = Pki.create(
            folder / "co/coordinator/pki", facts["consortium"]["name"], Hosts(("localhost",), ("127.0.0.1",))
        )
        sources = sorted(data.iterdir())
        with ThreadPoolExecutor() as pool:
            list(pool.map(made.init, [source.name for source in sources]))
        for source in sources:
            pki.add(read_enrolment(made.bank(source.name) / "enrolment.json"))
            for name in ("bank.json", "transactions.parquet"):
                shutil.copyfile(source / name, made.bank(source.name) / name)
            text = (source / "policy.yaml").read_text() if policy is None else policy
            (made.bank(source.name) / "policy.yaml").write_text(text)
        pki.write_kit(folder / "kit", "127.0.0.1", port)
        with ThreadPoolExecutor() as pool:
            list(pool.map(made.join, made.banks))
        return made

    def copy(self, folder: Path, config: dict[str, Any]) -> Deployment:
        """The same keys, banks and kits in another folder. Both have one port, so only one may run at a time."""
        shutil.copytree(self.folder, folder)
        made = Deployment(folder, config | {"coordinator": self.config["coordinator"]})
        made.write_config()
        return made

    def write_config(self) -> None:
        (self.folder / "c.yaml").write_text(yaml.safe_dump(self.config))

    @property
    def pki(self) -> Pki:
        return Pki(self.folder / "co/coordinator/pki")

    @property
    def workspace(self) -> Path:
        return self.folder / "co"

    @property
    def banks(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "banks").iterdir())

    @property
    def port(self) -> int:
        return int(self.config["coordinator"]["listen"].rpartition(":")[2])

    def bank(self, bank: str) -> Path:
        return self.folder / "banks" / bank

    def init(self, bank: str) -> None:
        call("bank-node", "init", self.bank(bank), "--bank", bank)

    def enrol(self, bank: str) -> None:
        self.init(bank)
        self.pki.add(read_enrolment(self.bank(bank) / "enrolment.json"))

    def join(self, bank: str) -> None:
        from fraudfl.trust.keys import fingerprint

        operator = fingerprint((self.folder / "kit/operator.pub").read_text().strip())
        call("bank-node", "join", self.bank(bank), self.folder / "kit", "--operator", operator)

    def serve(self, *options: str) -> None:
        """Start the coordinator and wait until it answers."""
        command = ("fraudfl", "serve", self.folder / "c.yaml", "-w", self.workspace, *options)
        self.processes["coordinator"] = start(self.folder / "coordinator.log", *command)
        wait_until(self.answers, f"the coordinator answers\n{self.log('coordinator')}")

    def answers(self) -> bool:
        # A look of our own first: httpx leaves its socket open when nobody listens.
        with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(socket_path(self.workspace)))
            return bool(self.status())
        return False

    def run_bank(self, bank: str) -> None:
        command = ("bank-node", "run", self.bank(bank), "--health", "off", "--idle", "0.2")
        self.processes[bank] = start(self.folder / f"{bank}.log", *command)

    def run_all(self) -> None:
        self.serve()
        for bank in self.banks:
            self.run_bank(bank)
        wait_until(lambda: all(self.status()["roster"].values()), "all banks are connected")

    def status(self) -> dict[str, Any]:
        return Operator(self.workspace).status()

    def phase(self, name: str = "pilot") -> dict[str, Any]:
        found: dict[str, Any] = next(phase for phase in self.status()["phases"] if phase["name"] == name)
        return found

    def begin(self, name: str = "pilot", *, resume: bool = False) -> None:
        Operator(self.workspace).start(name, resume=resume)

    def ended(self, name: str = "pilot", seconds: float = PATIENCE) -> dict[str, Any]:
        """Wait until the phase has ended, and give its outcome."""
        wait_until(lambda: self.phase(name)["status"] not in ("running", "not begun"), f"phase {name} ends", seconds)
        path = self.workspace / "coordinator" / "phases" / name / "result.json"
        outcome: dict[str, Any] = json.loads(path.read_text())
        return outcome

    def events(self, name: str = "pilot") -> list[dict[str, Any]]:
        path = self.workspace / "coordinator" / "phases" / name / "events.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def rounds(self, name: str = "pilot") -> int:
        return sum(event["event"] == "round" for event in self.events(name))

    def log(self, who: str) -> str:
        path = self.folder / f"{who}.log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def kill(self, who: str) -> None:
        process = self.processes.pop(who)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.processes.clear()
