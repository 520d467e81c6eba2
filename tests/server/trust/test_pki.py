"""The coordinator's keys and certificates: real handshakes, renewal, findings, and the roster on disk."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from fraudfl.errors import ConfigError, TrustError
from fraudfl.trust.enrolment import make_enrolment
from fraudfl.trust.keys import load_key, new_key, private_pem, public_text, write_secret
from fraudfl.trust.place import check_place
from fraudfl.trust.roster import read_roster
from server.trust.certificates import CA_DAYS, Hosts, certificate_of, expiry, hosts_of
from server.trust.pki import Finding, Pki

HOSTS = Hosts(("localhost", "coordinator.example.org"), ("127.0.0.1", "::1"))
KEYS = ("ca.key", "operator.key", "coordinator.key")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """One that no test changes."""
    return Pki.create(tmp_path_factory.mktemp("made") / "coordinator" / "pki", "baltic", HOSTS)


@pytest.fixture
def pki(made: Pki, tmp_path: Path) -> Pki:
    shutil.copytree(made.folder, tmp_path / "pki")
    return Pki(tmp_path / "pki")


@contextmanager
def tls_server(pki: Pki) -> Iterator[int]:
    """A server with the coordinator's certificate that greets one client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.coordinator_pem, pki.coordinator_key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def greet() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    with context.wrap_socket(connection, server_side=True) as secured:
                        secured.sendall(b"welcome")
                except (ssl.SSLError, OSError):
                    pass  # The client turned away, which is what it is tested for.

        thread = threading.Thread(target=greet)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)
        assert not thread.is_alive()


def shake_hands(pki: Pki, ca: Path, name: str) -> bytes:
    """What a client hears that trusts only `ca` and expects `name`."""
    context = ssl.create_default_context(cafile=ca)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with (
        tls_server(pki) as port,
        socket.create_connection(("127.0.0.1", port), 10) as raw,
        context.wrap_socket(raw, server_hostname=name) as secured,
    ):
        return secured.recv(100)


@pytest.mark.parametrize("name", ["localhost", "coordinator.example.org", "127.0.0.1", "::1"])
def test_a_bank_with_the_ca_reaches_the_coordinator_by_each_name(made: Pki, name: str) -> None:
    assert shake_hands(made, made.ca_pem, name) == b"welcome"


def test_another_name_is_refused(made: Pki) -> None:
    for name, what in (("evil.example.org", "Hostname mismatch"), ("127.0.0.2", "IP address mismatch")):
        with pytest.raises(ssl.SSLCertVerificationError, match=what):
            shake_hands(made, made.ca_pem, name)


def test_another_ca_of_the_same_name_is_refused(made: Pki, tmp_path: Path) -> None:
    other = Pki.create(tmp_path / "pki", "baltic", HOSTS)
    with pytest.raises(ssl.SSLCertVerificationError, match="CERTIFICATE_VERIFY_FAILED"):
        shake_hands(made, other.ca_pem, "localhost")


def test_an_expired_certificate_is_refused_and_its_renewal_is_not(tmp_path: Path) -> None:
    pki = Pki.create(tmp_path / "pki", "baltic", HOSTS, days=30, now=datetime.now(UTC) - timedelta(days=31))
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
        shake_hands(pki, pki.ca_pem, "localhost")
    pki.renew()
    assert shake_hands(pki, pki.ca_pem, "localhost") == b"welcome"


def test_a_certificate_from_the_future_is_refused(tmp_path: Path) -> None:
    pki = Pki.create(tmp_path / "pki", "baltic", HOSTS, now=datetime.now(UTC) + timedelta(days=2))
    with pytest.raises(ssl.SSLCertVerificationError, match="not yet valid"):
        shake_hands(pki, pki.ca_pem, "localhost")
    assert any("not valid before" in finding.text for finding in pki.check())


