"""The consortium's keys and certificates at the coordinator: its CA, the operator's key, TLS, and the roster."""

from __future__ import annotations

import fcntl
import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidSignature
from pydantic import TypeAdapter, ValidationError

from fraudfl.config import Name
from fraudfl.errors import ConfigError, TrustError
from fraudfl.folder import write_bytes
from fraudfl.trust.enrolment import Enrolment
from fraudfl.trust.keys import (
    load_key,
    make_key,
    new_key,
    now_text,
    private_pem,
    public_text,
    write_secret,
)
from fraudfl.trust.place import sign_place
from fraudfl.trust.roster import Member, Roster, add_member, read_roster, remove_member, replace_member, sign_roster
from server.trust.certificates import (
    CA_DAYS,
    SKEW,
    Hosts,
    ca_certificate,
    certificate_of,
    coordinator_certificate,
    hosts_of,
    pem_of,
    spelled,
)

COORDINATOR_DAYS = 397
SOON_DAYS = 30


@dataclass(frozen=True)
class Finding:
    """Something that the operator should know or mend."""

    severity: Literal["error", "warning"]
    text: str


class Pki:
    """The folder `coordinator/pki`.

    Attributes:
        ca_pem: The CA's certificate, which every bank trusts.
        coordinator_pem: The coordinator's certificate, followed by the CA's.
        coordinator_key: Its private key.
        operator_pub: The operator's public key, which every bank pins.
        roster_file: The signed roster.
    """

    def __init__(self, folder: Path) -> None:
        """Open an existing folder; raises TrustError when there is none."""
        self.folder = folder
        self.ca_key, self.ca_pem = folder / "ca.key", folder / "ca.pem"
        self.coordinator_key, self.coordinator_pem = folder / "coordinator.key", folder / "coordinator.pem"
        self.operator_key, self.operator_pub = folder / "operator.key", folder / "operator.pub"
        self.roster_file = folder / "roster.json"
        self.consortium: str = _read_consortium(folder / "consortium.json")

    @classmethod
    def create(
        cls, folder: Path, consortium: str, hosts: Hosts, days: int = COORDINATOR_DAYS, now: datetime | None = None
    ) -> Pki:
        """Make the CA, the operator's key, the coordinator's certificate and an empty roster; all of it or nothing.

        Args:
            folder: Where; it must not exist, or be empty.
            consortium: Its name.
            hosts: What the coordinator's certificate is for.
            days: How long that is good for.
            now: When it begins; the present moment when absent.

        Raises:
            TrustError: when there are keys already; they are never overwritten.
            ConfigError: when the consortium's name is not one, or the number of days is out of range.
        """
        if folder.exists() and any(folder.iterdir()):
            raise TrustError(f"{folder}: holds keys already, and they are never overwritten; use `fraudfl pki renew`")
        facts = {"consortium": _consortium(consortium)}
        _check_days(days)
        making = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
        try:
            making.mkdir(mode=0o700, parents=True)
            write_bytes(making / "consortium.json", json.dumps(facts).encode())
            cls(making)._fill(hosts, days, now or datetime.now(UTC))
            making.rename(folder)
        except OSError as error:
            raise TrustError(f"{folder}: cannot be made ({error.strerror}); nothing was kept") from error
        finally:
            shutil.rmtree(making, ignore_errors=True)
        return cls(folder)

    def renew(self, hosts: Hosts | None = None, days: int = COORDINATOR_DAYS, now: datetime | None = None) -> None:
        """Give the coordinator a new key and certificate by the same CA; the old ones stay beside as `.previous`.

        Args:
            hosts: What it is for; as before when absent.
            days: How long it is good for, but never longer than the CA.
            now: When it begins; the present moment when absent.

        Raises:
            TrustError: when the CA's key or certificate cannot be used, or has expired.
        """
        with self._alone():
            hosts = hosts or hosts_of(self.coordinator_pem)
            self._issue(hosts, days, now or datetime.now(UTC))

    def roster(self) -> Roster:
        """The roster, checked against the operator's key."""
        return read_roster(self.roster_file, self.operator)

    @property
    def operator(self) -> str:
        """The operator's public key."""
        return _read_text(self.operator_pub).strip()

    def enrol(self, keys: Mapping[str, str]) -> Roster:
        """Sign a roster of banks whose folders were made on this machine, in place of the one before.

        Args:
            keys: Bank to its public key.
        """
        with self._alone():
            since = now_text()
            members = [Member(bank=bank, public_key=key, since=since) for bank, key in keys.items()]
            number = self.roster().number + 1
            return self._keep(sign_roster(load_key(self.operator_key), self.consortium, number, members))

    def add(self, request: Enrolment, *, again: bool = False) -> Roster:
        """Put a bank on the roster; see `fraudfl.trust.roster.add_member`."""
        with self._alone():
            return self._keep(add_member(self.roster(), request, load_key(self.operator_key), again=again))

    def remove(self, bank: str) -> Roster:
        """Take a bank off the roster, and remember its key; raises TrustError when it is not on it."""
        with self._alone():
            return self._keep(remove_member(self.roster(), bank, load_key(self.operator_key)))

    def replace(self, request: Enrolment, *, again: bool = False) -> Roster:
        """Give a bank on the roster another key; see `fraudfl.trust.roster.replace_member`."""
        with self._alone():
            return self._keep(replace_member(self.roster(), request, load_key(self.operator_key), again=again))

    def write_kit(self, out: Path, host: str | None = None, port: int = 9092) -> None:
        """Write what every bank needs: CA, operator's key, roster, and where the coordinator is. Nothing secret.

        Args:
            out: The folder to write to; files of an earlier kit in it are replaced.
            host: Name or address that banks connect to; the certificate's first when absent.
            port: The coordinator's port for banks.

        Raises:
            TrustError: when the certificate is not for that host, or the roster does not verify.
        """
        hosts = list(hosts_of(self.coordinator_pem))
        host = spelled(host) if host else hosts[0]
        if host not in hosts:
            raise TrustError(
                f"{self.coordinator_pem}: is for {', '.join(hosts)}, not for {host}; "
                "add it with `fraudfl pki renew --name … --address …` (give all of them)"
            )
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        ca = pem_of(certificate_of(self.ca_pem))
        kit = {
            "ca.pem": ca,
            "operator.pub": self.operator.encode() + b"\n",
            "roster.json": self.roster().to_bytes(),
            "coordinator.json": sign_place(load_key(self.operator_key), self.consortium, address, ca).to_bytes(),
        }
        try:
            out.mkdir(parents=True, exist_ok=True)
            for name, data in kit.items():
                write_bytes(out / name, data)
        except OSError as error:
            raise TrustError(f"{out}: the kit cannot be written ({error.strerror}); choose another --out") from error

    def check(self, now: datetime | None = None) -> list[Finding]:
        """Everything that is wrong or soon will be, in readable words; empty when all is well."""
        now = now or datetime.now(UTC)
        findings = [
            *_lifetime(self.ca_pem, now),
            *_lifetime(self.coordinator_pem, now),
            *_complaint(lambda: _check_pair(self.ca_key, self.ca_pem)),
            *_complaint(lambda: _check_pair(self.coordinator_key, self.coordinator_pem)),
            *_complaint(lambda: _check_issued(self.coordinator_pem, self.ca_pem)),
            *_complaint(self._check_operator),
            *_complaint(self.roster),
            *_complaint(self._check_previous),
        ]
        return list(dict.fromkeys(findings))

    def _fill(self, hosts: Hosts, days: int, now: datetime) -> None:
        key = make_key(self.ca_key)
        write_bytes(self.ca_pem, pem_of(ca_certificate(self.consortium, key, now)))
        operator = make_key(self.operator_key)
        write_bytes(self.operator_pub, public_text(operator).encode() + b"\n")
        self._keep(sign_roster(operator, self.consortium, 1, (), now=now))
        self._issue(hosts, days, now)

    def _issue(self, hosts: Hosts, days: int, now: datetime) -> None:
        _check_days(days)
        _check_pair(self.ca_key, self.ca_pem)
        ca = certificate_of(self.ca_pem)
        if ca.not_valid_after_utc <= now:
            raise TrustError(f"{self.ca_pem}: expired on {_day(ca.not_valid_after_utc)}; banks need a new CA and kit")
        key = new_key()
        end = min(now + timedelta(days=days), ca.not_valid_after_utc)
        certificate = coordinator_certificate(key.public_key(), hosts, ca, load_key(self.ca_key), (now - SKEW, end))
        self._keep_previous()
        write_secret(self.coordinator_key, private_pem(key), replace=True)
        write_bytes(self.coordinator_pem, pem_of(certificate) + pem_of(ca))

    def _keep_previous(self) -> None:
        try:
            _check_pair(self.coordinator_key, self.coordinator_pem)
        except TrustError:
            # None yet, or half of a renewal that was interrupted: what is aside by now is worth more.
            return
        for path in (self.coordinator_key, self.coordinator_pem):
            write_secret(_previous(path), path.read_bytes(), replace=True)

    def _keep(self, roster: Roster) -> Roster:
        write_bytes(self.roster_file, roster.to_bytes())
        return roster

    def _check_operator(self) -> None:
        if public_text(load_key(self.operator_key)) != self.operator:
            raise TrustError(f"{self.operator_key}: does not fit {self.operator_pub}; restore both from a backup")

    def _check_previous(self) -> None:
        previous = _previous(self.coordinator_key)
        if previous.exists():
            load_key(previous)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait for other commands on this folder, so that no change of the roster is lost."""
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _lifetime(path: Path, now: datetime) -> list[Finding]:
    try:
        certificate = certificate_of(path)
    except TrustError as error:
        return [Finding("error", str(error))]
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin:
        return [Finding("error", f"{path}: not valid before {_day(begin)}; check this machine's clock")]
    if now >= end:
        return [Finding("error", f"{path}: expired on {_day(end)}; banks refuse it. {_remedy(path)}")]
    if end - now <= timedelta(days=SOON_DAYS):
        left = (end - now).days
        return [Finding("warning", f"{path}: expires on {_day(end)}, in {left} days. {_remedy(path)}")]
    return []


def _remedy(path: Path) -> str:
    if path.name == "ca.pem":
        return "Make a new one in another workspace, and give every bank its kit"
    return "Run `fraudfl pki renew`; a running coordinator follows"


def _complaint(check: Callable[[], object]) -> list[Finding]:
    try:
        check()
    except TrustError as error:
        return [Finding("error", str(error))]
    return []


def _check_pair(key_file: Path, certificate_file: Path) -> None:
    if load_key(key_file).public_key() != certificate_of(certificate_file).public_key():
        remedy = "restore both from a backup" if key_file.name == "ca.key" else "run `fraudfl pki renew`"
        raise TrustError(f"{key_file}: does not fit the certificate {certificate_file}; {remedy}")


def _check_issued(path: Path, ca_file: Path) -> None:
    ca = certificate_of(ca_file)
    try:
        certificate_of(path).verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise TrustError(f"{path}: not issued by {ca_file}; run `fraudfl pki renew`") from error


def _check_days(days: int) -> None:
    if not 1 <= days <= CA_DAYS:
        raise ConfigError(f"--days {days}: expected 1 to {CA_DAYS}")


def _consortium(name: str) -> str:
    try:
        return TypeAdapter[str](Name).validate_python(name)
    except ValidationError as error:
        raise ConfigError(f"--consortium {name}: expected 1 to 63 lower-case letters, digits and hyphens") from error


def _read_consortium(path: Path) -> str:
    if not path.exists():
        raise TrustError(f"{path.parent}: no consortium's keys here; make them with `fraudfl pki init`")
    try:
        return _consortium(json.loads(_read_text(path))["consortium"])
    except (ValueError, KeyError, TypeError, ConfigError) as error:
        raise TrustError(f'{path}: expected {{"consortium": name}}; restore it from a backup') from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TrustError(f"{path}: cannot be read ({error}); restore it from a backup") from error


def _previous(path: Path) -> Path:
    return path.with_name(f"{path.name}.previous")


def _day(moment: datetime) -> str:
    return moment.date().isoformat()
