"""The consortium's X.509 certificates: its CA's and its coordinator's, for the names and addresses that banks use."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fraudfl.errors import ConfigError, TrustError
from fraudfl.trust.keys import PrivateKey, PublicKey

CA_DAYS = 3652
# Certificates begin a little in the past, for banks whose clocks are behind.
SKEW = timedelta(hours=1)
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


def ca_certificate(consortium: str, key: PrivateKey, now: datetime) -> x509.Certificate:
    """The consortium's own certificate, good for `CA_DAYS`."""
    name = _subject(consortium, "consortium CA")
    lifetime = (now - SKEW, now + timedelta(days=CA_DAYS))
    builder = _builder(key.public_key(), name, name, lifetime)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.add_extension(_usage("key_cert_sign", "crl_sign"), critical=True).sign(key, hashes.SHA384())


def coordinator_certificate(
    public: PublicKey, hosts: Hosts, ca: x509.Certificate, ca_key: PrivateKey, lifetime: tuple[datetime, datetime]
) -> x509.Certificate:
    """A server's certificate for these hosts, signed by the CA; `lifetime` is its begin and end."""
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


def spelled(host: str) -> str:
    """A name or address as certificates hold it."""
    return _address(host) if _is_address(host) else host.lower()


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def pem_of(certificate: x509.Certificate) -> bytes:
    """A certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)
