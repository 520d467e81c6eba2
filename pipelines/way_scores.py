"""How each way to train scored the test rows: the histograms that curves are drawn from, kept with the phase."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fraudfl.errors import CheckpointError, WireError
from fraudfl.folder import write_bytes
from fraudfl.metrics.histogram import ScoreBins, ScoreHistogram
from fraudfl.plan import Plan
from fraudfl.results.measured import Source
from pipelines.evaluated import read_evaluation

_FILE = "scores.json"


@dataclass(frozen=True)
class WayScores:
    """Test rows of the same banks, scored by each way to train.

    Attributes:
        source: Whether rows were counted where one machine holds them all, or released through the gate.
        banks: How many banks the rows are of.
        noise_variance: Variance of the Gaussian noise that was in each count of `federated`; 0 where there was none.
        by_way: Way to train to its histogram; `federated` is always among them.
    """

    source: Source
    banks: int
    noise_variance: float
    by_way: Mapping[str, ScoreHistogram]

    @property
    def federated(self) -> ScoreHistogram:
        """The phase's own model."""
        return self.by_way["federated"]


def evaluation_noise(plan: Plan, banks: int) -> float:
    """Variance of the noise in each count of score histograms, summed over so many banks."""
    mechanism = plan.mechanism("evaluate")
    return 0.0 if mechanism is None else mechanism.share_deviation**2 * banks


def keep_way_scores(folder: Path, found: WayScores) -> None:
    """Keep them in a phase's folder, all or nothing."""
    facts = {
        "source": found.source,
        "banks": found.banks,
        "noise_variance": found.noise_variance,
        "bins": found.federated.bins.model_dump(mode="json"),
        "ways": {name: one.to_vector().tolist() for name, one in found.by_way.items()},
    }
    write_bytes(folder / _FILE, json.dumps(facts).encode())


def read_way_scores(folder: Path, plan: Plan) -> WayScores | None:
    """What a phase keeps; of one that ran before this was kept, its evaluation alone; None where it has neither.

    Raises:
        CheckpointError: naming the file that is not what was written.
    """
    path = folder / _FILE
    if not path.exists():
        released = read_evaluation(folder)
        if released is None:
            return None
        banks = len(released[0])
        return WayScores("released", banks, evaluation_noise(plan, banks), {"federated": released[1]})
    try:
        facts = json.loads(path.read_bytes())
        bins = ScoreBins.model_validate(facts["bins"])
        by_way = {
            str(name): ScoreHistogram.from_vector(np.asarray(counts, dtype=np.int64), bins)
            for name, counts in facts["ways"].items()
        }
        if "federated" not in by_way or facts["source"] not in ("exact", "released"):
            raise ValueError("expected a source, and the federated model among the ways to train")
        return WayScores(facts["source"], int(facts["banks"]), float(facts["noise_variance"]), by_way)
    except (ValueError, KeyError, TypeError, AttributeError, WireError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); restore it, or run the phase anew") from error
