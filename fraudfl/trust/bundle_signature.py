"""The operator's signature on a bundle: which version of the consortium's model its files are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from fraudfl.config import Name
from fraudfl.errors import TrustError
from fraudfl.folder import write_bytes
from fraudfl.trust.keys import PrivateKey, PublicText, Signed, UtcTime, now_text, public_text, read_signed

SIGNATURE_FILE: Final = "bundle.sig.json"
"""In the bundle's folder; no part of its digest."""

_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class BundleSignature(Signed):
    """The operator vouches for one bundle.

    Attributes:
        consortium: Whose model it is.
        number: Its version in the consortium's registry.
        digest: The bundle's own digest, which covers each of its files.
        plan_hash: Of the phase that made it.
        at: When it was signed.
        operator: Public key of the consortium's operator, who signs.
    """

    purpose: ClassVar[str] = "bundle"

    version: Literal[1] = 1
    consortium: Name
    number: int = Field(ge=1, lt=2**53)
    digest: _Digest
    plan_hash: _Digest
    at: UtcTime
    operator: PublicText

    @property
    def signer(self) -> str:
        """The operator."""
        return self.operator


def sign_bundle(
    folder: Path, key: PrivateKey, *, consortium: str, number: int, digest: str, plan_hash: str
) -> BundleSignature:
    """Sign a bundle, and leave the signature in its folder in place of any other.

    Args:
        folder: The bundle's; its files were checked against `digest` by whoever calls.
        key: The operator's.
        consortium: Whose model it is.
        number: The registry's version.
        digest: The bundle's.
        plan_hash: Of the phase that made it.
    """
    signature = BundleSignature(
        consortium=consortium,
        number=number,
        digest=digest,
        plan_hash=plan_hash,
        at=now_text(),
        operator=public_text(key),
    ).signed_by(key)
    write_bytes(folder / SIGNATURE_FILE, signature.to_bytes())
    return signature


def find_signature(folder: Path, digest: str) -> BundleSignature | None:
    """The signature beside a bundle, or None where there is none. Whose key signed, the caller must compare.

    Args:
        folder: The bundle's.
        digest: As its files have it.

    Raises:
        TrustError: when there is one, and it was altered or is another bundle's.
    """
    path = folder / SIGNATURE_FILE
    if not path.exists():
        return None
    signature = read_signed(path, BundleSignature)
    if signature.digest != digest:
        raise TrustError(
            f"{path}: is the signature of bundle {signature.digest[:12]}…, found {digest[:12]}… beside it; the files "
            "were changed or mixed up. Get the bundle again from the operator"
        )
    return signature


def check_signature(folder: Path, digest: str, operator: str) -> BundleSignature:
    """Demand the signature of one operator.

    Args:
        folder: The bundle's.
        digest: As its files have it.
        operator: Public key that must have signed: the one that a bank pinned.

    Raises:
        TrustError: when there is none, it was altered, is another bundle's, or another key made it.
    """
    signature = find_signature(folder, digest)
    if signature is None:
        raise TrustError(
            f"{folder / SIGNATURE_FILE}: is missing, so nobody vouches for this bundle; it is not used. Ask the "
            "operator for one made with `fraudfl models export`"
        )
    if signature.operator != operator:
        raise TrustError(
            f"{folder / SIGNATURE_FILE}: is signed by another key than this consortium's operator; it is not used"
        )
    return signature
