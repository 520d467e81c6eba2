"""A deployed bank's folder: its identity, what it got from the operator, and its data.

keys/bank.key        this bank's long-term key, 0600, made here and never sent
keys/bank.pub        its public half; enrolment.json carries it to the operator
ca.pem operator.pub roster.json coordinator.json     the operator's kit
policy.yaml          this bank's own rules
transactions.parquet bank.json                       its data, checked against the contract
ledger.db plans/ approvals.jsonl                     what was decided, and what left
"""

from __future__ import annotations

import json
from pathlib import Path

from fraudfl.config import DataConfig
from fraudfl.config_file import load_yaml
from fraudfl.data.dataset import load_dataset
from fraudfl.errors import DataError, TrustError
from fraudfl.folder import BankFolder, write_bytes
from fraudfl.trust.enrolment import Enrolment, make_enrolment, read_enrolment
from fraudfl.trust.keys import PrivateKey, fingerprint, load_key, new_key, private_pem, public_text, write_secret
from fraudfl.trust.place import check_place
from fraudfl.trust.roster import Roster, newer_than, parse_roster, read_roster

KIT = ("ca.pem", "operator.pub", "roster.json", "coordinator.json")
_POLICY = """\
# This bank's own rules; the coordinator cannot change them. Every key: docs/policy.md.
# As it stands, a person approves each plan with `bank-node approve`.
approve:
  automatic: false

# What may leave although no epsilon pays for it, by the name that plans give it. Nothing else does.
uncovered: []
"""


class Home:
    """One deployed bank's folder."""

    def __init__(self, path: Path) -> None:
        """Open a folder that `create` made; raises TrustError when it is none."""
        self.path = path
        self.enrolment: Enrolment = read_enrolment(path / "enrolment.json")
        self.bank: str = self.enrolment.bank

    @classmethod
    def create(cls, path: Path, bank: str) -> Home:
        """Make the folder, this bank's key and its request to be enrolled.

        Raises:
            TrustError: when there is a key already (keys are never overwritten), or the bank's id is not one.
        """
        key = new_key()
        request = make_enrolment(key, bank)
        write_secret(path / "keys" / "bank.key", private_pem(key))
        write_bytes(path / "keys" / "bank.pub", (public_text(key) + "\n").encode())
        write_bytes(path / "enrolment.json", request.to_bytes())
        if not (path / "policy.yaml").exists():
            write_bytes(path / "policy.yaml", _POLICY.encode())
        return cls(path)

    def key(self) -> PrivateKey:
        """This bank's private key; raises TrustError when it is missing, readable by others, or another's."""
        key = load_key(self.path / "keys" / "bank.key")
        if public_text(key) != self.enrolment.public_key:
            raise TrustError(
                f"{self.path / 'keys' / 'bank.key'}: is not the key in enrolment.json; restore the right one"
            )
        return key

    def take_kit(self, kit: Path, operator: str | None) -> Roster:
        """Take the operator's kit, or a newer one.

        Args:
            kit: Folder with the files named in `KIT`.
            operator: Fingerprint of the operator's key, compared over another channel; needed the first time.

        Raises:
            TrustError: when the kit is another operator's, is older than what is here, or does not name this bank.
        """
        files = _read_kit(kit)
        offered = files["operator.pub"].decode("ascii", errors="replace").strip()
        pinned = self._pinned()
        if pinned is None and fingerprint(offered) != operator:
            raise TrustError(
                f"{kit / 'operator.pub'} has fingerprint {fingerprint(offered)}, expected {operator}. Ask the operator "
                "by telephone for the fingerprint, and give it with --operator"
            )
        if pinned is not None and offered != pinned:
            raise TrustError(
                f"{kit / 'operator.pub'}: is not the operator's key that was taken first; nothing was changed"
            )
        known = read_roster(self.path / "roster.json", offered) if (self.path / "roster.json").exists() else None
        roster = newer_than(parse_roster(files["roster.json"], offered, str(kit / "roster.json")), known)
        check_place(files["coordinator.json"], files["ca.pem"], offered, str(kit / "coordinator.json"))
        member = roster.member(self.bank)
        if member.public_key != self.enrolment.public_key:
            raise TrustError(f"the roster has another key for {self.bank!r} than ours; nothing was changed")
        for name, data in files.items():
            write_bytes(self.path / name, data)
        return roster

    def roster(self) -> Roster:
        """The roster that this bank has, checked against the operator's pinned key."""
        pinned = self._pinned()
        if pinned is None:
            raise TrustError(f"{self.path}: there is no kit yet; take the operator's with `bank-node join`")
        return read_roster(self.path / "roster.json", pinned)

    def address(self) -> str:
        """Where the coordinator is, `host:port`."""
        path = self.path / "coordinator.json"
        try:
            return str(json.loads(path.read_text())["address"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrustError(f"{path}: does not say where the coordinator is ({error}); take the kit again") from error

    def ca(self) -> bytes:
        """The consortium's CA certificate, PEM."""
        try:
            return (self.path / "ca.pem").read_bytes()
        except OSError as error:
            raise TrustError(f"{self.path / 'ca.pem'}: cannot be read ({error}); take the kit again") from error

    def import_data(self, description: Path) -> BankFolder:
        """Read this bank's transactions as a YAML file describes them, check all of them, and put them here.

        Raises:
            DataError: naming file, row and column of what is wrong; what was here before stays.
        """
        config = load_yaml(description, DataConfig)
        dataset = load_dataset(config, seed=0, base=description.resolve().parent)
        if dataset.table.num_rows == 0:
            raise DataError(f"{description}: the source has no rows")
        return BankFolder.fill(self.path, self.bank, dataset.table, dataset.contract)

    def own_data(self) -> BankFolder:
        """This bank's data; raises DataError when there is none, or it is another bank's."""
        folder = BankFolder(self.path)
        if folder.bank != self.bank:
            raise DataError(f"{self.path / 'bank.json'}: belongs to bank {folder.bank!r}, this folder to {self.bank!r}")
        return folder

    def _pinned(self) -> str | None:
        path = self.path / "operator.pub"
        return path.read_text().strip() if path.exists() else None


def _read_kit(kit: Path) -> dict[str, bytes]:
    """All of a kit, before any of it is taken."""
    try:
        return {name: (kit / name).read_bytes() for name in KIT}
    except OSError as error:
        raise TrustError(
            f"{error.filename}: cannot be read ({error.strerror}); expected the operator's kit, a folder with "
            f"{', '.join(KIT)}. Nothing was changed"
        ) from error
