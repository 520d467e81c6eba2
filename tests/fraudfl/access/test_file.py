"""The access file: what it gives, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fraudfl.access.file import AccessConfig, read_access, read_secrets
from fraudfl.access.roles import Reader
from fraudfl.errors import ConfigError, TrustError

FILE = """
oidc:
  metadata_url: https://login.example.org/.well-known/openid-configuration
  client_id: fraudfl
  secrets: oidc.yaml
  redirect_uri: https://fraud.example.org/oauth2callback
contact: desk@example.org
people:
  - {email: Ana@North.example, role: analyst, bank: north}
  - {group: operators, role: operator}
  - {group: staff, role: viewer}
"""


@pytest.fixture
def access(tmp_path: Path) -> AccessConfig:
    return read(tmp_path, FILE)


def read(folder: Path, text: str) -> AccessConfig:
    path = folder / "access.yaml"
    path.write_text(text)
    return read_access(path)


def test_paths_start_at_the_file(access: AccessConfig, tmp_path: Path) -> None:
    assert access.oidc.secrets == tmp_path / "oidc.yaml"


def test_a_person_is_known_by_a_verified_address_in_any_case(access: AccessConfig) -> None:
    claims = {"email": "ana@north.EXAMPLE", "email_verified": True, "name": "Ana"}
    assert access.reader(claims) == Reader("analyst", "Ana (ana@north.EXAMPLE)", "north")


@pytest.mark.parametrize("verified", [False, None, "true", 1])
def test_an_address_that_is_not_verified_counts_for_nothing(access: AccessConfig, verified: object) -> None:
    assert access.reader({"email": "ana@north.example", "email_verified": verified, "sub": "7"}) is None


@pytest.mark.parametrize("groups", [["other", "operators"], ("operators",), "operators"])
def test_a_group_gives_its_role(access: AccessConfig, groups: object) -> None:
    assert access.reader({"sub": "7", "name": "O\nP", "groups": groups}) == Reader("operator", "O P (7)")


@pytest.mark.parametrize("claims", [{}, {"groups": "operators-not"}, {"groups": {"operators": 1}}, {"groups": None}])
def test_others_have_no_role(access: AccessConfig, claims: dict[str, Any]) -> None:
    assert access.reader({"sub": "7", **claims}) is None


def test_the_first_line_that_fits_counts(access: AccessConfig) -> None:
    found = access.reader({"groups": ["staff", "operators"], "sub": "7"})
    assert found is not None
    assert found.role == "operator"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("https://login", "http://login", r"line 3: oidc\.metadata_url: .*expected an https address"),
        ("oauth2callback", "back", r"line 6: oidc\.redirect_uri: .*/oauth2callback"),
        ("role: viewer", "role: owner", r"people\.2\.role: found 'owner'"),
        ("group: staff, ", "", r"line 11: people\.2: give either `email` or `group`"),
        ("group: staff, ", "group: operators, ", "'operators' is given twice"),
        ("role: operator", "role: operator, bank: north", r"people\.1: an operator is the consortium's"),
        ("contact: desk@example.org", "", "contact: this key is required"),
        ("client_id", "client", r"oidc\.client: found .fraudfl.; no such key"),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_key(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        read(tmp_path, FILE.replace(old, new))
    assert str(tmp_path / "access.yaml") in str(error.value)


def test_an_issuer_on_this_machine_needs_no_tls(tmp_path: Path) -> None:
    assert read(tmp_path, FILE.replace("https://login.example.org", "http://127.0.0.1:9"))


def secrets(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "oidc.yaml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_secrets_are_read_from_a_private_file(tmp_path: Path) -> None:
    found = read_secrets(secrets(tmp_path, f"client_secret: s3cret\ncookie_secret: {'c' * 32}\n"))
    assert (found.client, found.cookie) == ("s3cret", "c" * 32)
    assert "s3cret" not in repr(found)
    assert read_secrets(secrets(tmp_path, "client_secret: s3cret")).cookie == ""


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_secrets_that_others_can_read_are_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(TrustError, match=r"oidc\.yaml: mode 06.. .*0600"):
        read_secrets(secrets(tmp_path, "client_secret: s3cret", mode))


@pytest.mark.parametrize(
    "text",
    [
        "s3cret",
        "client_secret: [s3cret",
        "client_secret: s3cret\nmore: 1",
        "client_secret: 3735928559",
        "client_secret: s3cret\ncookie_secret: s3cret",
    ],
)
def test_what_is_wrong_with_secrets_is_said_without_them(tmp_path: Path, text: str) -> None:
    with pytest.raises(TrustError, match=r"oidc\.yaml") as error:
        read_secrets(secrets(tmp_path, text))
    assert "s3cret" not in str(error.value)
    assert "3735928559" not in str(error.value)
