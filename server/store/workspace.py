"""A workspace on disk: banks' folders, what the coordinator keeps, and the summary."""

from __future__ import annotations

import fcntl
import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from fraudfl.config import AnyPhase, FraudflConfig, MonitoringConfig
from fraudfl.config_monitoring import is_challenger
from fraudfl.errors import CheckpointError, ConfigError
from fraudfl.folder import bank_paths, write_whole

_PHASE: TypeAdapter[AnyPhase] = TypeAdapter(AnyPhase)


class PhaseFolder:
    """What the coordinator keeps of one phase."""

    def __init__(self, path: Path) -> None:
        """Name the folder; nothing is read or made yet."""
        self.path = path

    @property
    def checkpoints(self) -> Path:
        """Folder of round checkpoints."""
        return self.path / "checkpoints"

    @property
    def events(self) -> Path:
        """JSON lines: what happened, as it happened."""
        return self.path / "events.jsonl"

    def instance(self) -> str:
        """The phase instance's name, made once; a resumed phase keeps it."""
        path = self.path / "instance"
        if not path.exists():
            self.path.mkdir(parents=True, exist_ok=True)
            write_whole(path, lambda part: part.write_text(secrets.token_hex(8)))
        return path.read_text().strip()

    def result(self) -> dict[str, Any] | None:
        """The phase's outcome, or None while there is none."""
        return read_json(self.path / "result.json")

    def set_result(self, outcome: dict[str, Any]) -> None:
        """Keep the phase's outcome."""
        write_json(self.path / "result.json", outcome)

    def roster(self) -> tuple[str, ...] | None:
        """The banks that take part, sorted; None before the phase begins."""
        facts = read_json(self.path / "roster.json")
        return None if facts is None else tuple(facts["banks"])

    def set_roster(self, banks: Sequence[str]) -> None:
        """Fix who takes part."""
        write_json(self.path / "roster.json", {"banks": list(banks)})

    def days(self) -> int | None:
        """How many simulated days of a monitoring phase are played; None for all."""
        return (read_json(self.path / "days.json") or {}).get("days")

    def set_days(self, days: int | None) -> None:
        """Fix how many are played from now on."""
        write_json(self.path / "days.json", {"days": days})

    def clear_result(self) -> None:
        """Forget an outcome before the phase goes on."""
        (self.path / "result.json").unlink(missing_ok=True)


class Workspace:
    """One folder of one consortium."""

    def __init__(self, path: Path) -> None:
        """Name the folder; nothing is read or made yet."""
        self.path = path.resolve()
        self.banks = self.path / "banks"
        self.coordinator = self.path / "coordinator"
        self.summary_file = self.path / "summary.json"

    def open(self, config: FraudflConfig, *, resume: bool) -> None:
        """Take a new or empty folder, or with `resume` the one of the same configuration.

        Raises:
            CheckpointError: when the folder holds something else.
        """
        kept = read_json(self.coordinator / "config.json")
        asked = config.model_dump(mode="json")
        if kept is None:
            if not self._empty():
                raise CheckpointError(f"{self.path}: not empty, and not a workspace; choose another --workspace")
            self.coordinator.mkdir(parents=True, exist_ok=True)
            write_json(self.coordinator / "config.json", asked)
            return
        if not resume:
            raise CheckpointError(
                f"{self.path}: holds an earlier run. Add --resume to go on with it, or choose another --workspace"
            )
        # Where the coordinator listens is no part of what was agreed, and a consortium may go on to further phases.
        begun = len(kept["phases"])
        now = asked | {"coordinator": kept["coordinator"], "phases": asked["phases"][:begun]}
        if kept != now:
            changed = ", ".join(sorted(name for name in now if now[name] != kept.get(name)))
            raise CheckpointError(
                f"{self.path}: was begun with another configuration (changed: {changed}). "
                "Resume with the one it was begun with (phases may be added at its end), or choose another --workspace"
            )
        write_json(self.coordinator / "config.json", asked)

    def _empty(self) -> bool:
        """Whether nothing is here, or only the keys that are made before a coordinator starts."""
        here = {*self.path.iterdir()} if self.path.exists() else set()
        inside = {*self.coordinator.iterdir()} if self.coordinator.exists() else set()
        return here <= {self.coordinator} and inside <= {self.coordinator / "pki"}

    def config(self) -> FraudflConfig:
        """The configuration that this workspace was begun with."""
        kept = read_json(self.coordinator / "config.json")
        if kept is None:
            raise CheckpointError(f"{self.path}: not a workspace; make one with `fraudfl run CONFIG --workspace DIR`")
        return FraudflConfig.model_validate(kept)

    def phases(self) -> tuple[AnyPhase, ...]:
        """The configuration's phases, then those that were added since, in order."""
        added = (read_json(self._added) or {"phases": []})["phases"]
        return (*self.config().phases, *(_PHASE.validate_python(facts) for facts in added))

    def settings(self, name: str) -> AnyPhase:
        """One phase's settings; raises ConfigError, saying which there are, when there is none."""
        phases = {phase.name: phase for phase in self.phases()}
        if name not in phases:
            raise ConfigError(f"there is no phase {name!r}; the consortium has {', '.join(phases)}")
        return phases[name]

    def within(self, name: str) -> str | None:
        """The monitoring phase that started a phase, and runs it; None for one that stands by itself."""
        watching = [phase.name for phase in self.config().phases if isinstance(phase, MonitoringConfig)]
        return next((one for one in watching if is_challenger(name, one)), None)

    def add_phase(self, settings: AnyPhase) -> None:
        """Add a phase that the configuration does not have; adding the same again changes nothing.

        Raises:
            ConfigError: when another phase has its name.
        """
        before = self.phases()
        same = next((phase for phase in before if phase.name == settings.name), None)
        if same == settings:
            return
        if same is not None:
            raise ConfigError(f"phase {settings.name!r} is there already, with other settings; choose another name")
        added = [*before[len(self.config().phases) :], settings]
        write_json(self._added, {"phases": [phase.model_dump(mode="json") for phase in added]})

    @property
    def _added(self) -> Path:
        return self.coordinator / "added-phases.json"

    def phase(self, name: str) -> PhaseFolder:
        """The folder of one phase, made when there is none."""
        folder = self.stored(name)
        folder.path.mkdir(parents=True, exist_ok=True)
        return folder

    def stored(self, name: str) -> PhaseFolder:
        """The folder of one phase for those who only read; it is not made."""
        return PhaseFolder(self.coordinator / "phases" / name)

    def bank_ids(self) -> list[str]:
        """Ids of the banks whose folders are complete, sorted."""
        return [path.name for path in bank_paths(self.banks)]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the workspace alone; raises CheckpointError when another process does."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock_file = self.path.parent / f".{self.path.name}.lock"
        with lock_file.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise CheckpointError(
                    f"{self.path}: another `fraudfl run` works here; wait for it or stop it"
                ) from error
            yield
        lock_file.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file; None when there is no file."""
    if not path.exists():
        return None
    try:
        facts: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path}: not JSON ({error}); restore it, or choose another --workspace") from error
    return facts


def write_json(path: Path, facts: dict[str, Any] | list[Any]) -> None:
    """Write a JSON object, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda part: part.write_text(json.dumps(facts, indent=2, allow_nan=False) + "\n"))
