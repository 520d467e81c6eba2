"""Before a phase begins: its plan, its banks and the model it starts from are fixed; a resumed phase keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fraudfl.config import AnyPhase, FraudflConfig, PhaseConfig
from fraudfl.data.schema import Contract
from fraudfl.errors import CheckpointError, ConfigError
from fraudfl.folder import write_bytes
from fraudfl.models.bundle import Bundle
from fraudfl.plan import Plan
from fraudfl.planning import make_plan
from server.workspace import PhaseFolder, Workspace, read_json, write_json

if TYPE_CHECKING:
    from server.versions import Lineage

_START = "start.json"


def prepare(workspace: Workspace, settings: AnyPhase, contract: Contract, banks: Sequence[str]) -> PhaseFolder:
    """Make the phase's folder ready to run, or to go on.

    Args:
        banks: Those that there are; the phase takes its own from them when it first begins.

    Raises:
        CheckpointError: when another plan was begun here than the configuration makes now.
        ConfigError: when its banks, or the model to start from, are not there.
    """
    config, folder = workspace.config(), workspace.phase(settings.name)
    plan, path = make_plan(config, settings, contract), folder.path / "plan.json"
    if path.exists() and Plan.from_json(path.read_bytes()).hash != plan.hash:
        raise CheckpointError(
            f"{path}: another plan was begun here than the configuration makes now; nothing was sent. Resume with the "
            "configuration that it was begun with"
        )
    if folder.roster() is None:
        chosen = settings.banks.choose(banks, config.consortium.seed)
        start = _start_of(workspace, config, settings)
        if start is not None:
            write_json(folder.path / _START, {"parent": start.parent, "digest": start.digest})
        write_bytes(path, plan.canonical_json())
        # Last: with a roster the phase has begun.
        folder.set_roster(chosen)
    return folder


def start_of(workspace: Workspace, folder: PhaseFolder) -> tuple[Lineage, Bundle] | None:
    """The version that a phase starts from, and its model; None where it begins anew.

    Raises:
        CheckpointError: when the version is no longer what it was when the phase began.
    """
    facts = read_json(folder.path / _START)
    if facts is None:
        return None
    # Imported on use, here and below: MLflow takes seconds.
    from server.models import Models
    from server.versions import Lineage

    lineage = Lineage(parent=int(facts["parent"]), digest=str(facts["digest"]))
    models = Models(workspace)
    version = models.get(lineage.parent)
    if version.digest != lineage.digest:
        raise CheckpointError(
            f"{folder.path / _START}: version {lineage.parent} had bundle {lineage.digest[:12]}… when the phase began, "
            f"and has {version.digest[:12]}… now. Restore MLflow's database"
        )
    return lineage, Bundle.load(models.bundle_folder(version))


def _start_of(workspace: Workspace, config: FraudflConfig, settings: AnyPhase) -> Lineage | None:
    if not isinstance(settings, PhaseConfig) or settings.start is None:
        return None
    wanted: str | int = settings.start
    if wanted in {phase.name for phase in workspace.phases()}:
        outcome = workspace.phase(settings.start).result() or {}
        wanted = outcome.get("model_version") or ""
        if not wanted:
            raise ConfigError(
                f"phase {settings.name} starts from the model of phase {settings.start!r}, which has registered none"
            )
    from server.models import Models
    from server.versions import Lineage

    version = Models(workspace).get(wanted)
    return Lineage(parent=version.number, digest=version.digest)
