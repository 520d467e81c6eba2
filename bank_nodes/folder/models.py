"""The consortium's models at one bank: taken as signed bundles, one of them in use, and the way back.

models/<number>-<digest>/   a bundle with the operator's signature
models/in_use.json          the names of those that were put in use, the present one last
"""

from __future__ import annotations

import json
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from bank_nodes.folder.home import Home
from fraudfl.errors import BundleError, TrustError
from fraudfl.folder import write_bytes
from fraudfl.models.bundle import FILES, Bundle, checked_digest
from fraudfl.privacy.ledger import Ledger
from fraudfl.trust.bundle_signature import SIGNATURE_FILE, BundleSignature, check_signature
from fraudfl.trust.keys import read_signed

FOLDER = "models"
IN_USE = "in_use.json"


@dataclass(frozen=True, kw_only=True)
class TakenModel:
    """A bundle in this bank's folder.

    Attributes:
        name: Its folder's name: number and the digest's first letters.
        signature: The operator's; checked when the model was found.
        in_use: Whether this bank scores with it.
    """

    name: str
    signature: BundleSignature
    in_use: bool


class TakenModels:
    """The bundles that one bank has taken."""

    def __init__(self, home: Home) -> None:
        """Name the bank's folder; nothing is read yet."""
        self._home = home
        self._folder = home.path / FOLDER

    def take(self, source: Path) -> TakenModel:
        """Copy a bundle into this bank's folder, after checking its files, its digest and its signature.

        The copy is what is checked, so that nobody can change it in between.

        Raises:
            BundleError: when a file is missing, was changed or does not fit.
            TrustError: when it is not signed by this consortium's operator. Nothing was kept then.
        """
        part = self._folder / f".taking-{secrets.token_hex(4)}"
        try:
            _copy(source, part)
            signature = self._checked(part)
            name = f"{signature.number}-{signature.digest[:12]}"
            shutil.rmtree(self._folder / name, ignore_errors=True)
            part.rename(self._folder / name)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return TakenModel(name=name, signature=signature, in_use=name in self._used()[-1:])

    def all(self) -> list[TakenModel]:
        """Every bundle here, by number; each signature is checked, the files only when a model is used.

        Raises:
            TrustError: when a signature is missing, was altered, or is another's.
        """
        used, operator = self._used()[-1:], self._home.roster().operator
        found = []
        for path in self._folder.glob("[0-9]*-*"):
            signature = read_signed(path / SIGNATURE_FILE, BundleSignature)
            check_signature(path, signature.digest, operator)
            found.append(TakenModel(name=path.name, signature=signature, in_use=path.name in used))
        return sorted(found, key=lambda one: (one.signature.number, one.name))

    def use(self, name: str, by: str, reason: str = "") -> TakenModel:
        """Put a model in use, after checking it whole; the ledger notes who did.

        Args:
            name: Its number, or its name.
            by: Who decides.
            reason: Why.

        Raises:
            BundleError: when there is no such model, it is in use already, or its files do not fit.
            TrustError: when its signature does not.
        """
        model = self._named(name)
        if model.in_use:
            raise BundleError(f"model {model.name} is in use already")
        return self._switch(model, [*self._used(), model.name], by, reason)

    def back(self, by: str, reason: str = "") -> TakenModel:
        """Use the model again that was in use before; raises as `use` does."""
        used = self._used()
        if len(used) < 2:
            raise BundleError(f"{self._folder / IN_USE}: no other model was in use before; there is no way back")
        return self._switch(self._named(used[-2]), used[:-1], by, reason)

    def bundle(self) -> Bundle:
        """The model in use, checked whole, ready to score.

        Raises:
            BundleError: when none is in use, or a file was changed.
            TrustError: when it is unsigned, or another key signed it.
        """
        used = self._used()
        if not used:
            raise BundleError(f"{self._folder}: no model is in use; choose one with `bank-node model use`")
        return Bundle.load(self._folder / used[-1], signed_by=self._home.roster().operator)

    def _switch(self, model: TakenModel, used: list[str], by: str, reason: str) -> TakenModel:
        signature = self._checked(self._folder / model.name)
        said = f"model {model.name} in use, decided by {by}" + (f": {reason}" if reason else "")
        # First what the record says, then what is done: a model is never in use without a trace.
        Ledger(self._home.path / "ledger.db").note(said, signature.plan_hash)
        write_bytes(self._folder / IN_USE, json.dumps(used).encode())
        return TakenModel(name=model.name, signature=signature, in_use=True)

    def _checked(self, folder: Path) -> BundleSignature:
        """A bundle's signature, after all of it was checked and loaded."""
        roster = self._home.roster()
        Bundle.load(folder, signed_by=roster.operator)
        signature = check_signature(folder, checked_digest(folder), roster.operator)
        if signature.consortium != roster.consortium:
            raise TrustError(f"{folder}: is a model of consortium {signature.consortium}; expected {roster.consortium}")
        return signature

    def _named(self, name: str) -> TakenModel:
        models = self.all()
        found = [one for one in models if name in (str(one.signature.number), one.name)]
        if len(found) != 1:
            known = ", ".join(one.name for one in models) or "none yet"
            many = "no model" if not found else f"{len(found)} models"
            raise BundleError(f"{self._folder}: {many} {name!r} here; name one of {known}")
        return found[0]

    def _used(self) -> list[str]:
        path = self._folder / IN_USE
        if not path.exists():
            return []
        try:
            used = json.loads(path.read_bytes())
            if not isinstance(used, list) or not all(
                isinstance(name, str) and Path(name).name == name for name in used
            ):
                raise ValueError("not a list of models' names")
        except (OSError, ValueError) as error:
            raise BundleError(f"{path}: cannot be read ({error}); remove the file, and choose a model again") from error
        return used


def _copy(source: Path, part: Path) -> None:
    """Copy what belongs to a bundle, and nothing else that may lie in its folder."""
    try:
        part.mkdir(parents=True)
        for name in (*FILES, SIGNATURE_FILE):
            if (source / name).exists():
                shutil.copyfile(source / name, part / name)
    except OSError as error:
        raise BundleError(f"{source}: cannot be copied ({error}); expected a bundle's folder") from error
