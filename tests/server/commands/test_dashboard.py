"""`fraudfl dashboard`: who may be let in, and where the login's secrets are."""

from __future__ import annotations

import json
import stat
import tomllib
from contextlib import ExitStack
from pathlib import Path

import pytest

from fraudfl.errors import ConfigError, TrustError
from server.commands.dashboard import dashboard
from server.commands.login import prepare_login

ACCESS = """
oidc:
  metadata_url: https://login.example.org/.well-known/openid-configuration
  client_id: fraudfl
  secrets: oidc.yaml
  redirect_uri: https://fraud.example.org/oauth2callback
contact: desk@example.org
people: [{group: staff, role: viewer}]
"""
SECRET = 'quote " and \\ and é'


@pytest.fixture
def access(tmp_path: Path) -> Path:
    secret = tmp_path / "oidc.yaml"
    secret.write_text(f"client_secret: {json.dumps(SECRET)}\n")
    secret.chmod(0o600)
    path = tmp_path / "access.yaml"
    path.write_text(ACCESS)
    return path


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1", "fraud.example.org", ""])
def test_without_a_login_it_listens_on_this_machine_alone(address: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--address .*: without --access nobody signs in"):
        dashboard(tmp_path, address=address)


def test_a_bank_that_no_phase_asked_is_refused(tmp_path: Path) -> None:
    phase = tmp_path / "coordinator" / "phases" / "pilot"
    phase.mkdir(parents=True)
    (phase / "roster.json").write_text('{"banks": ["north", "south"]}')
    with pytest.raises(ConfigError, match=r"^--bank east: no phase of .* asked a bank of that name"):
        dashboard(tmp_path, bank="east")


def test_a_bank_and_a_login_exclude_each_other(access: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the access file says who is of which bank"):
        dashboard(tmp_path, access=access, bank="north")


def test_the_logins_secrets_are_in_a_private_file_while_it_runs(access: Path) -> None:
    with ExitStack() as running:
        found = prepare_login(access, running)
        file = Path(found.settings["secrets.files"])
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        told = tomllib.loads(file.read_text())["auth"]
        assert told["client_secret"] == SECRET
        assert len(told["cookie_secret"]) >= 32
        assert not any(SECRET in one or told["cookie_secret"] in one for one in found.settings.values())
        assert found.where == "https://fraud.example.org"
    assert not file.parent.exists()


def test_two_starts_sign_their_cookies_with_different_secrets(access: Path) -> None:
    with ExitStack() as running:
        files = [Path(prepare_login(access, running).settings["secrets.files"]) for _ in range(2)]
        assert len({tomllib.loads(file.read_text())["auth"]["cookie_secret"] for file in files}) == 2


def test_secrets_that_others_can_read_stop_the_start(access: Path) -> None:
    (access.parent / "oidc.yaml").chmod(0o644)
    with ExitStack() as running, pytest.raises(TrustError, match=r"oidc\.yaml: mode 0644"):
        prepare_login(access, running)
