"""The coordinator of a deployment: banks over TLS, the operator over a socket, phases in between."""

from __future__ import annotations

import base64
import logging
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fraudfl.config import FraudflConfig
from fraudfl.config_coordinator import host_and_port
from fraudfl.errors import FraudflError, RuntimeFailure
from fraudfl.trust.keys import public_from_text
from server.deployment.control import control_app
from server.deployment.front import Front
from server.deployment.link import Link
from server.deployment.metrics import metrics_app
from server.deployment.phases import PhaseError, Phases
from server.store.operator_line import socket_path
from server.store.workspace import Workspace
from server.trust.certificates import expiry
from server.trust.pki import Pki

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
_DAY = 86_400.0
START_SECONDS = 30.0


class Coordinator:
    """One process that serves one consortium."""

    def __init__(self, config: FraudflConfig, workspace: Workspace, base: Path = Path()) -> None:
        """Open the workspace's state and keys; nothing listens yet.

        Args:
            base: Folder that relative data paths start from, where the contract is read from a sample.

        Raises:
            TrustError: when there are no keys, or they cannot be used.
            ConfigError: when Flower does not support the database.
        """
        self._settings = config.coordinator
        self._workspace = workspace
        self._pki = Pki(workspace.coordinator / "pki")
        self._link = Link(self._settings.database or str(workspace.coordinator / "flower.db"))
        self._link.close_runs()
        self._nodes: Mapping[str, int] = {}
        self._admitted: frozenset[bytes] = frozenset()
        self._stamps: dict[Path, int] = {}
        self._front = Front(self._link.fleet_app(), lambda: self._admitted, self._link.notice)
        self._phases = Phases(workspace, self._link, lambda: self._nodes, base)
        self._stopping = threading.Event()
        self._began = time.time()

    def stop(self) -> None:
        """End soon: the phase under way at its last finished round."""
        self._stopping.set()

    def run(self, *, resume: bool) -> None:
        """Serve until stopped.

        Args:
            resume: Go on with a phase that was under way when the coordinator ended.
        """
        self._follow_roster()
        line = socket_path(self._workspace.path)
        _keep_to_owner(line)
        servers = [self._banks_server(), _server(control_app(self._phases, self.about), uds=line)]
        if self._settings.metrics is not None:
            host, port = host_and_port(self._settings.metrics)
            servers.append(_server(metrics_app(self), host=host, port=port))
        try:
            for server in servers:
                _start(server)
            log.info("listening on %s for %d banks", self._settings.listen, len(self._nodes))
            self._go_on(resume)
            warned = float("-inf")
            while not self._stopping.wait(LOOK_SECONDS):
                self._look()
                if time.monotonic() - warned > _DAY:
                    warned = time.monotonic()
                    self._warn_of_expiry()
        finally:
            with suppress(PhaseError):
                self._phases.stop()
            for server in servers:
                server.should_exit = True

    def about(self) -> dict[str, Any]:
        """What is true of the coordinator now."""
        present = self._link.present()
        return {
            "consortium": self._pki.consortium,
            "listen": self._settings.listen,
            "up_seconds": round(time.time() - self._began, 1),
            "certificate_ends": expiry(self._pki.coordinator_pem).isoformat(timespec="seconds"),
            "roster": {bank: node in present for bank, node in sorted(self._nodes.items())},
            "refused_calls": self._front.refused,
        }

    @property
    def phases(self) -> Phases:
        """The phases."""
        return self._phases

    def _go_on(self, resume: bool) -> None:
        for name in self._phases.unfinished():
            if not resume:
                log.warning("phase %s was under way; `fraudfl phase resume %s` goes on with it", name, name)
                continue
            log.info("going on with phase %s", name)
            self._phases.start(name, resume=True)

    def _look(self) -> None:
        """Follow what the operator changed: the roster and the certificate, without disturbing anybody."""
        try:
            if self._changed(self._pki.roster_file):
                self._follow_roster()
            if self._changed(self._pki.coordinator_pem):
                self._tls.load_cert_chain(self._pki.coordinator_pem, self._pki.coordinator_key)
                log.info("the coordinator's certificate was renewed; it ends %s", expiry(self._pki.coordinator_pem))
        except (FraudflError, OSError, ssl.SSLError) as error:
            # What was valid stays in force; the next look tries again.
            self._stamps.clear()
            log.error("cannot follow a change: %s", error)

    def _warn_of_expiry(self) -> None:
        ends = expiry(self._pki.coordinator_pem)
        if ends - datetime.now(UTC) < timedelta(days=self._settings.warn_days):
            log.warning("the coordinator's certificate ends %s; renew it with `fraudfl pki renew`", ends.date())

    def _changed(self, path: Path) -> bool:
        stamp = path.stat().st_mtime_ns
        before, self._stamps[path] = self._stamps.get(path), stamp
        return before is not None and before != stamp

    def _follow_roster(self) -> None:
        roster = self._pki.roster()
        self._changed(self._pki.roster_file)
        self._changed(self._pki.coordinator_pem)
        keys = {member.bank: _pem(member.public_key) for member in roster.members}
        self._admitted = frozenset(base64.b64encode(key) for key in keys.values())
        self._nodes = self._link.admit(keys)
        log.info("roster %d: %s", roster.number, ", ".join(keys) or "nobody yet")

    def _banks_server(self) -> uvicorn.Server:
        host, port = host_and_port(self._settings.listen)
        files = {"ssl_certfile": self._pki.coordinator_pem, "ssl_keyfile": str(self._pki.coordinator_key)}
        config = uvicorn.Config(
            self._front,
            host=host,
            port=port,
            **_QUIET,
            timeout_keep_alive=60,
            lifespan="off",
            **files,  # type: ignore[arg-type]
        )
        config.load()
        assert config.ssl is not None  # certificate files were given
        self._tls = config.ssl
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        return uvicorn.Server(config)


_QUIET: dict[str, Any] = {"log_config": None, "access_log": False, "ws": "none"}


def _server(app: Any, *, uds: Path | None = None, host: str = "", port: int = 0) -> uvicorn.Server:
    place: dict[str, Any] = {"host": host, "port": port} if uds is None else {"uds": str(uds)}
    return uvicorn.Server(uvicorn.Config(app, **_QUIET, **place, lifespan="off"))


def _keep_to_owner(line: Path) -> None:
    """Leave a socket of mode 0600 behind: uvicorn's takes over its mode, and would else be open to everybody."""
    line.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as placeholder:
        placeholder.bind(str(line))
    line.chmod(0o600)


def _start(server: uvicorn.Server) -> None:
    """Run a server in a thread of its own; returns when it listens."""
    threading.Thread(target=_serve, args=(server,), daemon=True).start()
    ends = time.monotonic() + START_SECONDS
    while not server.started:
        if server.should_exit or time.monotonic() > ends:
            place = server.config.uds or f"{server.config.host}:{server.config.port}"
            raise RuntimeFailure(f"cannot listen on {place}; another process may, or the address is not this machine's")
        time.sleep(0.01)


def _serve(server: uvicorn.Server) -> None:
    # Uvicorn ends its process when it cannot bind; here that is for `_start` to tell.
    try:
        server.run()
    except SystemExit:
        server.should_exit = True


def _pem(public_text: str) -> bytes:
    return public_from_text(public_text).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
