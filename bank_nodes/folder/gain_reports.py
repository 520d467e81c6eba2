"""What a bank keeps of its gain: `gain/<phase instance>.json`, mode 0600, and the figures that can be made again.

Nothing here is released. The figures come from scores that the bank kept, and from its own rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bank_nodes.rules.policy import Policy
from fraudfl.data.split import split_rows
from fraudfl.errors import SourceError
from fraudfl.folder import BankFolder, clusters_of
from fraudfl.metrics.bank_gain import BankRows, bank_gain
from fraudfl.metrics.bootstrap import Bootstrap, Ranking, difference_interval
from fraudfl.plan import Plan
from fraudfl.trust.keys import now_text, write_secret

FOLDER = "gain"
ALONE, FEDERATED, OWN = "alone", "federated", "personalised"
WAYS = (ALONE, FEDERATED, OWN)
"""Ways to train, by the name that scores are kept under."""
Scores = Mapping[str, npt.NDArray[np.float32]]
_LARGEST = 1e6


@dataclass(frozen=True, kw_only=True)
class AlertTerms:
    """How a bank looks at alerts.

    Attributes:
        budget: Share of transactions that analysts can look at.
        cost: What it costs to look at one, in the bank's currency.
    """

    budget: float
    cost: float

    @classmethod
    def of(cls, policy: Policy, plan: Plan) -> AlertTerms:
        """The bank's own, and the plan's where the bank says nothing."""
        return cls(budget=policy.alert_budget or plan.alert_budget, cost=policy.cost_per_alert)


def kept_scores(folder: BankFolder, instance: str) -> Scores:
    """Way to train to its logits of the test rows; what was not finite counts as the largest, or smallest, there is."""
    return {way: finite(folder.scores(instance, f"{way}-test")) for way in WAYS}


def finite(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Logits that can be ranked, as score histograms rank them: what is no number comes last."""
    return np.nan_to_num(logits, nan=-_LARGEST, posinf=_LARGEST, neginf=-_LARGEST)


def own_figures(folder: BankFolder, plan: Plan, scores: Scores, terms: AlertTerms) -> dict[str, Any]:
    """What the bank gained on its test rows.

    Args:
        scores: See `kept_scores`; all of `WAYS`.

    Returns:
        `alerts`, the terms; `auprc` and `auprc_gain` by way to train; `takings`, see `BankGain`, or None without test
        rows; `money`, whether the bank's contract has amounts.

    Raises:
        SourceError: when the bank's rows are others than those that were scored.
    """
    rows, has_amounts = _test_rows(folder, plan)
    for way, logits in scores.items():
        if logits.shape != rows.labels.shape:
            raise SourceError(
                f"{folder.transactions}: has {rows.labels.size} test rows, and {logits.size} were scored ({way}). The "
                "data are others than in that phase; the figures of then are shown by `bank-node gain` without options"
            )
    settings = Bootstrap(budget=terms.budget)
    # A bank that keeps the global model as it is need not have its figures made twice.
    same = np.array_equal(scores[OWN], scores[FEDERATED])
    distinct = {way: logits for way, logits in scores.items() if not (same and way == OWN)}
    figures = {
        "auprc": {way: auprc(logits, rows) for way, logits in distinct.items()},
        "auprc_gain": {way: _auprc_gain(distinct, way, rows, settings) for way in distinct if way != ALONE},
    }
    takings = bank_gain(distinct, rows, terms.cost, settings).to_dict() if rows.labels.size else None
    if same:
        own = [*figures.values(), *((takings["takings"], takings["gains"]) if takings else ())]
        for by_way in own:
            by_way[OWN] = by_way[FEDERATED]
    return {
        "alerts": {"budget": terms.budget, "cost": terms.cost},
        **figures,
        "takings": takings,
        "money": has_amounts,
    }


def auprc(logits: npt.NDArray[np.float32], rows: BankRows) -> float | None:
    """Average precision on the bank's rows; None without a fraud."""
    if not rows.labels.any():
        return None
    return Ranking(logits, rows.labels).figures(np.ones(rows.labels.size), threshold=0.0, budget=0.5).auprc


class GainReports:
    """The reports in one bank's folder, one for each phase instance."""

    def __init__(self, bank_folder: Path) -> None:
        """Name the folder; nothing is read yet."""
        self._path = bank_folder / FOLDER

    def keep(self, instance: str, plan: Plan, facts: Mapping[str, Any]) -> None:
        """Keep a report, in place of an older one of the same phase instance.

        Raises:
            TrustError: when it cannot be written.
        """
        about = {"phase": plan.phase, "kind": plan.kind, "plan_hash": plan.hash, "instance": instance, "at": now_text()}
        data = json.dumps(about | dict(facts), indent=1, allow_nan=False).encode()
        write_secret(self._path / f"{instance}.json", data, replace=True)

    def all(self) -> list[dict[str, Any]]:
        """Every report, the newest last.

        Raises:
            SourceError: when one cannot be read.
        """
        found = [_read(path) for path in sorted(self._path.glob("*.json"))]
        return sorted(found, key=lambda report: str(report["at"]))

    def one(self, name: str | None) -> dict[str, Any]:
        """The newest report of a phase, or of all.

        Args:
            name: The phase's name, its instance, or None.

        Raises:
            SourceError: when there is none.
        """
        found = [one for one in self.all() if name in (None, one["phase"], one["instance"])]
        if not found:
            wanted = "" if name is None else f" of phase {name!r}"
            raise SourceError(
                f"{self._path}: holds no report{wanted}; one is made when a phase with `alone` among its baselines ends"
            )
        return found[-1]


def plan_of(bank_folder: Path, report: Mapping[str, Any]) -> Plan:
    """The plan that a report was made under; raises SourceError when it is not here any more."""
    path = bank_folder / "plans" / f"{report['plan_hash']}.json"
    try:
        return Plan.from_json(path.read_bytes())
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error}); the figures cannot be made again without it") from error


def _test_rows(folder: BankFolder, plan: Plan) -> tuple[BankRows, bool]:
    """The bank's test rows, and whether they have amounts."""
    table = folder.table()
    table = table.filter(pa.array(split_rows(table, plan.split).test))
    has_amounts = "amount" in table.column_names
    amounts = table["amount"].to_numpy().astype(np.float64) if has_amounts else np.zeros(table.num_rows)
    labels = table["label"].to_numpy().astype(np.int8)
    return BankRows(labels=labels, amounts=amounts, clusters=clusters_of(table)), has_amounts


def _auprc_gain(scores: Scores, way: str, rows: BankRows, settings: Bootstrap) -> dict[str, Any] | None:
    own, alone = (auprc(scores[name], rows) for name in (way, ALONE))
    if own is None or alone is None:
        return None
    interval = difference_interval((scores[way], scores[ALONE]), rows.labels, rows.clusters, settings)
    return {"value": own - alone, "interval": list(interval) if interval else None}


def _read(path: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads(path.read_bytes())
        _ = facts["at"], facts["phase"], facts["instance"], facts["plan_hash"], facts["own"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{path}: is not a report of a bank's gain ({error}); delete it") from error
    return facts
