"""The consortium's keys and certificates at the coordinator: its CA, the operator's key, TLS, and the roster."""

from __future__ import annotations

import fcntl
import ipaddress
import json
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pydantic import TypeAdapter, ValidationError

from fraudfl.config import Name
from fraudfl.errors import ConfigError, TrustError
from fraudfl.folder import write_bytes
from fraudfl.trust.enrolment import Enrolment
from fraudfl.trust.keys import (
    PrivateKey,
    PublicKey,
    load_key,
    make_key,
    new_key,
    private_pem,
    public_text,
    write_secret,
)
from fraudfl.trust.roster import Roster, add_member, read_roster, remove_member, replace_member, sign_roster

CA_DAYS = 3652
COORDINATOR_DAYS = 397
SOON_DAYS = 30
# Certificates begin a little in the past, for banks whose clocks are behind.
_SKEW = timedelta(hours=1)
_HOST = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*")


@dataclass(frozen=True)
class Hosts:
    """What banks may call the coordinator: the names and IP addresses in its certificate.

    Raises:
        ConfigError: when there is none, or one of them is not a host name or an address.
    """

    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check and normalise."""
        if not self.names and not self.addresses:
            raise ConfigError("a certificate needs a --name or an --address by which banks reach the coordinator")
        object.__setattr__(self, "names", tuple(dict.fromkeys(_host_name(name) for name in self.names)))
        object.__setattr__(self, "addresses", tuple(dict.fromkeys(_address(text) for text in self.addresses)))

    def __iter__(self) -> Iterator[str]:
        """Names first, then addresses."""
        return iter((*self.names, *self.addresses))


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
        host = _spelled(host) if host else hosts[0]
        if host not in hosts:
            raise TrustError(
                f"{self.coordinator_pem}: is for {', '.join(hosts)}, not for {host}; "
                "add it with `fraudfl pki renew --name … --address …` (give all of them)"
            )
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        facts = {"consortium": self.consortium, "address": address, "operator": self.operator}
        kit = {
            "ca.pem": _pem(certificate_of(self.ca_pem)),
            "operator.pub": self.operator.encode() + b"\n",
            "roster.json": self.roster().to_bytes(),
            "coordinator.json": json.dumps(facts, indent=2).encode() + b"\n",
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
        write_bytes(self.ca_pem, _pem(_ca_certificate(self.consortium, key, now)))
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
        certificate = _coordinator_certificate(key.public_key(), hosts, ca, load_key(self.ca_key), (now - _SKEW, end))
        self._keep_previous()
        write_secret(self.coordinator_key, private_pem(key), replace=True)
        write_bytes(self.coordinator_pem, _pem(certificate) + _pem(ca))

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


def certificate_of(path: Path) -> x509.Certificate:
    """The first certificate in a PEM file; raises TrustError when there is none."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())[0]
    except OSError as error:
        raise TrustError(f"{path}: cannot be read ({error.strerror}); restore it from a backup") from error
    except ValueError as error:
        raise TrustError(f"{path}: not a certificate in PEM; restore it from a backup") from error


def expiry(path: Path) -> datetime:
    """When the first certificate in a PEM file ends, in UTC."""
    return certificate_of(path).not_valid_after_utc


def hosts_of(path: Path) -> Hosts:
    """The names and addresses that a certificate is for; raises TrustError when it has none."""
    try:
        found = certificate_of(path).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise TrustError(f"{path}: is for no name or address; renew it with `fraudfl pki renew --name …`") from error
    addresses = tuple(str(address) for address in found.get_values_for_type(x509.IPAddress))
    return Hosts(tuple(found.get_values_for_type(x509.DNSName)), addresses)


def _ca_certificate(consortium: str, key: PrivateKey, now: datetime) -> x509.Certificate:
    name = _subject(consortium, "consortium CA")
    lifetime = (now - _SKEW, now + timedelta(days=CA_DAYS))
    builder = _builder(key.public_key(), name, name, lifetime)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.add_extension(_usage("key_cert_sign", "crl_sign"), critical=True).sign(key, hashes.SHA384())


def _coordinator_certificate(
    public: PublicKey, hosts: Hosts, ca: x509.Certificate, ca_key: PrivateKey, lifetime: tuple[datetime, datetime]
) -> x509.Certificate:
    consortium = str(ca.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value)
    builder = _builder(public, _subject(consortium, "coordinator"), ca.subject, lifetime)
    addresses = [x509.IPAddress(ipaddress.ip_address(text)) for text in hosts.addresses]
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage("digital_signature"), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectAlternativeName([*map(x509.DNSName, hosts.names), *addresses]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False),
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(ca_key, hashes.SHA384())


def _builder(
    public: PublicKey, subject: x509.Name, issuer: x509.Name, lifetime: tuple[datetime, datetime]
) -> x509.CertificateBuilder:
    begin, end = (moment.astimezone(UTC).replace(microsecond=0) for moment in lifetime)
    return x509.CertificateBuilder(issuer, subject, public, x509.random_serial_number(), begin, end).add_extension(
        x509.SubjectKeyIdentifier.from_public_key(public), critical=False
    )


def _subject(consortium: str, role: str) -> x509.Name:
    # The consortium's name may be as long as a common name may be, so it stands alone.
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, consortium), x509.NameAttribute(NameOID.COMMON_NAME, role)]
    )


def _usage(*allowed: str) -> x509.KeyUsage:
    uses = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    more = ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{use: use in allowed for use in (*uses, *more)})


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
    return "Run `fraudfl pki renew` and restart the coordinator"


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


def _host_name(name: str) -> str:
    lowered = name.lower()
    if _is_address(name):
        raise ConfigError(f"--name {name}: found an IP address; give it with --address")
    if len(name) > 253 or not _HOST.fullmatch(lowered):
        raise ConfigError(f"--name {name}: expected a host name such as coordinator.example.org, without port or path")
    return lowered


def _address(text: str) -> str:
    if not _is_address(text):
        raise ConfigError(f"--address {text}: expected an IP address; give a host's name with --name")
    return str(ipaddress.ip_address(text))


def _spelled(host: str) -> str:
    return _address(host) if _is_address(host) else host.lower()


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


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


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _day(moment: datetime) -> str:
    return moment.date().isoformat()