def test_the_transport_that_flower_uses_takes_the_certificate(made: Pki, tmp_path: Path) -> None:
    other = Pki.create(tmp_path / "pki", "baltic", HOSTS)
    server = grpc.server(ThreadPoolExecutor(1))
    pair = (made.coordinator_key.read_bytes(), made.coordinator_pem.read_bytes())
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    server.start()
    try:
        for ca, trusted in ((made.ca_pem, True), (other.ca_pem, False)):
            with grpc.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(ca.read_bytes())) as channel:
                ready = grpc.channel_ready_future(channel)
                if trusted:
                    ready.result(10)
                else:
                    with pytest.raises(grpc.FutureTimeoutError):
                        ready.result(0.5)
                    ready.cancel()
    finally:
        server.stop(0).wait()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_openssl_finds_the_chain_good_under_strict_rules(made: Pki) -> None:
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", made.ca_pem]
    done = subprocess.run([*command, made.coordinator_pem], capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith(": OK"), done.stderr


def test_the_certificates_say_what_each_may_do(made: Pki) -> None:
    ca, leaf = certificate_of(made.ca_pem), certificate_of(made.coordinator_pem)
    basic = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    uses = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert x509.load_pem_x509_certificates(made.coordinator_pem.read_bytes()) == [leaf, ca]
    assert timedelta(days=3651) < ca.not_valid_after_utc - datetime.now(UTC) < timedelta(days=3653)
    assert timedelta(days=396) < expiry(made.coordinator_pem) - datetime.now(UTC) <= timedelta(days=397)


def test_private_keys_are_their_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        pki = Pki.create(tmp_path / "pki", "baltic", HOSTS)
        pki.renew()
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in pki.folder.iterdir() if ".key" in path.name}
    assert modes == dict.fromkeys((*KEYS, "coordinator.key.previous"), 0o600)
    assert pki.folder.stat().st_mode & 0o777 == 0o700


def test_keys_are_never_overwritten(pki: Pki) -> None:
    before = {path.name: path.read_bytes() for path in pki.folder.iterdir()}
    with pytest.raises(TrustError, match="holds keys already"):
        Pki.create(pki.folder, "baltic", HOSTS)
    assert {path.name: path.read_bytes() for path in pki.folder.iterdir()} == before
    assert [path.name for path in pki.folder.parent.iterdir()] == ["pki"]


def test_a_creation_that_fails_leaves_nothing(tmp_path: Path) -> None:
    beyond_the_calendar = datetime(9999, 6, 1, tzinfo=UTC)
    with pytest.raises(OverflowError):
        Pki.create(tmp_path / "pki", "baltic", HOSTS, now=beyond_the_calendar)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("names", "addresses", "problem"),
    [
        ((), (), "a --name or an --address"),
        (("10.0.0.1",), (), "give it with --address"),
        (("coordinator:9092",), (), "expected a host name"),
        (("https://coordinator",), (), "expected a host name"),
        (("*.example.org",), (), "expected a host name"),
        (("-a.example.org",), (), "expected a host name"),
        (("a..b",), (), "expected a host name"),
        (("a\n",), (), "expected a host name"),
        (("bänk.example.org",), (), "expected a host name"),
        (("a" * 64,), (), "expected a host name"),
        (("localhost",), ("localhost",), "expected an IP address"),
        ((), ("10.0.0.256",), "expected an IP address"),
    ],
)
def test_what_no_certificate_can_be_for_is_refused(
    names: tuple[str, ...], addresses: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        Hosts(names, addresses)


@pytest.mark.parametrize(("consortium", "days"), [("The Baltic", 30), ("baltic", 0), ("baltic", CA_DAYS + 1)])
def test_wrong_options_are_refused_before_anything_is_made(tmp_path: Path, consortium: str, days: int) -> None:
    with pytest.raises(ConfigError, match=r"--consortium|--days"):
        Pki.create(tmp_path / "coordinator" / "pki", consortium, HOSTS, days)
    assert list(tmp_path.iterdir()) == []


def test_the_longest_consortium_name_fits_a_certificate(tmp_path: Path) -> None:
    pki = Pki.create(tmp_path / "pki", "b" * 63, HOSTS)
    assert Pki(tmp_path / "pki").consortium == "b" * 63
    assert shake_hands(pki, pki.ca_pem, "localhost") == b"welcome"


def test_a_folder_without_keys_says_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="make them with `fraudfl pki init`"):
        Pki(tmp_path)
    (tmp_path / "consortium.json").write_text("[]")
    with pytest.raises(TrustError, match=r"consortium\.json: expected"):
        Pki(tmp_path)


