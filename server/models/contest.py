"""Challenger against champion on the same out-of-time window: row by row where the banks are here, else by sums."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Annotated

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from fraudfl.config import FeaturesConfig, Frozen, SplitConfig
from fraudfl.data.split import split_rows
from fraudfl.errors import BundleError, CheckpointError, DataError
from fraudfl.folder import BankFolder, bank_paths
from fraudfl.metrics.bootstrap import Bootstrap
from fraudfl.metrics.compare import Comparison, Difference, histogram_difference, paired_difference
from fraudfl.metrics.figures import FigureName
from fraudfl.metrics.histogram import ScoreBins, ScoreHistogram
from fraudfl.models.bundle import Bundle
from fraudfl.plan import Plan
from server.models.bundles import Models
from server.models.departures import gone
from server.models.versions import Version, Window, spelled, window_of
from server.store.workspace import Workspace

REPLICATES = 400
LATE = 0.05
"""Largest share of frauds whose labels may have come between the countings of two models' sums."""
_SUMS = "windows"


class WindowSums(Frozen):
    """How one version scored one window at the banks: score histograms, summed through the gate.

    Attributes:
        window: First and last day; None where the data set brings its split.
        banks: Whose rows they are, sorted.
        bins: The public bins.
        counts: Frauds, then others, shape (2 * bins.size,), as `ScoreHistogram.to_vector` gives them.
        inflation: Design effect of accounts, >= 1; see `histogram_difference`. It has no default, because 1 would make
            differences look surer than they are.
        noise: Standard deviation of the noise in each count, 0 where there was none.
    """

    window: tuple[date, date] | None
    banks: tuple[str, ...]
    bins: ScoreBins
    counts: tuple[int, ...]
    inflation: Annotated[float, Field(ge=1)]
    noise: Annotated[float, Field(ge=0)] = 0.0

    @classmethod
    def of(cls, plan: Plan, banks: Collection[str], test: ScoreHistogram, inflation: float) -> WindowSums:
        """What a phase's evaluation at the banks came to.

        Args:
            plan: The phase's: it says which days, and how much noise each bank added.
            banks: Who was heard.
            test: The summed histogram of test rows.
            inflation: See above.
        """
        mechanism = plan.mechanism("evaluate")
        return cls(
            window=window_of(plan.split, plan.split.test_days),
            banks=tuple(sorted(banks)),
            bins=test.bins,
            counts=tuple(test.to_vector().tolist()),
            inflation=inflation,
            noise=0.0 if mechanism is None else mechanism.share_deviation * math.sqrt(len(banks)),
        )

    @property
    def histogram(self) -> ScoreHistogram:
        """The counts as a histogram; raises WireError when they do not fit the bins."""
        return ScoreHistogram.from_vector(np.asarray(self.counts, dtype=np.int64), self.bins)


def keep_sums(models: Models, version: Version, sums: WindowSums) -> None:
    """Keep how a version scored a window; a deployment's phase does it for the champion and for its own model."""
    models.keep(version, _file_of(sums.window), sums.model_dump(mode="json"))


