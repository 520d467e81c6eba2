"""The consortium's registered models: finding them, fetching their bundles, and handing them out signed."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fraudfl.errors import BundleError, CheckpointError
from fraudfl.models.bundle import Bundle, checked_digest
from fraudfl.trust.bundle_signature import BundleSignature, check_signature, find_signature, sign_bundle
from fraudfl.trust.keys import load_key
from server.models.departures import note_export
from server.models.registry import BUNDLE, connect, mlflow_answers
from server.models.versions import HOLDS, Version, read_version
from server.store.workspace import Workspace
from server.trust.pki import Pki


class Models:
    """All versions of one consortium's model, in its MLflow registry."""

    def __init__(self, workspace: Workspace) -> None:
        """Open the registry of a workspace.

        Raises:
            CheckpointError: when it is no workspace, or no phase has registered anything yet.
        """
        config = workspace.config()
        self._workspace = workspace
        self.consortium = config.consortium.name
        self._kept = workspace.coordinator / "models"
        self._pki = workspace.coordinator / "pki"
        own = workspace.path / "mlflow.db"
        if config.mlflow.tracking_uri is None and not own.exists():
            raise CheckpointError(f"{own}: there is none, so no model is registered yet; run a phase first")
        self._client = connect(config, workspace)

    def all(self) -> list[Version]:
        """Every version, oldest first; none where nothing is registered."""
        names = self.aliases()
        with mlflow_answers():
            found = list(self._client.search_model_versions(f"name = '{self.consortium}'"))
        held = {str(one.version): tuple(sorted(a for a, n in names.items() if n == int(one.version))) for one in found}
        return sorted((read_version(one, held[str(one.version)]) for one in found), key=lambda one: one.number)

    def get(self, name: str | int) -> Version:
        """One version, by number or alias; raises BundleError, saying which there are, when there is none."""
        versions = self.all()
        for one in versions:
            if str(name) == str(one.number) or str(name) in one.aliases:
                return one
        known = ", ".join(
            f"{one.number} ({', '.join(one.aliases)})" if one.aliases else str(one.number) for one in versions
        )
        raise BundleError(f"model {self.consortium} has no version {name!r}; it has {known or 'none yet'}")

    def aliases(self) -> dict[str, int]:
        """Alias to version."""
        with mlflow_answers():
            found = self._client.search_registered_models(filter_string=f"name = '{self.consortium}'")
            return {alias: int(number) for one in found for alias, number in one.aliases.items()}

    def point(self, alias: str, number: int | None) -> None:
        """Let an alias name a version, or nothing."""
        with mlflow_answers():
            if number is None:
                self._client.delete_registered_model_alias(self.consortium, alias)
            else:
                self._client.set_registered_model_alias(self.consortium, alias, str(number))

    def start_from(self, name: str | int) -> Bundle:
        """The model that a further phase continues from, by number or alias; its digest is checked.

        Raises:
            BundleError: when there is none, or its files are not those that were registered.
        """
        return Bundle.load(self.bundle_folder(self.get(name)))

    def bundle_folder(self, version: Version) -> Path:
        """A copy of a version's bundle in this workspace, fetched when it is not there or not whole.

        Raises:
            BundleError: when the files are not those that were registered.
            RuntimeFailure: when they cannot be fetched.
        """
        folder = self._kept / f"{version.number}-{version.digest[:12]}"
        if _is_whole(folder, version.digest):
            return folder
        fetching = self._kept / f".{folder.name}.{secrets.token_hex(4)}"
        fetching.mkdir(parents=True)
        try:
            with mlflow_answers():
                fetched = Path(self._client.download_artifacts(version.run_id, BUNDLE, str(fetching)))
            found = checked_digest(fetched)
            if found != version.digest:
                raise BundleError(
                    f"version {version.number} of model {self.consortium}: its files have digest {found[:12]}…, "
                    f"registered was {version.digest[:12]}…; they were changed. Restore MLflow's artifacts"
                )
            _put(fetched, folder, version.digest)
        finally:
            shutil.rmtree(fetching, ignore_errors=True)
        return folder

    def export(self, version: Version, out: Path) -> BundleSignature:
        """Write a version's bundle for banks, with the operator's signature.

        Args:
            version: Which.
            out: A folder that does not exist yet.

        Raises:
            BundleError: when the files are not those that were registered, or `out` is taken.
            TrustError: when the operator's key cannot be used, or another key signed.
        """
        if out.exists():
            raise BundleError(f"{out}: exists already; choose another folder")
        folder = self.bundle_folder(version)
        signature = self._signed(folder, version)
        part = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
        try:
            shutil.copytree(folder, part)
            part.rename(out)
        except OSError as error:
            raise BundleError(f"{out}: cannot be written ({error.strerror}); choose another folder") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
        note_export(self._workspace, version, out)
        return signature

    def mark(self, version: Version, banks: Collection[str]) -> None:
        """Write beside a version which banks' releases it holds that are to be unlearned."""
        with mlflow_answers():
            names = ",".join(sorted(banks))
            self._client.set_model_version_tag(self.consortium, str(version.number), HOLDS, names)

    def keep(self, version: Version, path: str, facts: Mapping[str, Any]) -> None:
        """Keep JSON beside a version, as an artifact of its run."""
        with mlflow_answers():
            self._client.log_dict(version.run_id, dict(facts), path)

    def kept(self, version: Version, path: str) -> dict[str, Any] | None:
        """What `keep` wrote, or None."""
        with mlflow_answers():
            if path not in {one.path for one in self._client.list_artifacts(version.run_id, str(Path(path).parent))}:
                return None
            self._kept.mkdir(parents=True, exist_ok=True)
            fetching = self._kept / f".{secrets.token_hex(4)}"
            fetching.mkdir()
            try:
                found = Path(self._client.download_artifacts(version.run_id, path, str(fetching))).read_bytes()
            finally:
                shutil.rmtree(fetching, ignore_errors=True)
        facts: dict[str, Any] = json.loads(found)
        return facts

    def _signed(self, folder: Path, version: Version) -> BundleSignature:
        pki = Pki(self._pki)
        if find_signature(folder, version.digest) is None:
            facts = {"consortium": self.consortium, "plan_hash": version.plan_hash}
            sign_bundle(folder, load_key(pki.operator_key), number=version.number, digest=version.digest, **facts)
        return check_signature(folder, version.digest, pki.operator)


def _is_whole(folder: Path, digest: str) -> bool:
    try:
        return checked_digest(folder) == digest
    except BundleError:
        return False


def _put(fetched: Path, folder: Path, digest: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    try:
        fetched.rename(folder)
    except OSError as error:
        # Another command may have been first, with the same files.
        if not _is_whole(folder, digest):
            raise BundleError(f"{folder}: cannot be written ({error.strerror}); see to the workspace's disk") from error
