"""The access file: where people sign in, and who has which role."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Self
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, Field, model_validator

from fraudfl.access.roles import Reader, Role
from fraudfl.config_file import load_yaml
from fraudfl.errors import TrustError
from fraudfl.frozen import Frozen, Name
from fraudfl.trust.keys import read_secret

CALLBACK: Final = "/oauth2callback"
"""Where an issuer sends people back to."""
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_SHORTEST_COOKIE_SECRET = 32


def _safe(address: str) -> str:
    """An address over TLS; without it on this machine alone."""
    parts = urlsplit(address)
    if parts.hostname and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)):
        return address
    raise ValueError("expected an https address (http only on 127.0.0.1, for trying out)")


def _back(address: str) -> str:
    if urlsplit(address).path != CALLBACK:
        raise ValueError(f"expected the dashboard's own address with the path {CALLBACK}")
    return address


Address = Annotated[str, AfterValidator(_safe)]


class OidcConfig(Frozen):
    """The issuer that people sign in with.

    Attributes:
        metadata_url: The issuer's `…/.well-known/openid-configuration`.
        client_id: This dashboard's name at the issuer.
        secrets: File with mode 0600 that holds `client_secret` and, so that sessions outlive a restart,
            `cookie_secret`; a relative path starts at the access file.
        redirect_uri: The dashboard's address as people see it, with the path `/oauth2callback`.
        group_claim: The claim that lists a person's groups.
        session_hours: After so many hours everybody signs in anew.
    """

    metadata_url: Address
    client_id: str = Field(min_length=1)
    secrets: Path
    redirect_uri: Annotated[Address, AfterValidator(_back)]
    group_claim: str = Field(default="groups", min_length=1)
    session_hours: float = Field(default=8, gt=0, le=720)


class Grant(Frozen):
    """Who has a role: one person or one group.

    Attributes:
        email: Of a person, as the issuer verified it.
        group: As the issuer names it.
        bank: Those people are of this one bank and see no other bank's figures.
    """

    email: str | None = Field(default=None, pattern=r"^[^@\s]+@[^@\s]+$")
    group: str | None = Field(default=None, min_length=1)
    role: Role
    bank: Name | None = None

    @model_validator(mode="after")
    def _is_clear(self) -> Self:
        if (self.email is None) == (self.group is None):
            raise ValueError("give either `email` or `group`")
        if self.bank is not None and self.role == "operator":
            raise ValueError("an operator is the consortium's; people of one bank are viewer, analyst or compliance")
        return self


class AccessConfig(Frozen):
    """Who may look at a dashboard.

    Attributes:
        oidc: Where people sign in.
        contact: Whom people ask who have no role.
        people: Who has which role; the first line that fits a person counts.
    """

    oidc: OidcConfig
    contact: str = Field(min_length=1)
    people: tuple[Grant, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_each_once(self) -> Self:
        seen: set[tuple[str, str]] = set()
        for one in self.people:
            name = ("email", one.email.casefold()) if one.email is not None else ("group", str(one.group))
            if name in seen:
                raise ValueError(f"{name[1]!r} is given twice; nobody has two roles")
            seen.add(name)
        return self

    def reader(self, claims: Mapping[str, Any]) -> Reader | None:
        """Who somebody is, by what the issuer claims of them; None for people without a role.

        Args:
            claims: Of a checked ID token. An e-mail address counts only when the issuer verified it.
        """
        verified = claims.get("email_verified") is True
        email = str(claims.get("email", "")).casefold() if verified else ""
        groups = claims.get(self.oidc.group_claim)
        listed: Collection[Any] = groups if isinstance(groups, list | tuple) else [groups]
        for one in self.people:
            fits = one.email.casefold() == email if one.email is not None else one.group in listed
            if fits:
                return Reader(one.role, name_of(claims), one.bank or "")
        return None


def name_of(claims: Mapping[str, Any]) -> str:
    """How a person is written down: the name with the verified address, or with the issuer's own identifier."""
    name = str(claims.get("name") or claims.get("preferred_username") or "").strip()
    address = claims.get("email") if claims.get("email_verified") is True else None
    known_as = str(address or claims.get("sub") or "").strip()
    # What is written down is one line.
    return " ".join((f"{name} ({known_as})" if name else known_as).split())


@dataclass(frozen=True, repr=False)
class OidcSecrets:
    """What a client of an issuer keeps to itself.

    Attributes:
        cookie: Signs the cookies of sessions; empty for a fresh one at each start.
    """

    client: str
    cookie: str = ""


def read_access(path: Path) -> AccessConfig:
    """Read and check an access file; relative paths in it start at the file.

    Raises:
        ConfigError: naming file, line and key path of everything that is wrong.
    """

    def anchored(facts: dict[str, Any]) -> None:
        oidc = facts.get("oidc")
        if isinstance(oidc, dict) and isinstance(oidc.get("secrets"), str):
            oidc["secrets"] = str(path.resolve().parent / Path(oidc["secrets"]).expanduser())

    return load_yaml(path, AccessConfig, anchored)


def read_secrets(path: Path) -> OidcSecrets:
    """Read a client's secrets; a message never quotes one.

    Raises:
        TrustError: when the file is missing, open to other users, or not as expected.
    """
    try:
        facts = yaml.safe_load(read_secret(path))
    except (yaml.YAMLError, UnicodeDecodeError):
        # The cause is left out: it would quote the secret.
        raise TrustError(
            f"{path}: not valid YAML; expected `client_secret:` and, if wanted, `cookie_secret:`"
        ) from None
    if not isinstance(facts, dict) or not {"client_secret"} <= {*facts} <= {"client_secret", "cookie_secret"}:
        raise TrustError(f"{path}: expected the key `client_secret` and, if wanted, `cookie_secret`, and no other")
    client, cookie = facts["client_secret"], facts.get("cookie_secret", "")
    if not isinstance(client, str) or not client:
        raise TrustError(f"{path}: client_secret: expected text; put it into quotation marks")
    if not isinstance(cookie, str) or (cookie and len(cookie) < _SHORTEST_COOKIE_SECRET):
        raise TrustError(f"{path}: cookie_secret: expected at least {_SHORTEST_COOKIE_SECRET} random characters")
    return OidcSecrets(client, cookie)
