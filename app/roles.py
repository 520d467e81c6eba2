"""Who the reader is, and what they may see and do: every page asks here, and every deed asks again where it is done."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import streamlit as st

from app.place import ACCESS, BANK
from fraudfl.access.file import AccessConfig, name_of, read_access
from fraudfl.access.roles import Deed, Reader
from fraudfl.errors import AccessRefused, FraudflError, NotSignedIn

_HOUR = 3600


def reader() -> Reader:
    """Who looks at the page: by the login where one is configured, else whoever sits at this machine.

    Raises:
        NotSignedIn: when nobody is signed in, or was so for too long.
        AccessRefused: when somebody is who has no role, or nobody can say.
    """
    file = os.environ.get(ACCESS)
    return _signed_in(_access(Path(file))) if file else _local()


def may(deed: Deed) -> bool:
    """Whether the reader may do something."""
    try:
        return reader().may(deed)
    except AccessRefused:
        return False


def demand(deed: Deed) -> Reader:
    """The reader, who may do this.

    Raises:
        AccessRefused: when they may not.
    """
    found = reader()
    found.demand(deed)
    return found


def banks_shown(banks: Iterable[str]) -> list[str]:
    """Those banks, in their order, of which the reader may see figures one by one.

    Rows pass here before anything is drawn of them, or offered as a file.
    """
    try:
        return reader().banks_shown(banks)
    except AccessRefused:
        return []


def _local() -> Reader:
    # None for this machine itself.
    if isinstance(st.context.ip_address, str):
        raise AccessRefused("nobody can sign in here, so it is shown on the machine it runs on alone")
    bank = os.environ.get(BANK, "")
    return Reader("analyst" if bank else "operator", bank=bank)


def _signed_in(access: AccessConfig) -> Reader:
    claims = st.user.to_dict()
    if not claims.get("is_logged_in"):
        raise NotSignedIn("Sign in to see what your role may see.")
    since = claims.get("iat")
    if not isinstance(since, int | float) or time.time() - since > access.oidc.session_hours * _HOUR:
        raise NotSignedIn("Your session has ended. Sign in again.")
    found = access.reader(claims)
    if found is None:
        raise AccessRefused(f"{name_of(claims)} has no role here. Ask {access.contact} for one.")
    return found


def _access(path: Path) -> AccessConfig:
    """The file as it is now; a role that was taken away counts from the next look on."""
    try:
        found = path.stat()
        return _read(path, found.st_mtime_ns, found.st_size)
    except (FraudflError, OSError) as error:
        # Whoever looks may be anybody: only the log says what is wrong.
        logging.getLogger(__name__).error("%s", error)
        raise AccessRefused(
            "Who may look cannot be told just now. Whoever runs this finds the cause in its log."
        ) from None


@lru_cache(maxsize=2)
def _read(path: Path, changed: int, size: int) -> AccessConfig:
    return read_access(path)
