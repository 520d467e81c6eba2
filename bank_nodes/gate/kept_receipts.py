"""The operator's receipts for what this bank released, kept in its folder: witnesses of its ledger from outside."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fraudfl.errors import PrivacyError, TrustError
from fraudfl.folder import BankFolder, write_bytes
from fraudfl.privacy.ledger import Entry, Ledger
from fraudfl.trust.receipts import Receipt, lengthen, parse_receipt, read_receipts

RECEIPTS_FILE = "receipts.jsonl"
# Entries are chained, so that the newest receipt vouches for all before it; the others are for who wants to look.
_KEPT = 1000
_LARGEST = 2 << 20
_LONGEST_LINE = 8192


class KeptReceipts:
    """The receipts in one bank's folder: the newest thousand at least."""

    def __init__(self, folder: Path, bank: str | None = None) -> None:
        """Open a bank's folder; nothing is read yet.

        Args:
            folder: The folder.
            bank: Its id; read from the folder, when it is needed, where absent.
        """
        self._folder = folder
        self._known = bank
        self._path = folder / RECEIPTS_FILE
        self._operator = folder / "operator.pub"

    def take(self, data: bytes) -> Receipt:
        """Check a receipt that came with a request, and keep it; one that is here already is not kept twice.

        Raises:
            TrustError: when it is not for this bank, not by the pinned operator, or cannot be kept. The release that
                it came with may go on: a receipt only proves what the ledger says anyway.
        """
        receipt = parse_receipt(data, self._bank(), self._pinned(), "the coordinator's receipt")
        line = receipt.to_bytes() + b"\n"
        try:
            # By one process at a time, under the gate's lock.
            with self._path.open("a+b") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(0, end - len(line)))
                if file.read() != line:
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
            if end > _LARGEST:
                self._shorten()
        except OSError as error:
            raise TrustError(f"{self._path}: cannot be written ({error.strerror}); the receipt is not kept") from error
        return receipt

    def take_short(self, short: bytes, entry: Entry) -> Receipt:
        """Check and keep a receipt that came shortened, for the release under one of the ledger's own entries.

        Raises:
            TrustError: as for `take`.
        """
        return self.take(lengthen(short, self._bank(), self._pinned(), entry))

    def newest(self) -> tuple[int, str] | None:
        """Number and hash of the entry that the last kept receipt is for; None where there is none to read."""
        try:
            with self._path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _LONGEST_LINE))
                lines = [line for line in file.read().splitlines() if line.endswith(b"}")]
            last = json.loads(lines[-1])
            return int(last["entry"]), str(last["entry_hash"])
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def all(self) -> Iterator[Receipt]:
        """Every kept receipt, in the order in which they came; none where there is no file.

        Raises:
            TrustError: naming the first line that is wrong. A line that a crash cut off at the end is left out.
        """
        if not self._path.exists():
            return iter(())
        return read_receipts(self._whole(), self._bank(), self._pinned())

    def read(self, path: Path) -> list[Receipt]:
        """Read another file of receipts for this bank, as the operator hands it out; raises TrustError."""
        return list(read_receipts(path, self._bank(), self._pinned()))

    def _whole(self) -> Path:
        """The file, without a last line that a crash cut off."""
        data = self._path.read_bytes()
        if data and not data.endswith(b"\n"):
            write_bytes(self._path, data[: data.rfind(b"\n") + 1])
        return self._path

    def _shorten(self) -> None:
        lines = self._path.read_bytes().splitlines(keepends=True)
        write_bytes(self._path, b"".join(lines[-_KEPT:]))

    def _bank(self) -> str:
        return self._known or BankFolder(self._folder).bank

    def _pinned(self) -> str:
        try:
            return self._operator.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise TrustError(
                f"{self._operator}: cannot be read ({error}), so no receipt can be checked; expected the operator's "
                "public key there. Take the operator's kit with `bank-node join`"
            ) from error


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What receipts say about a ledger.

    Attributes:
        fit: How many are about releases that the ledger has as they were.
        forgotten: How many are about releases that a later restoration wrote off.
        missing: Those about releases that are not there, by their numbers, each release once.
    """

    fit: int
    forgotten: int
    missing: tuple[Receipt, ...]

    def refuse_missing(self) -> None:
        """Raise PrivacyError naming the first release that is not there."""
        if self.missing:
            first = self.missing[0]
            raise PrivacyError(
                f"the operator signed for entry {first.entry} (hash {first.entry_hash[:12]}…) on {first.issued}, and "
                f"this ledger does not have it, nor {len(self.missing) - 1} others that were signed for: its end was "
                "cut off, it was written anew, or it is an older copy. If it came from a backup, get the receipts from "
                "the operator and run `bank-node ledger restore`"
            )


def compare(ledger: Ledger, receipts: Iterable[Receipt]) -> Compared:
    """Compare a ledger, whose chain was verified, with receipts for what left."""
    released = {entry.entry: entry for entry in ledger.entries() if entry.event in ("released", "restored")}
    restored = max((number for number, entry in released.items() if entry.event == "restored"), default=0)
    fit = forgotten = 0
    gone: dict[str, Receipt] = {}
    for receipt in receipts:
        entry = released.get(receipt.entry)
        if entry is not None and (entry.hash, entry.key, entry.digest) == _said(receipt):
            fit += 1
        elif receipt.entry < restored:
            forgotten += 1
        else:
            gone[receipt.key] = receipt
    missing = sorted(gone.values(), key=lambda receipt: receipt.entry)
    return Compared(fit=fit, forgotten=forgotten, missing=tuple(missing))


def _said(receipt: Receipt) -> tuple[str, str, str]:
    return receipt.entry_hash, receipt.key, receipt.digest