class Contest:
    """Compares versions of one workspace's model."""

    def __init__(self, workspace: Workspace, models: Models) -> None:
        """Name the workspace; nothing is read yet."""
        self._workspace = workspace
        self._models = models

    def compare(self, challenger: Version, champion: Version, figure: FigureName = "auprc") -> Comparison:
        """Compare two versions on the challenger's test window.

        Raises:
            DataError: when one of them was trained on that window, or nothing is known about the same rows.
            BundleError: when a bundle is not what was registered.
        """
        window = _common_window(challenger, champion)
        local = bool(bank_paths(self._workspace.banks))
        difference, banks = (self._row_by_row if local else self._by_sums)(challenger, champion, figure)
        return Comparison(
            champion=champion.number,
            challenger=challenger.number,
            window=window,
            banks=banks,
            difference=difference,
        )

    def _row_by_row(self, challenger: Version, champion: Version, figure: FigureName) -> tuple[Difference, int]:
        bundles = [Bundle.load(self._models.bundle_folder(one)) for one in (champion, challenger)]
        # Each model's balanced accuracy is that of its own threshold; other figures do not look at thresholds.
        zeros = [one.thresholds["balanced_accuracy"] if figure == "balanced_accuracy" else 0.0 for one in bundles]
        rows = list(self._scored(bundles, challenger.split))
        if not rows:
            raise DataError(f"no bank in {self._workspace.banks} has a row in {spelled(challenger.tested)}")
        first, second = (np.concatenate([one.logits[model] for one in rows]) - zeros[model] for model in (0, 1))
        labels = np.concatenate([one.labels for one in rows])
        clusters = np.concatenate([one.clusters for one in rows])
        return paired_difference(first, second, labels, clusters, _settings(challenger), figure), len(rows)

    def _scored(self, bundles: list[Bundle], split: SplitConfig) -> Iterator[_Rows]:
        """Each bank's rows of the window, with both models' scores; accounts are numbered through all banks."""
        accounts = 0
        left = gone(self._workspace)
        for path in (path for path in bank_paths(self._workspace.banks) if path.name not in left):
            folder = BankFolder(path)
            table = folder.table()
            wanted = pa.array(split_rows(table, split).test)
            table = table.filter(wanted)
            if table.num_rows:
                logits = tuple(bundle.score(folder.features(_features(bundle)).filter(wanted)) for bundle in bundles)
                clusters = _accounts(table) + accounts
                accounts = int(clusters.max()) + 1
                yield _Rows((logits[0], logits[1]), table["label"].to_numpy().astype(np.int8), clusters)

    def _by_sums(self, challenger: Version, champion: Version, figure: FigureName) -> tuple[Difference, int]:
        if figure == "balanced_accuracy":
            raise DataError("balanced accuracy depends on each model's own threshold; compare sums by another figure")
        first, second = (self._sums(one, challenger.tested) for one in (champion, challenger))
        if first.banks != second.banks or first.bins != second.bins:
            raise DataError(
                f"version {champion.number} was scored at {len(first.banks)} banks and version {challenger.number} at "
                f"{len(second.banks)}, not the same ones in the same bins; ask the same banks for both"
            )
        noise, inflation = max(first.noise, second.noise), max(first.inflation, second.inflation)
        both = first.histogram, second.histogram
        difference = histogram_difference(
            *both, _settings(challenger), figure, inflation=inflation, noise=noise, late=LATE
        )
        return difference, len(first.banks)

    def _sums(self, version: Version, window: Window | None) -> WindowSums:
        kept = self._models.kept(version, _file_of(window))
        if kept is None:
            raise DataError(
                f"version {version.number} was not scored at the banks on {spelled(window)}, and no bank's folder is "
                "here; run a phase that evaluates both"
            )
        try:
            return WindowSums.model_validate(kept)
        except ValidationError as error:
            raise CheckpointError(f"{_file_of(window)} of version {version.number} cannot be read: {error}") from error


@dataclass(frozen=True)
class _Rows:
    """One bank's rows: two models' logits, labels and accounts, each of shape (rows,)."""

    logits: tuple[NDArray[np.float32], NDArray[np.float32]]
    labels: NDArray[np.int8]
    clusters: NDArray[np.int64]


def _common_window(challenger: Version, champion: Version) -> Window | None:
    """The challenger's test window; raises DataError when it is not later than all training of both."""
    window = challenger.tested
    if window is None or champion.trained is None:
        if (challenger.split, challenger.tested) == (champion.split, champion.tested):
            return None
        raise DataError(
            f"versions {champion.number} and {challenger.number} were split in different ways, so no row is known to "
            "be later than both trainings"
        )
    for one in (champion, challenger):
        if one.trained is not None and one.trained[1] >= window[0]:
            raise DataError(
                f"version {one.number} was trained on {spelled(one.trained)}, which reaches into the window "
                f"{spelled(window)}; it would be judged on what it has seen"
            )
    return window


def _settings(challenger: Version) -> Bootstrap:
    return Bootstrap(replicates=REPLICATES, budget=challenger.alert_budget, threshold=0.0)


def _features(bundle: Bundle) -> FeaturesConfig:
    try:
        return FeaturesConfig.model_validate(bundle.metadata["features"])
    except (KeyError, ValidationError) as error:
        raise BundleError(f"the bundle's metadata does not say which features it scores ({error})") from error


def _accounts(table: pa.Table) -> NDArray[np.int64]:
    """A number per account; every row has its own where there are no accounts."""
    if "account" not in table.column_names:
        return np.arange(table.num_rows, dtype=np.int64)
    return np.unique(table["account"].to_numpy(), return_inverse=True)[1].astype(np.int64)


def _file_of(window: Window | None) -> str:
    return f"{_SUMS}/given.json" if window is None else f"{_SUMS}/{window[0].isoformat()}_{window[1].isoformat()}.json"
