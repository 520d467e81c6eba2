"""`fraudfl pki` and `fraudfl bank`: what they print, and how they end."""

from __future__ import annotations

import hashlib
import json
import re
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from fraudfl.errors import ConfigError, FraudflError, TrustError
from fraudfl.trust.enrolment import make_enrolment
from fraudfl.trust.keys import fingerprint, new_key
from server.commands.pki import bank_app, pki_app
from server.trust.certificates import Hosts, expiry
from server.trust.pki import Pki

Run = Callable[..., Result]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path / "w"


@pytest.fixture
def run(workspace: Path) -> Run:
    """The commands as the main program mounts them, in one workspace."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.add_typer(pki_app, name="pki")
    app.add_typer(bank_app, name="bank")

    def invoke(*words: str | Path) -> Result:
        return CliRunner().invoke(app, [*map(str, words), "--workspace", str(workspace)])

    return invoke


def enrol(folder: Path, bank: str) -> tuple[Path, str]:
    """A bank's request in a file, and its key's fingerprint."""
    request = make_enrolment(new_key(), bank)
    path = folder / f"{bank}-{fingerprint(request.public_key)[-6:-1].replace('/', '_')}.json"
    path.write_bytes(request.to_bytes())
    return path, fingerprint(request.public_key)


def refused(result: Result) -> FraudflError:
    assert isinstance(result.exception, FraudflError)
    return result.exception


def pki_of(workspace: Path) -> Pki:
    return Pki(workspace / "coordinator" / "pki")


def test_a_consortium_from_its_keys_to_its_banks_kit(run: Run, workspace: Path, tmp_path: Path) -> None:
    done = run("pki", "init", "--consortium", "baltic", "--name", "localhost", "--address", "127.0.0.1")
    assert done.exit_code == 0, done.output
    assert "for localhost, 127.0.0.1" in done.output
    assert fingerprint(pki_of(workspace).operator) in done.output
    north, north_print = enrol(tmp_path, "north")
    done = run("bank", "add", north)
    assert "bank north is on the roster, now number 2 with 1 bank" in done.output
    assert north_print in done.output
    renewed, new_print = enrol(tmp_path, "north")
    assert "a new key on the roster, now number 3" in run("bank", "replace", renewed).output
    south, south_print = enrol(tmp_path, "south-bank")
    assert "number 4 with 2 banks" in run("bank", "add", south).output
    assert "bank south-bank is off the roster, now number 5 with 1 bank" in run("bank", "remove", "south-bank").output
    listed = run("bank", "list").output.splitlines()
    assert listed[0].startswith("roster 5 of baltic, issued ")
    assert [re.split(r"\s+", line.strip())[i] for line in listed[1:] for i in (0, 1, 3)] == [
        *("north", "since", new_print),
        *("north", "removed", north_print),
        *("south-bank", "removed", south_print),
    ]
    done = run("pki", "kit", "--out", tmp_path / "kit", "--port", "443")
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "kit" / "coordinator.json").read_text())["address"] == "localhost:443"


def test_init_never_overwrites(run: Run, workspace: Path) -> None:
    assert run("pki", "init", "--consortium", "baltic", "--name", "localhost").exit_code == 0
    kept = pki_of(workspace).ca_pem.read_bytes()
    assert "holds keys already" in str(refused(run("pki", "init", "--consortium", "baltic", "--name", "localhost")))
    assert pki_of(workspace).ca_pem.read_bytes() == kept


@pytest.mark.parametrize(
    "words",
    [
        ("--consortium", "baltic"),
        ("--consortium", "The Baltic", "--name", "localhost"),
        ("--consortium", "baltic", "--name", "localhost:9092"),
        ("--consortium", "baltic", "--name", "localhost", "--days", "0"),
    ],
)
def test_wrong_options_are_configuration_errors_and_make_nothing(
    run: Run, workspace: Path, words: tuple[str, ...]
) -> None:
    assert isinstance(refused(run("pki", "init", *words)), ConfigError)
    assert not workspace.exists()


def test_init_without_a_consortium_is_wrong_usage(run: Run) -> None:
    assert run("pki", "init", "--name", "localhost").exit_code == 2


def test_show_says_names_expiry_and_fingerprints_and_ends_with_0(run: Run, workspace: Path) -> None:
    run("pki", "init", "--consortium", "baltic", "--name", "localhost", "--days", "90")
    done = run("pki", "show")
    assert done.exit_code == 0
    pki = pki_of(workspace)
    end = expiry(pki.coordinator_pem).date()
    assert re.search(rf"coordinator\.pem: \S+ to {end} for localhost$", done.output, re.MULTILINE)
    for path in (pki.ca_pem, pki.coordinator_pem):
        der = ssl.PEM_cert_to_DER_cert(path.read_text().split("-----END")[0] + "-----END CERTIFICATE-----\n")
        assert f"  SHA-256 {hashlib.sha256(der).digest().hex(':').upper()}\n" in done.output
    assert fingerprint(pki.operator) in done.output
    assert "roster.json: number 1" in done.output
    assert done.output.endswith("all is well\n")


def test_what_looks_like_an_emoji_or_markup_is_printed_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / ":AB: [red]w" / "coordinator" / "pki"
    Pki.create(folder, "baltic", Hosts(("localhost",)), days=5)
    done = CliRunner().invoke(pki_app, ["show", "-w", str(tmp_path / ":AB: [red]w")])
    assert f"in {folder}\n" in done.output
    assert f"warning: {folder}/coordinator.pem: expires on" in done.output


def test_show_warns_of_a_near_expiry_and_ends_with_0(run: Run) -> None:
    run("pki", "init", "--consortium", "baltic", "--name", "localhost", "--days", "20")
    done = run("pki", "show")
    assert done.exit_code == 0
    assert re.search(r"warning: \S*coordinator\.pem: expires on ", done.output)
    assert "all is well" not in done.output


def test_show_ends_with_1_when_a_certificate_has_expired_until_it_is_renewed(run: Run, workspace: Path) -> None:
    past = datetime.now(UTC) - timedelta(days=50)
    Pki.create(workspace / "coordinator" / "pki", "baltic", Hosts(("localhost",)), days=49, now=past)
    done = run("pki", "show")
    assert done.exit_code == 1
    assert re.search(r"error: \S*coordinator\.pem: expired on ", done.output)
    done = run("pki", "renew")
    assert done.exit_code == 0
    assert "renewed: localhost, until " in done.output
    assert run("pki", "show").exit_code == 0


def test_show_says_what_is_missing_and_shows_the_rest(run: Run, workspace: Path) -> None:
    run("pki", "init", "--consortium", "baltic", "--name", "localhost")
    pki_of(workspace).coordinator_pem.unlink()
    pki_of(workspace).ca_key.chmod(0o644)
    done = run("pki", "show")
    assert done.exit_code == 1
    assert re.search(r"error: \S*coordinator\.pem: cannot be read", done.output)
    assert re.search(r"error: \S*ca\.key: mode 0644", done.output)
    assert "ca.pem: " in done.output
    assert "roster.json: number 1" in done.output


def test_renew_takes_other_names(run: Run) -> None:
    run("pki", "init", "--consortium", "baltic", "--name", "localhost")
    done = run("pki", "renew", "--name", "a.example.org", "--address", "10.0.0.1", "--days", "9")
    assert "renewed: a.example.org, 10.0.0.1, until " in done.output


def test_every_command_says_when_there_are_no_keys_yet(run: Run, tmp_path: Path) -> None:
    request, _ = enrol(tmp_path, "north")
    for words in (
        ("pki", "show"),
        ("pki", "renew"),
        ("pki", "kit", "--out", tmp_path / "kit"),
        ("bank", "add", request),
        ("bank", "replace", request),
        ("bank", "remove", "north"),
        ("bank", "list"),
    ):
        assert "make them with `fraudfl pki init`" in str(refused(run(*words)))


def test_a_removed_key_needs_again(run: Run, tmp_path: Path) -> None:
    run("pki", "init", "--consortium", "baltic", "--name", "localhost")
    request, _ = enrol(tmp_path, "north")
    run("bank", "add", request)
    assert "use `fraudfl bank replace`" in str(refused(run("bank", "add", request)))
    run("bank", "remove", "north")
    assert isinstance(refused(run("bank", "add", request)), TrustError)
    assert "number 4" in run("bank", "add", request, "--again").output


def test_a_request_that_was_altered_is_refused_by_its_file_name(run: Run, tmp_path: Path) -> None:
    run("pki", "init", "--consortium", "baltic", "--name", "localhost")
    request, _ = enrol(tmp_path, "north")
    request.write_bytes(request.read_bytes().replace(b'"north"', b'"south"'))
    for command in ("add", "replace"):
        assert f"{request}: the enrolment's signature" in str(refused(run("bank", command, request)))
