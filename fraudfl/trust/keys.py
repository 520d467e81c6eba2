"""Long-term keys: how they are made and kept, and the records that are signed with them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import secrets
import stat
from abc import abstractmethod
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, ClassVar, Self, TypeVar

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import AfterValidator, ValidationError

from fraudfl.config import Frozen
from fraudfl.errors import TrustError
from fraudfl.trust.proven import Proven

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey

# Flower's node authentication takes keys of this curve.
_CURVE = ec.SECP384R1
_KEY_TYPE = "ecdsa-sha2-nistp384"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_PURPOSE = re.compile(r"[a-z0-9][a-z0-9-]*")
_proven = Proven()


def make_key(path: Path) -> PrivateKey:
    """Make a private key and keep it, unencrypted, in a new file that only its owner may read.

    Args:
        path: The file to make; missing folders above it are made with mode 0700.

    Raises:
        TrustError: when the file is there already (it is never overwritten), or cannot be written.
    """
    key = new_key()
    write_secret(path, private_pem(key))
    return key


def new_key() -> PrivateKey:
    """A fresh private key, in memory only."""
    return ec.generate_private_key(_CURVE())


def load_key(path: Path) -> PrivateKey:
    """Read a private key.

    Raises:
        TrustError: when it is missing, open to other users, damaged, encrypted, or of another kind.
    """
    pem = read_secret(path)
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise TrustError(f"{path}: the key is encrypted; expected a PEM key without a passphrase") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TrustError(f"{path}: not a private key in PEM; restore it from a backup") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, _CURVE):
        raise TrustError(f"{path}: found a {_kind(key)} key; expected ECDSA on P-384. Make one with fraudfl")
    return key


def private_pem(key: PrivateKey) -> bytes:
    """The key as PEM (PKCS8, unencrypted)."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write_secret(path: Path, data: bytes, *, replace: bool = False) -> None:
    """Write a file with mode 0600, whole or not at all, and durably.

    Raises:
        TrustError: when the file is there and may not be replaced, or cannot be written.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            _write_new(part, data)
            _put(part, path, replace=replace)
        finally:
            part.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise TrustError(f"{path}: cannot be written ({error.strerror}); check the folder's owner and mode") from error


def public_text(key: PrivateKey) -> str:
    """The key's public half as one line of OpenSSH: `ecdsa-sha2-nistp384 AAAA…`, without a comment."""
    return _spell(key.public_key())


@lru_cache(maxsize=4096)
def public_from_text(text: str) -> PublicKey:
    """Read a public key.

    Raises:
        TrustError: when it is not exactly the line that `public_text` writes, so that one key has one spelling.
    """
    if text.split(" ")[0] != _KEY_TYPE:
        raise TrustError(f"not a public key of the right kind: found {text[:60]!r}; expected `{_KEY_TYPE} AAAA…`")
    try:
        key = serialization.load_ssh_public_key(text.encode("ascii"))
    except (ValueError, UnsupportedAlgorithm, NotImplementedError) as error:
        # Not implemented are compressed points, which `public_text` never writes.
        raise TrustError(f"not a public key: found {text[:60]!r}; expected `{_KEY_TYPE} AAAA…`") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or _spell(key) != text:
        raise TrustError(f"a public key must be one line `{_KEY_TYPE} AAAA…` without a comment; found {text[:60]!r}")
    return key