def test_renewal_keeps_ca_and_names_and_puts_the_old_files_aside(pki: Pki) -> None:
    ca, key, certificate = (path.read_bytes() for path in (pki.ca_pem, pki.coordinator_key, pki.coordinator_pem))
    pki.renew(days=100)
    assert pki.ca_pem.read_bytes() == ca
    assert hosts_of(pki.coordinator_pem) == HOSTS
    assert timedelta(days=99) < expiry(pki.coordinator_pem) - datetime.now(UTC) <= timedelta(days=100)
    assert (pki.folder / "coordinator.key.previous").read_bytes() == key
    assert (pki.folder / "coordinator.pem.previous").read_bytes() == certificate
    assert (
        load_key(pki.coordinator_key).private_numbers()
        != load_key(pki.folder / "coordinator.key.previous").private_numbers()
    )
    assert pki.check() == []
    assert shake_hands(pki, pki.ca_pem, "localhost") == b"welcome"


def test_renewal_takes_exactly_the_names_that_are_given(pki: Pki) -> None:
    pki.renew(Hosts(("New.Example.org",), ("10.1.2.3",)))
    assert hosts_of(pki.coordinator_pem) == Hosts(("new.example.org",), ("10.1.2.3",))
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(pki, pki.ca_pem, "localhost")


def test_a_certificate_never_outlives_its_ca_and_an_expired_ca_issues_none(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    pki = Pki.create(tmp_path / "pki", "baltic", HOSTS, now=now - timedelta(days=CA_DAYS - 10))
    pki.renew()
    assert expiry(pki.coordinator_pem) == expiry(pki.ca_pem)
    with pytest.raises(TrustError, match=r"ca\.pem: expired on"):
        pki.renew(now=now + timedelta(days=11))


def test_an_interrupted_renewal_is_found_and_mended_by_another(pki: Pki) -> None:
    pki.renew()
    aside = (pki.folder / "coordinator.key.previous").read_bytes()
    write_secret(pki.coordinator_key, private_pem(new_key()), replace=True)
    assert [finding.severity for finding in pki.check()] == ["error"]
    pki.renew()
    assert pki.check() == []
    assert (pki.folder / "coordinator.key.previous").read_bytes() == aside


def test_what_is_well_has_no_findings(made: Pki) -> None:
    assert made.check() == []


def test_an_expiry_that_is_near_is_a_warning_and_one_that_has_passed_an_error(made: Pki) -> None:
    end = expiry(made.coordinator_pem)
    assert made.check(end - timedelta(days=30, seconds=1)) == []
    (finding,) = made.check(end - timedelta(days=12, hours=1))
    assert finding.severity == "warning"
    assert f"coordinator.pem: expires on {end.date()}, in 12 days. Run `fraudfl pki renew`" in finding.text
    (finding,) = made.check(end)
    assert finding.severity == "error"
    assert f"coordinator.pem: expired on {end.date()}; banks refuse it. Run `fraudfl pki renew`" in finding.text
    assert any("ca.pem: expired on" in finding.text for finding in made.check(expiry(made.ca_pem)))


@pytest.mark.parametrize("name", [*KEYS, "coordinator.key.previous"])
def test_a_key_that_others_may_read_is_found(pki: Pki, name: str) -> None:
    pki.renew()
    (pki.folder / name).chmod(0o640)
    findings = pki.check()
    assert [finding.severity for finding in findings] == ["error"]
    assert f"{name}: mode 0640 lets other users at this key" in findings[0].text


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("ca.key", r"ca\.key: does not fit the certificate .*ca\.pem; restore both"),
        ("coordinator.key", r"coordinator\.key: does not fit the certificate .*; run `fraudfl pki renew`"),
        ("operator.key", r"operator\.key: does not fit .*operator\.pub; restore both"),
    ],
)
def test_a_key_that_does_not_fit_is_found(pki: Pki, name: str, problem: str) -> None:
    write_secret(pki.folder / name, private_pem(new_key()), replace=True)
    (finding,) = pki.check()
    assert finding.severity == "error"
    assert re.search(problem, finding.text)


@pytest.mark.parametrize("name", [*KEYS, "ca.pem", "coordinator.pem", "operator.pub", "roster.json"])
def test_a_file_that_is_missing_or_damaged_is_found_by_name(pki: Pki, name: str) -> None:
    path = pki.folder / name
    kept = path.read_bytes()
    path.write_bytes(b"\xff" + kept[1:])
    assert any(finding.severity == "error" and f"/{name}" in finding.text for finding in pki.check())
    path.unlink()
    found = [finding for finding in pki.check() if f"/{name}: cannot be read" in finding.text]
    assert len(found) == 1, "each problem is said once"


