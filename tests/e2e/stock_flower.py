"""Flower's own SuperLink and SuperNodes with TLS and authentication, as a yardstick and as a hostile coordinator."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePrivateKey, generate_private_key
from deployment import free_port

from fraudfl.trust.keys import public_text
from server.trust.certificates import Hosts
from server.trust.pki import Pki

BIN = Path(sys.executable).parent
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "PYTHONWARNINGS": "ignore",
    "OMP_NUM_THREADS": "1",
}


class StockFlower:
    """`flower-superlink` in a folder of its own."""

    def __init__(self, folder: Path, pki: Pki | None = None, port: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = port or free_port()
        self.pki = pki or Pki.create(folder / "pki", "stock", Hosts(("localhost",), ("127.0.0.1",)))
        self._processes: list[subprocess.Popen[bytes]] = []
        home = folder / "flwr"
        home.mkdir(exist_ok=True)
        lines = [
            '[superlink]\ndefault = "stock"\n\n[superlink.stock]',
            f'address = "127.0.0.1:{self.port}"',
            f'root-certificates = "{self.pki.ca_pem}"',
        ]
        (home / "config.toml").write_text("\n".join(lines) + "\n")
        self.environment = {
            **os.environ,
            **QUIET,
            "FLWR_HOME": str(home),
            "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
        }

    def start(self) -> None:
        self._start(
            "flower-superlink",
            "--ssl-certfile", self.pki.coordinator_pem,
            "--ssl-keyfile", self.pki.coordinator_key,
            "--ssl-ca-certfile", self.pki.ca_pem,
            "--enable-supernode-auth",
            "--host", "127.0.0.1",
            "--port", str(self.port),
            "--disable-runtime-dependency-installation",
        )  # fmt: skip
        import ssl

        context = ssl.create_default_context(cafile=str(self.pki.ca_pem))
        for _ in range(300):
            with (
                suppress(OSError),
                urllib.request.urlopen(f"https://127.0.0.1:{self.port}/health", timeout=1, context=context),
            ):
                return
            time.sleep(0.1)
        raise AssertionError((self.folder / "flower-superlink.log").read_text())

    def register(self, public: str, name: str) -> None:
        path = self.folder / f"{name}.pub"
        path.write_text(public + "\n")
        self.flwr("supernode", "register", path, "stock")

    def start_node(self, name: str, port: int) -> subprocess.Popen[bytes]:
        """One stock SuperNode with a key of its own."""
        key: EllipticCurvePrivateKey = generate_private_key(SECP384R1())
        path = self.folder / f"{name}.key"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
            )
        )
        path.chmod(0o600)
        self.register(public_text(key), name)
        return self._start(
            "flower-supernode",
            "--superlink", f"127.0.0.1:{self.port}",
            "--root-certificates", self.pki.ca_pem,
            "--auth-supernode-private-key", path,
            "--port", str(port),
        )  # fmt: skip

    def run(self, app: Path) -> int:
        return int(self.flwr("run", app, "stock")["run-id"])

    def status(self, run_id: int) -> str:
        runs = self.flwr("list", "stock").get("runs", [])
        return next(str(run["status"]) for run in runs if int(run["run-id"]) == run_id)

    def flwr(self, *arguments: str | Path) -> dict[str, Any]:
        done = subprocess.run(
            [str(BIN / "flwr"), *map(str, arguments), "--format", "json"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        begin = done.stdout.find("{")
        assert done.returncode == 0, (arguments, done.stdout + done.stderr)
        found: dict[str, Any] = json.loads(done.stdout[begin:])
        return found

    def close(self) -> None:
        for process in reversed(self._processes):
            family = [*psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            for child in family:
                with suppress(psutil.Error):
                    child.kill()
            process.wait()

    def _start(self, tool: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
        with (self.folder / f"{tool}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(BIN / tool), *map(str, arguments)],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)
        return process


def make_app(folder: Path, server: str, client: str) -> Path:
    """A Flower app whose two modules have these texts."""
    package = folder / "stockapp"
    shutil.rmtree(folder, ignore_errors=True)
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "server_app.py").write_text(server)
    (package / "client_app.py").write_text(client)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n\n'
        '[project]\nname = "stockapp"\nversion = "1.0.0"\ndescription = "x"\nlicense = "Apache-2.0"\n'
        "dependencies = []\n\n"
        '[tool.hatch.build.targets.wheel]\npackages = ["."]\n\n[tool.flwr.app]\npublisher = "stock"\n\n'
        "[tool.flwr.app.components]\n"
        'serverapp = "stockapp.server_app:app"\nclientapp = "stockapp.client_app:app"\n\n[tool.flwr.app.config]\n'
    )
    return folder


def resident_mb(process: subprocess.Popen[bytes]) -> float:
    """Resident memory of a process and all its children, in MB (10⁶ bytes)."""
    parent = psutil.Process(process.pid)
    return sum(member.memory_info().rss for member in [parent, *parent.children(recursive=True)]) / 1e6
