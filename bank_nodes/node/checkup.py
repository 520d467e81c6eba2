"""Everything that a round needs, looked at before anything is sent: `bank-node check`."""

from __future__ import annotations

import resource
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Literal

import numpy as np
from cryptography import x509

from bank_nodes.folder.home import Home
from bank_nodes.rules.approvals import Approvals
from bank_nodes.rules.policy import read_policy
from bank_nodes.rules.schedule import opens_at
from fraudfl.config import ModelConfig, TrainingConfig
from fraudfl.config_coordinator import host_and_port
from fraudfl.data.schema import validate
from fraudfl.errors import FraudflError
from fraudfl.folder import BankFolder
from fraudfl.models.mlp import initial_vector
from fraudfl.privacy.ledger import Ledger
from fraudfl.training.plain import LocalData, train_plain

SOON = timedelta(days=30)
SLACK_SECONDS = 4.0
"""Flower turns away calls whose clock is more than 5 s ahead."""
CONNECT_SECONDS = 10.0
FREE_BYTES = 2**30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    verdict: Literal["good", "warning", "bad"]
    text: str


def checkup(home: Home) -> list[Finding]:
    """Look at keys, kit, policy, approvals, ledger, disk, data, the coordinator, and one step of training."""
    looks: list[tuple[str, Callable[[Home], Finding]]] = [
        ("key", _key),
        ("roster", _roster),
        ("policy", _policy),
        ("approvals", _approvals),
        ("ledger", _ledger),
        ("disk", _disk),
        ("data", _data),
        ("dry run", _dry_run),
    ]
    findings = [_guarded(what, look, home) for what, look in looks]
    return [*findings, *_coordinator(home)]


def _guarded(what: str, look: Callable[[Home], Finding], home: Home) -> Finding:
    try:
        return look(home)
    except (FraudflError, OSError, MemoryError) as error:
        return Finding(what, "bad", f"{error}")


def _key(home: Home) -> Finding:
    home.key()
    return Finding("key", "good", f"this bank's own, mode 0600, for bank {home.bank}")


def _roster(home: Home) -> Finding:
    roster = home.roster()
    member = roster.member(home.bank)
    if member.public_key != home.enrolment.public_key:
        return Finding("roster", "bad", f"roster {roster.number} has another key for {home.bank}; enrol again")
    return Finding("roster", "good", f"{roster.number}, with {len(roster.members)} banks, signed by the operator")


def _policy(home: Home) -> Finding:
    policy = read_policy(home.path)
    opening = opens_at(policy.hours, datetime.now(UTC))
    hours = "open now" if opening is None else f"opens {opening:%Y-%m-%d %H:%M %Z}"
    approves = "approves plans by rule" if policy.approve.automatic else "a person approves each plan"
    return Finding("policy", "good", f"{approves}; {hours}")


def _approvals(home: Home) -> Finding:
    return Finding("approvals", "good", f"{len(Approvals(home.path).all())} decisions, all signed by this bank")


def _ledger(home: Home) -> Finding:
    ledger = Ledger(home.path / "ledger.db")
    ledger.verify()
    return Finding("ledger", "good", f"{ledger.head()[0]} entries, unbroken")


def _disk(home: Home) -> Finding:
    free = shutil.disk_usage(home.path).free
    verdict: Literal["good", "warning"] = "good" if free > FREE_BYTES else "warning"
    return Finding("disk", verdict, f"{free / 2**30:.1f} GiB free; features and encoded rows need a few times the data")


def _data(home: Home) -> Finding:
    folder = home.own_data()
    table = validate(folder.table(), folder.contract, where=str(folder.transactions))
    frauds = int(np.count_nonzero(table["label"].to_numpy()))
    verdict: Literal["good", "warning"] = "good" if frauds else "warning"
    return Finding("data", verdict, f"{table.num_rows:,} transactions keep the contract, {frauds:,} of them fraud")


def _dry_run(home: Home) -> Finding:
    """One epoch of a usual model on as many made-up rows as this bank has: what a round takes here."""
    rows = BankFolder(home.path).table().num_rows
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    generator = np.random.default_rng(1)
    data = LocalData(
        generator.normal(size=(rows, 30)).astype(np.float32), (generator.random(rows) < 0.01).astype(np.float32)
    )
    model, training = ModelConfig(hidden=(64, 32)), TrainingConfig()
    started = time.monotonic()
    train_plain(model, initial_vector(model, 30, prior=0.01, seed=1), data, training, learning_rate=0.01, seed=1)
    took = time.monotonic() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return Finding("dry run", "good", f"an epoch over {rows:,} made-up rows took {took:.1f} s and {grown:.0f} MiB more")


def _coordinator(home: Home) -> Iterator[Finding]:
    """Connect, look at the certificate and the clock, and say nothing but an HTTP request for a page that is not."""
    try:
        host, port = host_and_port(home.address())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=home.ca().decode("ascii"))
        with (
            socket.create_connection((host, port), timeout=CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            certificate = x509.load_der_x509_certificate(secure.getpeercert(binary_form=True) or b"")
            yield Finding("connection", "good", f"{home.address()} answers with {secure.version()}")
            yield _expiry(certificate)
            yield _clock(secure, host)
    except (FraudflError, OSError, ValueError) as error:
        yield Finding("connection", "bad", f"{error}")


def _expiry(certificate: x509.Certificate) -> Finding:
    ends = certificate.not_valid_after_utc
    verdict: Literal["good", "warning"] = "good" if ends - datetime.now(UTC) > SOON else "warning"
    return Finding("certificate", verdict, f"the coordinator's is good until {ends:%Y-%m-%d}")


def _clock(secure: ssl.SSLSocket, host: str) -> Finding:
    secure.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer and (more := secure.recv(4096)):
        answer += more
    now = datetime.now(UTC)
    dates = [line[5:].strip() for line in answer.decode("latin-1").split("\r\n") if line.lower().startswith("date:")]
    if not dates:
        return Finding("clock", "warning", "the coordinator does not say its time")
    # Its header has whole seconds.
    off = abs((now - parsedate_to_datetime(dates[0])).total_seconds() - 0.5)
    if off > SLACK_SECONDS:
        return Finding("clock", "bad", f"{off:.0f} s off the coordinator's; set it by NTP")
    return Finding("clock", "good", f"within {max(off, 1):.0f} s of the coordinator's")
