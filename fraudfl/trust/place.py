"""Where the coordinator is, and which CA vouches for it, as the consortium's operator signs it for the banks."""

from __future__ import annotations

import hashlib
from typing import ClassVar, Literal

from pydantic import Field

from fraudfl.config import Name
from fraudfl.config_coordinator import Address
from fraudfl.errors import TrustError
from fraudfl.trust.keys import PrivateKey, PublicText, Signed, parse_signed, public_text


class Place(Signed):
    """The coordinator's place.

    Attributes:
        address: `host:port` for banks.
        ca: SHA-256 (hex) of the CA's certificate file that comes with it.
        operator: Who signs.
    """

    purpose: ClassVar[str] = "place"

    version: Literal[1] = 1
    consortium: Name
    address: Address
    ca: str = Field(pattern=r"^[0-9a-f]{64}$")
    operator: PublicText

    @property
    def signer(self) -> str:
        """The operator."""
        return self.operator


def sign_place(key: PrivateKey, consortium: str, address: str, ca: bytes) -> Place:
    """Say where the coordinator is; `ca` are the bytes of the CA's certificate file."""
    place = Place(consortium=consortium, address=address, ca=hashlib.sha256(ca).hexdigest(), operator=public_text(key))
    return place.signed_by(key)


def check_place(data: bytes, ca: bytes, operator: str, origin: str) -> Place:
    """Read a place and check that the operator signed it, with this CA.

    Raises:
        TrustError: naming `origin`.
    """
    place = parse_signed(data, Place, origin)
    if place.operator != operator:
        raise TrustError(f"{origin}: is signed by another operator than the roster's; get the kit again")
    if place.ca != hashlib.sha256(ca).hexdigest():
        raise TrustError(f"{origin}: vouches for another CA than the ca.pem beside it; get the kit again")
    return place
