"""What an evaluation came to, and the file that keeps it; read also where nothing is trained."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fraudfl.errors import CheckpointError, WireError
from fraudfl.folder import write_bytes
from fraudfl.metrics.figures import Figures
from fraudfl.metrics.histogram import ScoreBins, ScoreHistogram

_EVALUATION = "evaluation.json"


@dataclass(frozen=True)
class Evaluation:
    """Summed histograms of one model.

    Attributes:
        thresholds: Objective to logit, chosen on validation rows.
        figures: On test rows.
        banks: Who was heard.
    """

    validation: ScoreHistogram
    test: ScoreHistogram
    thresholds: dict[str, float]
    figures: Figures
    banks: set[str]


def keep_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Keep what the banks' test rows came to, so that another model can be compared on the same ones."""
    facts = {
        "banks": sorted(evaluation.banks),
        "bins": evaluation.test.bins.model_dump(mode="json"),
        "test": evaluation.test.to_vector().tolist(),
    }
    write_bytes(folder / _EVALUATION, json.dumps(facts).encode())


def read_evaluation(folder: Path) -> tuple[frozenset[str], ScoreHistogram] | None:
    """The banks, and their summed histogram of test rows, of a phase that came so far; else None.

    Raises:
        CheckpointError: when the file is not what `keep_evaluation` wrote.
    """
    path = folder / _EVALUATION
    if not path.exists():
        return None
    try:
        facts = json.loads(path.read_bytes())
        bins = ScoreBins.model_validate(facts["bins"])
        test = ScoreHistogram.from_vector(np.asarray(facts["test"], dtype=np.int64), bins)
        return frozenset(facts["banks"]), test
    except (ValueError, KeyError, TypeError, WireError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); restore it, or run the phase anew") from error
