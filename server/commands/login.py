"""What the dashboard's process needs so that people sign in: settings, and secrets in a private file while it runs."""

from __future__ import annotations

import json
import secrets
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from fraudfl.access.file import CALLBACK, AccessConfig, OidcSecrets, read_access, read_secrets
from fraudfl.errors import ConfigError
from fraudfl.trust.keys import write_secret


@dataclass(frozen=True)
class SigningIn:
    """How the pages' process lets people sign in.

    Attributes:
        settings: Of Streamlit; they name the file with the secrets and hold none.
        where: The address that people open.
    """

    settings: dict[str, str]
    where: str

    @property
    def host(self) -> str:
        """The name in that address."""
        return urlsplit(self.where).hostname or ""


def prepare_login(path: Path, until: ExitStack) -> SigningIn:
    """Check an access file, and write its secrets where Streamlit finds them.

    Args:
        until: What was written is removed when this closes.

    Raises:
        ConfigError: naming what is wrong with the file.
        TrustError: when its secrets are missing, open to others, or not as expected.
    """
    access = read_access(path)
    kept = read_secrets(access.oidc.secrets)
    if find_spec("authlib") is None:
        raise ConfigError(f"{path}: signing in needs Authlib; install it with `pip install 'fraudfl[app]'`")
    # Made with mode 0700; the file in it has 0600.
    file = Path(until.enter_context(TemporaryDirectory(prefix="fraudfl-login-"))) / "secrets.toml"
    write_secret(file, _toml(access, kept).encode())
    where = access.oidc.redirect_uri.removesuffix(CALLBACK)
    return SigningIn({"secrets.files": str(file)}, where)


def _toml(access: AccessConfig, kept: OidcSecrets) -> str:
    facts = {
        "redirect_uri": access.oidc.redirect_uri,
        "cookie_secret": kept.cookie or secrets.token_urlsafe(48),
        "client_id": access.oidc.client_id,
        "client_secret": kept.client,
        "server_metadata_url": access.oidc.metadata_url,
    }
    # TOML reads a JSON text as it is.
    return "[auth]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in facts.items())