def test_a_certificate_by_another_ca_is_found(pki: Pki, tmp_path: Path) -> None:
    other = Pki.create(tmp_path / "other", "baltic", HOSTS)
    for name in ("coordinator.pem", "coordinator.key"):
        shutil.copy(other.folder / name, pki.folder / name)
    (finding,) = pki.check()
    assert finding == Finding("error", f"{pki.coordinator_pem}: not issued by {pki.ca_pem}; run `fraudfl pki renew`")


def test_banks_come_change_keys_and_go_and_the_roster_on_disk_verifies(pki: Pki) -> None:
    first, second, lost = (make_enrolment(new_key(), bank) for bank in ("north", "south", "north"))
    assert pki.add(lost).number == 2
    pki.add(second)
    pki.replace(first)
    roster = read_roster(pki.roster_file, public_text(load_key(pki.operator_key)))
    assert roster == pki.roster()
    assert (roster.consortium, roster.number) == ("baltic", 4)
    assert {entry.bank: entry.public_key for entry in roster.members} == {
        "north": first.public_key,
        "south": second.public_key,
    }
    pki.remove("south")
    with pytest.raises(TrustError, match="was removed from the roster"):
        pki.add(second)
    with pytest.raises(TrustError, match="was removed from the roster"):
        pki.replace(lost)
    assert pki.add(second, again=True).number == 6
    assert [entry.bank for entry in pki.roster().members] == ["north", "south"]


def test_no_bank_is_lost_when_several_commands_run_at_once(pki: Pki) -> None:
    requests = [make_enrolment(new_key(), f"bank-{number}") for number in range(8)]
    threads = [threading.Thread(target=pki.add, args=(request,)) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    roster = pki.roster()
    assert sorted(entry.bank for entry in roster.members) == [request.bank for request in requests]
    assert roster.number == 9


def test_a_roster_by_another_operator_is_neither_read_nor_changed(pki: Pki, tmp_path: Path) -> None:
    other = Pki.create(tmp_path / "other", "baltic", HOSTS)
    shutil.copy(other.roster_file, pki.roster_file)
    request = make_enrolment(new_key(), "north")
    with pytest.raises(TrustError, match="not by this consortium's operator"):
        pki.add(request)
    assert pki.roster_file.read_bytes() == other.roster_file.read_bytes()


def test_a_kit_holds_what_a_bank_needs_and_nothing_secret(pki: Pki, tmp_path: Path) -> None:
    pki.add(make_enrolment(new_key(), "north"))
    pki.write_kit(tmp_path / "kit")
    kit = {path.name: path.read_text() for path in (tmp_path / "kit").iterdir()}
    assert sorted(kit) == ["ca.pem", "coordinator.json", "operator.pub", "roster.json"]
    assert not any("PRIVATE" in text for text in kit.values())
    operator = kit["operator.pub"].strip()
    place = check_place(kit["coordinator.json"].encode(), kit["ca.pem"].encode(), operator, "kit")
    assert (place.consortium, place.address) == ("baltic", "localhost:9092")
    assert read_roster(tmp_path / "kit" / "roster.json", operator).members[0].bank == "north"
    assert shake_hands(pki, tmp_path / "kit" / "ca.pem", "localhost") == b"welcome"


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("Coordinator.example.org", "coordinator.example.org:443"),
        ("127.0.0.1", "127.0.0.1:443"),
        ("0:0::1", "[::1]:443"),
    ],
)
def test_a_kit_names_the_host_that_is_asked_for(made: Pki, tmp_path: Path, host: str, address: str) -> None:
    made.write_kit(tmp_path, host, 443)
    assert json.loads((tmp_path / "coordinator.json").read_text())["address"] == address


def test_a_kit_for_a_host_that_the_certificate_is_not_for_is_refused(made: Pki, tmp_path: Path) -> None:
    with pytest.raises(TrustError, match=r"is for localhost, .* not for evil\.example\.org"):
        made.write_kit(tmp_path / "kit", "evil.example.org")
    assert not (tmp_path / "kit").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(TrustError, match="choose another --out"):
        made.write_kit(tmp_path / "file")
