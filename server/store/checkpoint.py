"""Checkpoints of one phase as files: one safetensors file a round, moved into place whole; the newest, and the kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fraudfl.errors import CheckpointError
from fraudfl.folder import write_whole
from fraudfl.protocols import Checkpoint, Kind

KEPT = 2
"""How many of the newest stay."""
_KEPT_MARK = ".kept"


class FileCheckpoints:
    """A folder of `round-00007.safetensors`; the facts travel in each file's metadata.

    An empty `round-00007.kept` beside one says that it is never cleared away.
    """

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which the first checkpoint makes when there is none."""
        self._folder = folder

    def save(self, checkpoint: Checkpoint) -> None:
        """Store it; after a crash either the old or the new one is found whole."""
        arrays = {name: np.ascontiguousarray(array) for name, array in checkpoint.arrays.items()}
        facts = {"round": str(checkpoint.round), "facts": json.dumps(checkpoint.facts)}
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._file(checkpoint.round), lambda part: save_file(arrays, part, metadata=facts))
        for old in self._files()[:-KEPT]:
            if not old.with_suffix(_KEPT_MARK).exists():
                old.unlink()

    def keep(self, round_number: int) -> None:
        """Never clear away this round's checkpoint, if there is one now."""
        path = self._file(round_number)
        mark = path.with_suffix(_KEPT_MARK)
        if path.exists() and not mark.exists():
            write_whole(mark, lambda part: part.touch())

    def rounds(self) -> tuple[int, ...]:
        """Rounds whose checkpoint is there, ascending."""
        return tuple(int(path.stem.removeprefix("round-")) for path in self._files())

    def of_round(self, round_number: int) -> Checkpoint:
        """One round's; raises CheckpointError when it is not there, or damaged."""
        return _read(self._file(round_number))

    def latest(self) -> Checkpoint | None:
        """The newest one, or None."""
        files = self._files()
        return _read(files[-1]) if files else None

    def note_attempt(self, kind: Kind, round_number: int, attempt: int) -> None:
        """Remember that an attempt began."""
        facts = {"kind": kind, "round": round_number, "attempt": attempt}
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._attempt_file, lambda part: part.write_text(json.dumps(facts)))

    def attempt(self, kind: Kind, round_number: int) -> int:
        """The attempt that was under way; 1 when none was noted for this question."""
        if not self._attempt_file.exists():
            return 1
        try:
            facts = json.loads(self._attempt_file.read_text())
            return int(facts["attempt"]) if (facts["kind"], facts["round"]) == (kind, round_number) else 1
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{self._attempt_file}: cannot be read ({error}); start the phase anew") from error

    @property
    def _attempt_file(self) -> Path:
        return self._folder / "attempt.json"

    def _file(self, round_number: int) -> Path:
        return self._folder / f"round-{round_number:05d}.safetensors"

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("round-*.safetensors"))


def _read(path: Path) -> Checkpoint:
    try:
        with safe_open(path, framework="numpy") as file:
            facts = file.metadata()
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            return Checkpoint(round=int(facts["round"]), arrays=arrays, facts=json.loads(facts["facts"]))
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path}: this checkpoint is damaged ({error}); delete it to go on from the one before"
        ) from error
