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
from fraudfl.unlearning import Point
from server.models.departures import gone, refuse_closed, refuse_holder, replaced, stand_in
from server.phases.assessing import agreed_config, keep_agreed
from server.phases.going_on import copy_checkpoint
from server.phases.past import START_FILE
from server.store.workspace import PhaseFolder, Workspace, read_json, write_json

if TYPE_CHECKING:
    from server.models.versions import Lineage


def prepare(workspace: Workspace, settings: AnyPhase, contract: Contract, banks: Sequence[str]) -> PhaseFolder:
    """Make the phase's folder ready to run, or to go on.

    Args:
        banks: Those that there are; the phase takes its own from them when it first begins.

    Raises:
        BundleError: when a phase that began, or the model to start from, holds what a bank released that left and is to
            be unlearned.
        CheckpointError: when another plan was begun here than the configuration makes now.
        ConfigError: when its banks, or the model to start from, are not there, or the banks are too few.
    """
    refuse_closed(workspace, settings.name)
    folder = workspace.phase(settings.name)
    if folder.roster() is None:
        before = replaced(workspace, settings.name)
        keep_agreed(workspace, folder, like=None if before is None else workspace.phase(before))
    config = agreed_config(workspace, folder)
    plan, path = make_plan(config, settings, contract), folder.path / "plan.json"
    if path.exists() and Plan.from_json(path.read_bytes()).hash != plan.hash:
        raise CheckpointError(
            f"{path}: another plan was begun here than the configuration makes now; nothing was sent. Resume with the "
            "configuration that it was begun with"
        )
    if folder.roster() is None:
        chosen = choose_banks(workspace, settings, banks)
        if isinstance(settings, PhaseConfig):
            settings.refuse_too_few(len(chosen))
        start = _start_of(workspace, config, settings)
        if isinstance(start, Point):
            copy_checkpoint(workspace, settings.name, start)
        elif start is not None:
            write_json(folder.path / START_FILE, {"parent": start.parent, "digest": start.digest})
        write_bytes(path, plan.canonical_json())
        # Last: with a roster the phase has begun.
        folder.set_roster(chosen)
    return folder


def start_of(workspace: Workspace, folder: PhaseFolder) -> tuple[Lineage, Bundle] | None:
    """The version that a phase starts from, and its model; None where it begins anew, or goes on from a checkpoint.

    Raises:
        CheckpointError: when the version is no longer what it was when the phase began.
    """
    facts = read_json(folder.path / START_FILE)
    if facts is None or "parent" not in facts:
        return None
    # Imported on use, here and below: MLflow takes seconds.
    from server.models.bundles import Models
    from server.models.versions import Lineage

    lineage = Lineage(parent=int(facts["parent"]), digest=str(facts["digest"]))
    models = Models(workspace)
    version = models.get(lineage.parent)
    if version.digest != lineage.digest:
        raise CheckpointError(
            f"{folder.path / START_FILE}: version {lineage.parent} had bundle {lineage.digest[:12]}… when the phase "
            f"began, and has {version.digest[:12]}… now. Restore MLflow's database"
        )
    return lineage, Bundle.load(models.bundle_folder(version))


def choose_banks(workspace: Workspace, settings: AnyPhase, banks: Sequence[str]) -> tuple[str, ...]:
    """The banks that take part in a phase that begins: never one that is off the roster.

    Raises:
        ConfigError: when they are not there.
    """
    left = gone(workspace)
    selection = settings.banks.model_copy(update={"without": (*settings.banks.without, *left)})
    # Those that left are counted among the drawn from, so that nobody else is drawn because of it.
    return selection.choose(sorted({*banks, *left}), workspace.config().consortium.seed)


def _start_of(workspace: Workspace, config: FraudflConfig, settings: AnyPhase) -> Lineage | Point | None:
    if not isinstance(settings, PhaseConfig) or settings.start is None:
        return None
    phase, _, number = settings.start.partition("@")
    if number:
        return Point(phase=phase, round=int(number))
    wanted: str | int = settings.start
    if wanted in {phase.name for phase in workspace.phases()}:
        named = stand_in(workspace, settings.start)
        outcome = workspace.phase(named).result() or {}
        wanted = outcome.get("model_version") or ""
        if not wanted:
            raise ConfigError(f"phase {settings.name} starts from the model of phase {named!r}, which registered none")
    from server.models.bundles import Models
    from server.models.versions import Lineage

    models = Models(workspace)
    version = models.get(wanted)
    refuse_holder(workspace, models.all(), version.number, "trained on from")
    return Lineage(parent=version.number, digest=version.digest)
