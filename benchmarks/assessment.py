"""An assessment's estimates set against the phases themselves: bytes, seconds, inputs and ε, for several recipes.

    python benchmarks/assessment.py [--quick] [--workspace DIR]

Each recipe is the quickstart's consortium with an assessment before its pilot, run as a user would. The error is the
estimate over the measured figure, less one. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from fraudfl.assessment.report import READINESS
from fraudfl.features.encoder import Encoder
from server.store.workspace import Workspace, read_json

QUICKSTART = Path(__file__).resolve().parent.parent / "configs" / "quickstart.yaml"
SEALED: dict[str, Any] = {"secure_aggregation": {"min_cohort": 8, "colluding": 1}, "strategy": {"weighting": "equal"}}
PRIVACY = {"mode": "distributed", "epsilon": 3.0, "units": 100_000, "expected_units": 150_000, "sampling_rate": 0.02}
RECIPES: dict[str, dict[str, Any]] = {
    "int8, in the open": {"codec": {"up": "int8", "down": "int8"}},
    "float32, in the open": {},
    "float32, summed": SEALED | {"codec": {"up": "float32", "down": "int8"}},
    "with noise, summed": SEALED
    | {
        "strategy": {"name": "dpadam", "weighting": "equal"},
        "privacy": {**PRIVACY, "encoder_share": 0.1, "evaluation_share": 0.1},
        "codec": {"up": "float32", "down": "int8"},
    },
}


def main() -> None:
    """Run the recipes and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one recipe on a fifth of the data, three rounds")
    parser.add_argument("--workspace", type=Path, help="where to run; a temporary folder by default")
    options = parser.parse_args()
    base = options.workspace or Path(tempfile.mkdtemp(prefix="assessment-"))
    recipes = dict(list(RECIPES.items())[:1]) if options.quick else RECIPES
    found = {name: run(name, phase, base, quick=options.quick) for name, phase in recipes.items()}
    show(found)
    sys.stdout.write(json.dumps({"recipes": found}) + "\n")


def run(name: str, phase: dict[str, Any], base: Path, *, quick: bool) -> dict[str, dict[str, float]]:
    """One recipe: estimated and measured, by figure."""
    config = yaml.safe_load(QUICKSTART.read_text())
    if quick:
        config["data"]["generator"]["transactions"] //= 5
    rounds = 3 if quick else 12
    pilot = {"name": "pilot", "kind": "pilot", "rounds": rounds, "baselines": ["alone"], **phase}
    if "privacy" in phase:
        pilot["baselines"] = []
    config["phases"] = [{"name": "look", "kind": "assessment"}, pilot]
    place = base / name.replace(" ", "-").replace(",", "")
    place.mkdir(parents=True)
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    command = [
        sys.executable,
        "-m",
        "server.cli",
        "run",
        str(place / "config.yaml"),
        "--workspace",
        str(place / "work"),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"{name}: the run failed\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return compare(Workspace(place / "work"))


def compare(workspace: Workspace) -> dict[str, dict[str, float]]:
    """What the assessment said of the pilot, and what the pilot was."""
    readiness, outcome = read_json(workspace.phase("look").path / READINESS), workspace.phase("pilot").result()
    assert readiness is not None
    assert outcome is not None
    (said,) = readiness["ahead"]
    width = Encoder.from_bytes((workspace.phase("pilot").path / "encoder.json").read_bytes()).width
    transfer = outcome["transfer"]
    figures: dict[str, tuple[float, float]] = {
        "bytes up": (said["bytes_up"], transfer["bytes_up"]),
        "bytes down": (said["bytes_down"], transfer["bytes_down"]),
        "bytes": (said["bytes_up"] + said["bytes_down"], transfer["bytes_up"] + transfer["bytes_down"]),
        "inputs": (said["inputs"], width),
        "seconds": (said["seconds"], outcome["seconds"]),
    }
    if said["epsilon"] is not None:
        figures["ε"] = (said["epsilon"], outcome["privacy"]["epsilon_max"])
    return {
        name: {"estimated": estimated, "measured": measured, "error": estimated / measured - 1}
        for name, (estimated, measured) in figures.items()
    }


def show(found: dict[str, dict[str, dict[str, float]]]) -> None:
    """Print the table."""
    table = Table(title="estimated before the pilot, and measured in it", title_justify="left")
    for heading in ("recipe", "figure", "estimated", "measured", "error"):
        table.add_column(heading, justify="left" if heading in ("recipe", "figure") else "right")
    for recipe, figures in found.items():
        for name, one in figures.items():
            numbers = (
                f"{one[end]:,.2f}" if one[end] < 100 else f"{one[end]:,.0f}" for end in ("estimated", "measured")
            )
            table.add_row(recipe, name, *numbers, f"{one['error']:+.1%}")
    Console(highlight=False).print(table)


if __name__ == "__main__":
    main()
