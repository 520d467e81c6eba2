"""Banks that left and were unlearned: the signed record of each, and what may not be used any more because of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fraudfl.errors import BundleError
from fraudfl.trust.departure import Departure
from fraudfl.trust.keys import now_text
from server.models.versions import Version
from server.store.workspace import Workspace, read_json, write_json
from server.trust.pki import Pki
from server.trust.signed_log import SignedLog

DEPARTURES_FILE = "departures.jsonl"
"""In the coordinator's folder."""
_EXPORTS_FILE = "exports.json"


class DepartureLog(SignedLog[Departure]):
    """The departures of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        """Name the workspace; nothing is read yet."""
        super().__init__(workspace, DEPARTURES_FILE, Departure, workspace.config().consortium.name)


def departures(workspace: Workspace) -> list[Departure]:
    """Every departure, oldest first, each checked; raises TrustError as `SignedLog.read` does."""
    return DepartureLog(workspace).read()


def gone(workspace: Workspace) -> tuple[str, ...]:
    """Banks that are not on the roster any more, sorted; none where there is no roster."""
    folder = workspace.coordinator / "pki"
    if not folder.exists():
        return ()
    roster = Pki(folder).roster()
    return tuple(sorted({one.bank for one in roster.removed} - {member.bank for member in roster.members}))


def closed(workspace: Workspace, phase: str) -> str:
    """Why a phase that began may not go on: it holds what a bank released that left; empty where it may.

    Raises:
        TrustError: when the record of departures was altered.
    """
    folder, records = workspace.stored(phase), departures(workspace)
    if folder.roster() is None:
        return _superseded(records, phase)
    instance = folder.instance()
    for one in records:
        if any(touched.instance == instance for touched in one.phases if touched.trains):
            new = next((again.phase for again in one.retraining if again.replaces == phase), None)
            instead = "" if new is None else f"; phase {new!r} takes its place"
            return f"phase {phase!r} holds what bank {one.bank} released, which left on {one.at[:10]}{instead}"
    return ""


def _superseded(records: list[Departure], phase: str) -> str:
    """Why a phase that trains again need not begin: another does it, without the banks that left since, too."""
    own = next(((one, again) for one in records for again in one.retraining if again.phase == phase), None)
    if own is None:
        return ""
    later = records[records.index(own[0]) + 1 :]
    for one in later:
        for again in one.retraining:
            if again.replaces == own[1].replaces:
                return f"phase {phase!r} had not begun when bank {one.bank} left; phase {again.phase!r} does its work"
    return ""


def stand_in(workspace: Workspace, phase: str) -> str:
    """The phase whose model stands for a phase's: the one that took its place when a bank left, or itself."""
    pairs = [again for one in departures(workspace) for again in one.retraining]
    while newest := next((again for again in reversed(pairs) if again.replaces == phase), None):
        phase = newest.phase
    return phase


def replaced(workspace: Workspace, phase: str) -> str | None:
    """The phase whose place a phase takes because a bank left; None where it takes none."""
    pairs = [again for one in departures(workspace) for again in one.retraining]
    return next((again.replaces for again in pairs if again.phase == phase), None)


def refuse_closed(workspace: Workspace, phase: str) -> None:
    """Raise BundleError when a phase may not go on."""
    reason = closed(workspace, phase)
    if reason:
        raise BundleError(f"{reason}. It cannot be gone on with")


def holders(workspace: Workspace, versions: Iterable[Version]) -> dict[int, tuple[str, ...]]:
    """Versions that hold what banks released that left and were unlearned, with those banks.

    A version is one when the record says so, or when it was trained on from one that is.

    Raises:
        TrustError: when the record of departures was altered.
    """
    known = {one.number: one for one in versions}
    found: dict[int, set[str]] = {}
    for one in departures(workspace):
        for touched in one.versions:
            if touched.number in known and known[touched.number].digest == touched.digest:
                found.setdefault(touched.number, set()).add(one.bank)
    for number in sorted(known):
        start = known[number].start
        if start is not None and start.parent in found:
            found.setdefault(number, set()).update(found[start.parent])
    return {number: tuple(sorted(banks)) for number, banks in found.items()}


def refuse_holder(workspace: Workspace, versions: Iterable[Version], number: int, use: str) -> None:
    """Raise BundleError when a version holds what a bank released that left.

    Args:
        use: What it was wanted for, such as `promoted`.
    """
    banks = holders(workspace, versions).get(number)
    if banks:
        raise BundleError(
            f"version {number} holds what {'bank' if len(banks) == 1 else 'banks'} {', '.join(banks)} released, and "
            f"that is to be unlearned: it is not {use}. `fraudfl models list` shows which versions do not"
        )


def note_export(workspace: Workspace, version: Version, out: Path) -> None:
    """Write down that a version was written for banks."""
    path = workspace.coordinator / _EXPORTS_FILE
    kept: list[Any] = (read_json(path) or {"exports": []})["exports"]
    entry = {"version": version.number, "digest": version.digest, "at": now_text(), "folder": str(out)}
    write_json(path, {"exports": [*kept, entry]})


def exports_of(workspace: Workspace, number: int, digest: str) -> tuple[str, ...]:
    """When a version was written for banks, oldest first."""
    kept: list[Any] = (read_json(workspace.coordinator / _EXPORTS_FILE) or {"exports": []})["exports"]
    return tuple(str(one["at"]) for one in kept if (one["version"], one["digest"]) == (number, digest))