def fingerprint(text: str) -> str:
    """What people compare by telephone: `SHA256:…` of a public key, as `ssh-keygen -l` prints it."""
    public_from_text(text)
    digest = hashlib.sha256(base64.b64decode(text.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def sign(key: PrivateKey, purpose: str, data: bytes) -> str:
    """Sign data for one purpose; the signature is worth nothing for another.

    Args:
        key: Who signs.
        purpose: What kind of record it is: lower-case letters, digits and hyphens.
        data: What is signed.

    Returns:
        ECDSA with SHA-384 in DER, as base64.
    """
    return base64.b64encode(key.sign(_separated(purpose, data), ec.ECDSA(hashes.SHA384()))).decode()


def verify(public: str, purpose: str, data: bytes, signature: str) -> None:
    """Check a signature made by `sign`; raises TrustError when it is not by this key, for this purpose and data."""
    key, signed = public_from_text(public), _separated(purpose, data)
    try:
        # The same rosters, keys and approvals are met with each request.
        if _proven.holds(public.encode(), signed, signature.encode("ascii")):
            return
        raw = base64.b64decode(signature.encode("ascii"), validate=True)
        if base64.b64encode(raw).decode() != signature:
            raise ValueError("base64 with stray bits at its end")
        key.verify(raw, signed, ec.ECDSA(hashes.SHA384()))
    except (InvalidSignature, ValueError) as error:
        raise TrustError(
            f"the {purpose}'s signature is not by {fingerprint(public)}: the content was altered, or another key signed"
        ) from error
    _proven.note(public.encode(), signed, signature.encode("ascii"))


def now_text(now: datetime | None = None) -> str:
    """A moment (now, when none is given) as a record spells it: ISO 8601, UTC, whole seconds."""
    return (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")


def _is_time(text: str) -> str:
    # Parsed in its own zone only: arithmetic at the ends of the calendar would overflow.
    moment = datetime.fromisoformat(text)
    if moment.tzinfo != UTC or moment.isoformat(timespec="seconds") != text:
        raise ValueError("expected ISO 8601 in UTC, such as 2025-01-31T09:00:00+00:00")
    return text


def _is_public(text: str) -> str:
    try:
        public_from_text(text)
    except TrustError as error:
        raise ValueError(str(error)) from error
    return text


UtcTime = Annotated[str, AfterValidator(_is_time)]
PublicText = Annotated[str, AfterValidator(_is_public)]


class Signed(Frozen):
    """A record that carries a signature over the rest of its canonical JSON.

    Attributes:
        signature: Base64, as `sign` makes it; empty only before signing.
    """

    purpose: ClassVar[str]

    signature: str = ""

    @property
    @abstractmethod
    def signer(self) -> str:
        """Public key of who must have signed."""

    def to_bytes(self) -> bytes:
        """The record's one spelling: canonical JSON with sorted keys and no spaces."""
        return canonical(self.model_dump(mode="json"))

    def signed_by(self, key: PrivateKey) -> Self:
        """The same record with its signature."""
        return self.model_copy(update={"signature": sign(key, self.purpose, self._without_signature())})

    def verify(self) -> None:
        """Raise TrustError unless the signer signed exactly this."""
        verify(self.signer, self.purpose, self._without_signature(), self.signature)

    def _without_signature(self) -> bytes:
        return canonical(self.model_dump(mode="json", exclude={"signature"}))


SignedRecord = TypeVar("SignedRecord", bound=Signed)


def parse_signed(data: bytes, kind: type[SignedRecord], origin: str) -> SignedRecord:
    """Read a signed record and check its spelling and its signature.

    Args:
        data: The record's bytes; a line end that mail or an editor added is overlooked.
        kind: What it should be.
        origin: File or sender, for messages.

    Raises:
        TrustError: naming origin and field.
    """
    try:
        record = kind.model_validate_json(data)
    except ValidationError as error:
        raise TrustError(f"{origin}: {_explain(error, kind.purpose)}") from error
    if data not in (record.to_bytes() + end for end in (b"", b"\n", b"\r\n")):
        raise TrustError(f"{origin}: this {kind.purpose} was edited or reformatted; get it again from who made it")
    try:
        record.verify()
    except TrustError as error:
        raise TrustError(f"{origin}: {error}. Get it again from who made it") from error
    return record


def read_signed(path: Path, kind: type[SignedRecord]) -> SignedRecord:
    """Read a signed record from a file; raises TrustError as `parse_signed` does."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TrustError(f"{path}: cannot be read ({error.strerror}); expected a signed {kind.purpose}") from error
    return parse_signed(data, kind, str(path))


def _explain(error: ValidationError, purpose: str) -> str:
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "json_invalid":
        return f"not JSON ({message}); expected a signed {purpose}. Get it again from who made it"
    if field == "version":
        return (
            f"version {problem['input']!r} of this {purpose} is not known here; bring both sides to one fraudfl version"
        )
    found = "" if isinstance(problem["input"], dict | list) else f"found {str(problem['input'])[:80]!r}; "
    return f"no valid {purpose}: {f'{field}: ' if field else ''}{found}{message}. Get it again from who made it"


def canonical(facts: object) -> bytes:
    """The one spelling of facts that are signed: JSON with sorted keys and no spaces."""
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _separated(purpose: str, data: bytes) -> bytes:
    if not _PURPOSE.fullmatch(purpose):
        raise TrustError(f"purpose {purpose!r}: expected lower-case letters, digits and hyphens")
    return b"fraudfl/" + purpose.encode() + b"\0" + data


def _spell(key: PublicKey) -> str:
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def _kind(key: object) -> str:
    return key.curve.name if isinstance(key, ec.EllipticCurvePrivateKey) else type(key).__name__.strip("_")


def read_secret(path: Path) -> bytes:
    """Read a file that holds a secret; raises TrustError when it is missing, or open to other users."""
    try:
        with path.open("rb") as file:
            # Asked of the open file, so that it cannot be another one by the time it is read.
            mode = os.fstat(file.fileno()).st_mode
            if mode & _OTHERS:
                raise TrustError(
                    f"{path}: mode {stat.S_IMODE(mode):04o} lets other users at this key; expected 0600. "
                    f"Run `chmod 600 {path}`, and replace the key if others may have read it"
                )
            return file.read()
    except OSError as error:
        raise TrustError(f"{path}: cannot be read ({error.strerror}); expected a private key there") from error


def _write_new(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _put(part: Path, path: Path, *, replace: bool) -> None:
    if replace:
        part.replace(path)
        return
    try:
        # Unlike a rename, a link never takes the place of a file that is there.
        path.hardlink_to(part)
    except FileExistsError as error:
        raise TrustError(f"{path}: exists already, and a key is never overwritten; move it away first") from error


def sync_folder(path: Path) -> None:
    """Bring a folder's list of files to the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
