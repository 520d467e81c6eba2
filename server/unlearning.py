"""`fraudfl bank remove --unlearn`: a bank leaves, and a phase is made that trains the model again without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from fraudfl.config import PhaseConfig
from fraudfl.errors import CheckpointError, ConfigError, RuntimeFailure, TrustError
from fraudfl.folder import write_bytes
from fraudfl.frozen import Name
from fraudfl.plan import Plan
from fraudfl.trust.chain import Line
from fraudfl.trust.departure import Departure, TouchedPhase, TouchedVersion
from fraudfl.trust.roster import Roster
from fraudfl.unlearning import Past, PastPhase, Point
from pipelines.world import State
from server.checkpoint import FileCheckpoints
from server.departures import DepartureLog, gone
from server.operator_line import Operator, socket_path
from server.past import past_of
from server.pki import Pki
from server.workspace import Workspace

if TYPE_CHECKING:
    from server.versions import Version

_LONGEST_NAME = 63


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """How a model is to be trained again.

    Attributes:
        clean: Where it begins.
        settings: The phase that does it.
        replaces, plan, origin: The phase whose place it takes, its plan, and what it had begun at.
        rounds_done: Rounds of `settings` that need not be run again.
    """

    clean: Point
    settings: PhaseConfig
    replaces: str
    plan: Plan
    origin: Point
    rounds_done: int

    @property
    def loses_rounds(self) -> bool:
        """Whether it has the rounds of one phase alone, for what several had trained one after another."""
        return not self.rounds_done and self.clean != self.origin


class Unlearning:
    """One bank's leaving of one workspace."""

    def __init__(self, workspace: Workspace, bank: str, rounds: int | None = None) -> None:
        """Find out what the bank's releases touched; changes nothing.

        Args:
            rounds: Rounds of the phase that trains again; by default those of the one whose place it takes.

        Raises:
            TrustError: when the bank never was on the roster, or a signed record was altered.
            ConfigError: when the banks that remain are too few to train again, or `rounds` does not fit.
        """
        self.workspace, self.bank = workspace, bank
        self._pki = Pki(workspace.coordinator / "pki")
        self._log = DepartureLog(workspace)
        self.record = self._recorded(self._pki.roster())
        self.versions, self.champion = _registered(workspace)
        self.past: Past = past_of(workspace, bank, self.versions)
        self.retraining = self._retraining(rounds)

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
            if self.retraining is not None:
                self.workspace.add_phase(self.retraining.settings)
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
        again = self.retraining
        return {
            "bank": self.bank,
            "roster": roster.number,
            "phases": tuple(self._touched()),
            "versions": tuple(TouchedVersion(number=number, digest=digests[number]) for number in self.past.versions),
            "champion": self.champion if self.champion in self.past.versions else None,
            "clean": None if again is None else again.clean,
            "retraining": None if again is None else again.settings.name,
            "replaces": None if again is None else again.replaces,
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

    def _retraining(self, rounds: int | None) -> Retraining | None:
        """How the newest model is trained again; None when it holds nothing of the bank, or the phase is there."""
        base, name = self.past.newest, self._name()
        if base is None or base not in self.past.touched or name in {phase.name for phase in self.workspace.phases()}:
            return None
        clean = self.past.clean_before(base)
        done = clean.round if clean.phase == base.name and clean.round is not None else 0
        settings = self._settings(base, clean, name, rounds)
        if settings.rounds < done:
            raise ConfigError(f"--rounds {rounds}: {clean} has {done} behind it already; give at least so many")
        return Retraining(
            clean=clean,
            settings=settings,
            replaces=base.name,
            plan=self._plan(base),
            origin=base.origin,
            rounds_done=done,
        )

    def _settings(self, base: PastPhase, clean: Point, name: Name, rounds: int | None) -> PhaseConfig:
        old = self.workspace.settings(base.name)
        assert isinstance(old, PhaseConfig)  # only phases that train are trained again
        remaining = sorted(set(self.workspace.phase(base.name).roster() or ()) - {self.bank, *gone(self.workspace)})
        facts = old.model_dump() | {"name": name, "start": spell_start(clean), "promote": "by-hand"}
        facts |= {"banks": {"names": remaining, "without": [self.bank]}, "waves": (), "rounds": rounds or old.rounds}
        prior = self._released_prior(old, clean)
        if prior is not None:
            training = old.training or self.workspace.config().training
            facts["training"] = training.model_copy(update={"prior": prior}).model_dump()
        try:
            return PhaseConfig.model_validate(facts)
        except ValidationError as error:
            said = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ConfigError(
                f"bank {self.bank} cannot be unlearned with the settings of phase {base.name!r}: {said}. Nothing was "
                "changed. `fraudfl bank remove` without --unlearn takes it off the roster alone"
            ) from error

    def _released_prior(self, old: PhaseConfig, clean: Point) -> float | None:
        """The fraud rate that a checkpoint's phase had from label counts, for a phase that asks for none again."""
        training = old.training or self.workspace.config().training
        if training.prior != "released" or clean.phase is None or clean.round is None:
            return None
        checkpoints = FileCheckpoints(self.workspace.phase(clean.phase).checkpoints)
        return State.from_checkpoint(checkpoints.of_round(clean.round))[0].prior

    def _name(self) -> Name:
        """What the phase that trains again is called: as the record says, or by a name that no phase has."""
        if self.record is not None and self.record.retraining is not None:
            return self.record.retraining
        taken = {phase.name for phase in self.workspace.phases()}
        wanted = f"without-{self.bank}"[:_LONGEST_NAME].rstrip("-")
        names = [wanted, *(f"{wanted[: _LONGEST_NAME - 4].rstrip('-')}-{number}" for number in range(2, 1000))]
        return next(name for name in names if name not in taken)

    def _plan(self, phase: PastPhase) -> Plan:
        return Plan.from_json((self.workspace.phase(phase.name).path / "plan.json").read_bytes())

    def _mark(self) -> None:
        if self.past.versions:
            from server.models import Models

            models = Models(self.workspace)
            for one in self.versions:
                if one.number in self.past.versions and self.bank not in one.holds:
                    models.mark(one, (*one.holds, self.bank))

    def _hand_out(self, roster: Roster) -> None:
        """Simulated banks get the new roster as real ones do with the next kit."""
        for bank in self.workspace.bank_ids():
            if bank != self.bank:
                write_bytes(self.workspace.banks / bank / "roster.json", roster.to_bytes())


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
    from server.champion import Champion
    from server.registry import CHAMPION

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
