"""`fraudfl bank remove --unlearn`: a bank leaves, and what it touched is made ready to be run again without it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from fraudfl.config import PhaseConfig
from fraudfl.data.schema import Contract
from fraudfl.errors import CheckpointError, ConfigError, RuntimeFailure, TrustError
from fraudfl.folder import write_bytes
from fraudfl.frozen import Name
from fraudfl.plan import Plan
from fraudfl.trust.chain import Line
from fraudfl.trust.departure import Departure, Replacement, TouchedPhase, TouchedVersion
from fraudfl.trust.roster import Roster
from fraudfl.unlearning import Past, PastPhase, Point
from pipelines.world import State
from server.models.departures import DepartureLog, gone, replaced
from server.phases.past import past_of
from server.store.checkpoint import FileCheckpoints
from server.store.operator_line import Operator, socket_path
from server.store.workspace import Workspace
from server.trust.pki import Pki

if TYPE_CHECKING:
    from server.models.versions import Version

_LONGEST_NAME = 63


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """A phase that is run again without the bank.

    Attributes:
        settings: The new phase.
        replaces: The one whose place it takes.
        contract: What the banks' data holds.
        rounds_done: Rounds of `settings` that are not run again.
    """

    settings: PhaseConfig
    replaces: str
    contract: Contract
    rounds_done: int = 0


class Unlearning:
    """One bank's leaving of one workspace."""

    def __init__(self, workspace: Workspace, bank: str) -> None:
        """Find out what the bank's releases touched; changes nothing.

        Raises:
            TrustError: when the bank never was on the roster, or a signed record was altered.
            ConfigError: when the banks that remain are too few to train again.
        """
        self.workspace, self.bank = workspace, bank
        self._pki = Pki(workspace.coordinator / "pki")
        self._log = DepartureLog(workspace)
        self.record = self._recorded(self._pki.roster())
        self.versions, self.champion = _registered(workspace)
        self.past: Past = past_of(workspace, bank, self.versions)
        self.clean, self.retraining = self._retraining()

    def carry_out(self, by: str, reason: str) -> tuple[Departure, Roster]:
        """Remove the bank, sign what follows from it, mark versions, and add the phase; what is done is not done again.

        Raises:
            CheckpointError, RuntimeFailure: when a phase is under way.
            ConfigError: when `by` or `reason` is not one line of text; nothing was changed then.
            TrustError: when the operator's key cannot be used.
        """
        for name, said in (("by", by), ("reason", reason)):
            _check_line(name, said)
        with _idle(self.workspace), self._log.alone():
            roster = self._pki.roster()
            if self.bank in {member.bank for member in roster.members}:
                roster = self._pki.remove(self.bank)
            self._hand_out(roster)
            self.record = self.record or self._log.add(self._facts(roster) | {"by": by, "reason": reason})
            for one in self.retraining:
                self.workspace.add_phase(one.settings)
            self._mark()
        return self.record, roster

    def _recorded(self, roster: Roster) -> Departure | None:
        """This departure, when it was signed before and only the rest is left to do."""
        if self.bank in {member.bank for member in roster.members}:
            return None
        left = [one.at for one in roster.removed if one.bank == self.bank]
        if not left:
            raise TrustError(
                f"bank {self.bank} is not on roster {roster.number} of consortium {roster.consortium}, and never was"
            )
        return next((one for one in reversed(self._log.read()) if one.bank == self.bank and one.at >= left[-1]), None)

    def _facts(self, roster: Roster) -> dict[str, object]:
        digests = {one.number: one.digest for one in self.versions}
        new = [Replacement(phase=one.settings.name, replaces=one.replaces) for one in self.retraining]
        return {
            "bank": self.bank,
            "roster": roster.number,
            "phases": tuple(self._touched()),
            "versions": tuple(TouchedVersion(number=number, digest=digests[number]) for number in self.past.versions),
            "champion": self.champion if self.champion in self.past.versions else None,
            "clean": self.clean,
            "retraining": tuple(new),
        }

    def _touched(self) -> Iterator[TouchedPhase]:
        for phase in self.past.phases:
            released = tuple(trace for trace in phase.traces.values() if trace.reach is not None)
            if released or phase in self.past.touched:
                yield TouchedPhase(
                    name=phase.name,
                    instance=phase.instance,
                    plan_hash=self._plan(phase).hash,
                    trains=phase.trains,
                    origin=phase.origin,
                    traces=released,
                )

    def _retraining(self) -> tuple[Point | None, tuple[Retraining, ...]]:
        """Where training begins again, and the phases that are not there yet; none when nothing has to be trained."""
        newest = self.past.newest
        if newest is None or newest not in self.past.touched:
            return None, ()
        way = self.past.way_to(newest)
        clean, names = self.past.clean_before(way[0]), self._names(way)
        if names.keys() != {phase.name for phase in way}:
            # Recorded before, and other phases have come since: what was recorded stands.
            return clean, ()
        found = [self._again(way[0], names[way[0].name], spell_start(clean), clean)]
        found += [self._again(phase, names[phase.name], names[before.name]) for before, phase in pairwise(way)]
        there = {phase.name for phase in self.workspace.phases()}
        return clean, tuple(one for one in found if one.settings.name not in there)

    def _again(self, phase: PastPhase, name: Name, start: str | None, clean: Point | None = None) -> Retraining:
        """One phase again, under another name, with the banks that remain."""
        old, root = self._settings(phase.name), self._settings(self._root(phase).name)
        remaining = sorted(set(self.workspace.phase(phase.name).roster() or ()) - {self.bank, *gone(self.workspace)})
        facts = old.model_dump() | {"name": name, "start": start, "promote": "by-hand", "waves": ()}
        facts |= {"banks": {"names": remaining, "without": [self.bank]}}
        facts["training"] = self._training(root, clean)
        try:
            settings = PhaseConfig.model_validate(facts)
        except ValidationError as error:
            said = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ConfigError(
                f"bank {self.bank} cannot be unlearned: phase {phase.name!r} cannot be run again without it: {said}. "
                "Nothing was changed. `fraudfl bank remove` without --unlearn takes it off the roster alone"
            ) from error
        done = 0 if clean is None or clean.round is None else clean.round
        return Retraining(settings=settings, replaces=phase.name, contract=self._plan(phase).contract, rounds_done=done)

    def _training(self, root: PhaseConfig, clean: Point | None) -> dict[str, object] | None:
        """A phase's training; one that asks for label counts, and goes on from a checkpoint, takes them from there."""
        training = root.training or self.workspace.config().training
        if training.prior != "released" or clean is None or clean.phase is None or clean.round is None:
            return None if root.training is None else root.training.model_dump()
        checkpoints = FileCheckpoints(self.workspace.phase(clean.phase).checkpoints)
        prior = State.from_checkpoint(checkpoints.of_round(clean.round))[0].prior
        return training.model_copy(update={"prior": prior}).model_dump()

    def _settings(self, phase: str) -> PhaseConfig:
        found = self.workspace.settings(phase)
        assert isinstance(found, PhaseConfig)  # only phases that train are run again
        return found

    def _root(self, phase: PastPhase) -> PastPhase:
        """The phase that a phase is the rest of, or itself; only its settings say nothing of any checkpoint."""
        named = {one.name: one for one in self.past.phases}
        while phase.origin.phase is not None:
            phase = named[phase.origin.phase]
        return phase

    def _names(self, way: Sequence[PastPhase]) -> dict[str, Name]:
        """What the phases that are run again are called: as the record says, or by names that no phase has."""
        if self.record is not None:
            return {one.replaces: one.phase for one in self.record.retraining}
        taken = {phase.name for phase in self.workspace.phases()}
        last = _free(f"without-{self.bank}", taken)
        return {phase.name: _free(f"{last}-{self._first_name(phase)}", taken) for phase in way[:-1]} | {
            way[-1].name: last
        }

    def _first_name(self, phase: PastPhase) -> str:
        """The name of the phase that began the line of those that took each other's place."""
        name = phase.name
        while before := replaced(self.workspace, name):
            name = before
        return name

    def _plan(self, phase: PastPhase) -> Plan:
        return Plan.from_json((self.workspace.phase(phase.name).path / "plan.json").read_bytes())

    def _mark(self) -> None:
        if self.past.versions:
            from server.models.bundles import Models

            models = Models(self.workspace)
            for one in self.versions:
                if one.number in self.past.versions and self.bank not in one.holds:
                    models.mark(one, (*one.holds, self.bank))

    def _hand_out(self, roster: Roster) -> None:
        """Simulated banks get the new roster as real ones do with the next kit."""
        for bank in self.workspace.bank_ids():
            if bank != self.bank:
                write_bytes(self.workspace.banks / bank / "roster.json", roster.to_bytes())


