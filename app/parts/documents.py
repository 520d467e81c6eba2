"""Reports as files: made by the command line, in a process of its own, and checked as it checks them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

import streamlit as st

from app.parts import deeds
from fraudfl.errors import RuntimeFailure, TrustError
from fraudfl.report.rendering import FILES
from fraudfl.report.sealing import SEAL_FILE, Seal, read_public, verify_report
from server.models.versions import Version
from server.store.workspace import Workspace

Kind = Literal["privacy", "results"]
MIME: Final[dict[str, str]] = {".pdf": "application/pdf", ".html": "text/html", ".json": "application/json"}
NAMES: Final = (*FILES, SEAL_FILE)
"""The files of a report; the last is the signature over the others."""


def make(workspace: Workspace, kind: Kind) -> dict[str, bytes]:
    """Have the command write a report, and follow it; returns the report's files by name.

    Raises:
        AccessRefused: when the reader may make none.
        RuntimeFailure: with the command's own words when it fails, or another one is under way.
    """
    with TemporaryDirectory() as folder:
        arguments = ["report", kind, f"--out={folder}"]
        command = deeds.begin("make reports", workspace, f"Making the report ({kind})", arguments)
        try:
            deeds.follow(command)
        finally:
            # Whoever left the page wants no report any more.
            command.end()
        if command.code:
            raise RuntimeFailure(command.said())
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def offer_card(version: Version, text: str, label: str) -> None:
    """Offer a version's model card as a file."""
    st.download_button(
        label,
        text,
        f"MODEL_CARD-{version.number}.md",
        "text/markdown",
        key=f"card-{version.number}",
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
    )


def packed(files: Mapping[str, bytes]) -> bytes:
    """A ZIP file of them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def verify(files: Mapping[str, bytes], keys: Collection[Path]) -> Seal:
    """Check an uploaded report.

    Args:
        files: By name; others than a report's are refused.
        keys: Files of the public keys of which one must have signed; any may have when empty.

    Raises:
        TrustError: naming the file that was changed, is missing, or is none of a report's.
    """
    strange = sorted({*files} - {*NAMES})
    if strange:
        raise TrustError(f"{', '.join(strange)}: no file of a report; expected {', '.join(NAMES)}")
    with TemporaryDirectory() as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        try:
            return verify_report(Path(folder), {read_public(key): str(key) for key in keys})
        except TrustError as error:
            raise TrustError(str(error).replace(f"{folder}/", "")) from error
