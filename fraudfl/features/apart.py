"""Computes features in a process of their own: what that takes of memory goes back when it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from fraudfl.data.schema import Contract
from fraudfl.errors import DataError
from fraudfl.features.declaration import Feature


def compute_apart(source: Path, features: Sequence[Feature], destination: Path, contract: Contract) -> None:
    """Do what `windows.compute_features` does, elsewhere; raises its DataError."""
    task = {
        "source": str(source),
        "destination": str(destination),
        "contract": contract.model_dump(mode="json"),
        "features": [asdict(feature) for feature in features],
    }
    done = subprocess.run(
        [sys.executable, "-m", "fraudfl.features.apart"],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DataError(f"{source}: features could not be computed: {done.stderr.strip()[-2000:]}")


def main() -> None:
    """Read one task from standard input and do it."""
    from fraudfl.features.windows import compute_features

    task = json.load(sys.stdin)
    destination = Path(task["destination"])
    try:
        compute_features(
            Path(task["source"]),
            [Feature(**feature) for feature in task["features"]],
            destination,
            contract=Contract.model_validate(task["contract"]),
            temp_directory=destination.parent,
        )
    except DataError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
