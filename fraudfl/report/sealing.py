"""The signature over a report's three files, detached in `report.sig.json`: writing reports, and checking them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import AfterValidator, Field

from fraudfl.errors import TrustError
from fraudfl.folder import write_bytes
from fraudfl.report.facts import Report, Subject
from fraudfl.report.rendering import FILES, JSON, render
from fraudfl.trust.keys import (
    PrivateKey,
    PublicText,
    Signed,
    UtcTime,
    fingerprint,
    public_from_text,
    public_text,
    read_signed,
)

SEAL_FILE = "report.sig.json"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _all_three(files: dict[str, str]) -> dict[str, str]:
    if set(files) != set(FILES):
        raise ValueError(f"expected a digest of each of {', '.join(FILES)}, and of nothing else")
    return files


class Seal(Signed):
    """A signature over one privacy report.

    Attributes:
        report: The report's id.
        subject: Bank or consortium that it is about.
        at: When it was signed.
        files: SHA-256 (hex) of each of the three files.
        public_key: Who signs.
    """

    purpose: ClassVar[str] = "privacy-report"

    version: Literal[1] = 1
    report: str
    subject: str
    at: UtcTime
    files: Annotated[dict[str, Sha256], AfterValidator(_all_three)]
    public_key: PublicText

    @property
    def signer(self) -> str:
        """The key that signs."""
        return self.public_key


class ResultsSeal(Seal):
    """A signature over one report of results: it can be taken for no other's."""

    purpose: ClassVar[str] = "results-report"

    about: Literal["results"] = "results"


class Named(Protocol):
    """What every report says of itself."""

    @property
    def id(self) -> str:
        """Its name."""
        ...

    @property
    def made_at(self) -> str:
        """When it was made."""
        ...

    @property
    def signer(self) -> str:
        """Fingerprint of the key that signs; empty when there is none."""
        ...

    @property
    def subject(self) -> Subject:
        """Whom it is about."""
        ...


def write_report(report: Report, out: Path, key: PrivateKey | None) -> tuple[Path, ...]:
    """Write a privacy report; otherwise as `write_sealed`."""
    return write_sealed(report, render(report), out, key)


def write_sealed(
    report: Named, files: Mapping[str, bytes], out: Path, key: PrivateKey | None, kind: type[Seal] = Seal
) -> tuple[Path, ...]:
    """Write a report's three files and the signature over them; earlier ones in the folder are replaced.

    Args:
        files: As they were rendered, by name.
        out: The folder, made when there is none.
        key: Who signs; without one there is no signature, and the pages say so.
        kind: What the signature is for.

    Returns:
        What was written.

    Raises:
        TrustError: when the report names another signer than `key`, or the folder cannot be written.
    """
    named = fingerprint(public_text(key)) if key is not None else ""
    if report.signer != named:
        raise TrustError(f"the report names {report.signer or 'no key'} as its signer, and {named or 'none'} signs")
    try:
        out.mkdir(parents=True, exist_ok=True)
        # An older signature must never stand beside newer files.
        (out / SEAL_FILE).unlink(missing_ok=True)
        for name, data in files.items():
            write_bytes(out / name, data)
        if key is not None:
            write_bytes(out / SEAL_FILE, _seal(report, files, key, kind).to_bytes())
    except OSError as error:
        raise TrustError(f"{out}: the report cannot be written ({error.strerror}); choose another --out") from error
    return tuple(out / name for name in (*files, *([SEAL_FILE] if key is not None else [])))


def verify_report(folder: Path, known: Mapping[str, str]) -> Seal:
    """Check that a report's files are those that were signed, and by whom.

    Args:
        folder: With the three files and the signature.
        known: Keys to trust, public text to owner; when empty, only the files are checked against the signature, and
            whose key it is remains for the caller to ask.

    Raises:
        TrustError: naming the file that was changed or is missing, or the key that nobody knows here.
    """
    path = folder / SEAL_FILE
    if not path.exists():
        raise TrustError(f"{path}: there is no signature; the report was never signed, or the signature was taken away")
    seal = read_signed(path, ResultsSeal if _is_of_results(path) else Seal)
    signer = fingerprint(seal.public_key)
    if known and seal.public_key not in known:
        trusted = ", ".join(f"{owner} ({fingerprint(key)})" for key, owner in known.items())
        raise TrustError(f"{path}: signed by the unknown key {signer}; expected {trusted}. Do not rely on this report")
    contents = {name: _read(folder / name) for name in FILES}
    for name, data in contents.items():
        found = hashlib.sha256(data).hexdigest()
        if found != seal.files[name]:
            raise TrustError(
                f"{folder / name}: was changed after it was signed: SHA-256 is {found}, signed was {seal.files[name]}"
            )
    _refuse_misfit(folder / JSON, contents[JSON], seal, signer)
    return seal


def read_public(path: Path) -> str:
    """Read a public key file, one line as `public_text` writes it; raises TrustError when it holds none."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise TrustError(f"{path}: cannot be read ({error}); expected a public key") from error
    try:
        public_from_text(text)
    except TrustError as error:
        raise TrustError(f"{path}: {error}") from error
    return text


def _is_of_results(path: Path) -> bool:
    try:
        facts = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and "about" in facts


def _seal(report: Named, files: Mapping[str, bytes], key: PrivateKey, kind: type[Seal]) -> Seal:
    return kind(
        report=report.id,
        subject=report.subject.name,
        at=report.made_at,
        files={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        public_key=public_text(key),
    ).signed_by(key)


def _refuse_misfit(path: Path, data: bytes, seal: Seal, signer: str) -> None:
    """The pages name their signer and their subject; a seal by somebody else, or about something else, is no seal."""
    facts: dict[str, Any] = json.loads(data)
    found = (facts.get("id"), facts.get("signer"), facts.get("subject", {}).get("name"))
    if found != (seal.report, signer, seal.subject):
        raise TrustError(
            f"{path}: names report {found[0]!r} about {found[2]!r}, signed with {found[1]!r}; the signature is for "
            f"{seal.report!r} about {seal.subject!r}, with {signer!r}"
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TrustError(f"{path}: cannot be read ({error.strerror}); it is part of what was signed") from error