def _free(wanted: str, taken: Collection[str]) -> Name:
    """A name that is not taken, as near to the wanted one as a name's length allows."""
    names = [wanted, *(f"{wanted[: _LONGEST_NAME - 4]}-{number}" for number in range(2, 1000))]
    return next(name for name in (one[:_LONGEST_NAME].rstrip("-") for one in names) if name not in taken)


def _check_line(name: str, said: str) -> None:
    try:
        TypeAdapter(Line).validate_python(said)
    except ValidationError as error:
        raise ConfigError(f"{name}: {error.errors()[0]['msg']}; found {said!r}. Nothing was changed") from error


def spell_start(point: Point) -> str | None:
    """A point as `start` of a phase's settings spells it."""
    if point.public:
        return None
    return str(point.version) if point.phase is None else f"{point.phase}@{point.round}"


def _registered(workspace: Workspace) -> tuple[list[Version], int | None]:
    """Every version, and the champion's number."""
    # Imported on use: MLflow takes seconds.
    from server.models.champion import Champion
    from server.models.versions import CHAMPION

    try:
        champion = Champion(workspace)
    except CheckpointError:
        # Nothing was registered yet.
        return [], None
    champion.settle()
    return champion.models.all(), champion.models.aliases().get(CHAMPION)


@contextmanager
def _idle(workspace: Workspace) -> Iterator[None]:
    """Hold the workspace while no phase is under way in it; raises when one is."""
    if not socket_path(workspace.path).exists():
        # No coordinator of a deployment: then nothing else may work here either.
        with workspace.locked():
            yield
        return
    running = Operator(workspace.path).status()["running"]
    if running is not None:
        raise RuntimeFailure(
            f"phase {running!r} is under way; stop it with `fraudfl phase stop {running}`, or wait for its end. "
            "Nothing was changed"
        )
    yield
