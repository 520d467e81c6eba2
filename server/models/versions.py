"""What is written about each version of a consortium's model in MLflow's registry, and read back from there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Protocol

from pydantic import ValidationError

from fraudfl.config import SplitConfig
from fraudfl.errors import BundleError
from fraudfl.plan import Plan

HOLDS = "holds"
"""Tag of a version: banks that left and are to be unlearned, and whose releases it holds."""
Window = tuple[date, date]
"""First and last day."""


class Tagged(Protocol):
    """A version as MLflow has it: its own entity, or what was read from its tables."""

    @property
    def name(self) -> str:
        """Of the model."""

    @property
    def version(self) -> int | str:
        """Its number."""

    @property
    def run_id(self) -> str | None:
        """MLflow's run."""

    @property
    def tags(self) -> Mapping[str, str]:
        """What `version_tags` wrote."""


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """The version that a phase started from.

    Attributes:
        parent: Its number.
        digest: Its bundle's.
    """

    parent: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class Version:
    """One registered model.

    Attributes:
        number: The registry's.
        run_id: MLflow's run of the phase that made it.
        aliases: Among `champion`, `challenger` and `previous`.
        created: ISO 8601, UTC.
        digest: The bundle's.
        start: What the phase continued from; None where it began anew.
        split: Which days it was trained and tested on.
        metrics: As in `summary.json`, without figures of single banks; None where nothing was measured.
        mode, unit, epsilon, delta: The phase's privacy; ε and δ are None in mode `none`. ε is the plan's: at most this.
        banks: How many took part.
        holds: Banks that left and are to be unlearned, and whose releases it holds.
    """

    number: int
    run_id: str
    aliases: tuple[str, ...]
    created: str
    consortium: str
    phase: str
    kind: str
    instance: str
    plan_hash: str
    digest: str
    start: Lineage | None
    split: SplitConfig
    alert_budget: float
    metrics: dict[str, Any] | None
    mode: str
    unit: str
    epsilon: float | None
    delta: float | None
    banks: int
    holds: tuple[str, ...] = ()

    @property
    def lineage(self) -> Lineage:
        """What a phase that starts from this version says of its origin."""
        return Lineage(parent=self.number, digest=self.digest)

    @property
    def trained(self) -> Window | None:
        """First and last day of training, validation included; None where the data set brought its split."""
        return window_of(self.split, self.split.train_days)

    @property
    def tested(self) -> Window | None:
        """First and last day of the test window."""
        return window_of(self.split, self.split.test_days)

    def figure(self, name: str) -> tuple[float | None, list[float] | None]:
        """One figure of the federated model, and its interval."""
        metrics = self.metrics or {}
        return metrics.get("federated", {}).get(name), metrics.get("intervals", {}).get("federated", {}).get(name)


def version_tags(
    plan: Plan, outcome: Mapping[str, Any], *, instance: str, digest: str, created: str, start: Lineage | None
) -> dict[str, str]:
    """Everything that a version must say for itself, as MLflow's tags: readable by people, and by `read_version`."""
    tags = {
        "consortium": plan.consortium,
        "phase": plan.phase,
        "kind": plan.kind,
        "instance": instance,
        "plan_hash": plan.hash,
        "bundle_digest": digest,
        "created": created,
        "banks": str(outcome["banks"]),
        "alert_budget": repr(plan.alert_budget),
        "train_period": spelled(window_of(plan.split, plan.split.train_days)),
        "test_period": spelled(window_of(plan.split, plan.split.test_days)),
        "split": plan.split.model_dump_json(),
        "metrics": json.dumps(_shareable(outcome["metrics"])),
        "metrics_source": (outcome["metrics"] or {}).get("source", ""),
        "privacy_mode": plan.privacy.mode,
        "privacy_unit": plan.privacy.unit,
    }
    if plan.private:
        tags |= {"epsilon": repr(plan.privacy.epsilon), "delta": repr(plan.privacy.delta)}
    if start is not None:
        tags |= {"parent_version": str(start.parent), "start_digest": start.digest}
    return tags


def read_version(found: Tagged, aliases: tuple[str, ...]) -> Version:
    """Read a version's tags; raises BundleError naming the version when they are not what `version_tags` writes."""
    tags = found.tags
    try:
        start = (
            Lineage(parent=int(tags["parent_version"]), digest=tags["start_digest"]) if "start_digest" in tags else None
        )
        return Version(
            number=int(found.version),
            run_id=str(found.run_id),
            aliases=aliases,
            created=tags["created"],
            consortium=tags["consortium"],
            phase=tags["phase"],
            kind=tags["kind"],
            instance=tags["instance"],
            plan_hash=tags["plan_hash"],
            digest=tags["bundle_digest"],
            start=start,
            split=SplitConfig.model_validate_json(tags["split"]),
            alert_budget=float(tags["alert_budget"]),
            metrics=json.loads(tags["metrics"]),
            mode=tags["privacy_mode"],
            unit=tags["privacy_unit"],
            epsilon=float(tags["epsilon"]) if "epsilon" in tags else None,
            delta=float(tags["delta"]) if "delta" in tags else None,
            banks=int(tags["banks"]),
            holds=tuple(tags[HOLDS].split(",")) if tags.get(HOLDS) else (),
        )
    except (KeyError, ValueError, ValidationError) as error:
        raise BundleError(
            f"version {found.version} of model {found.name}: MLflow's tags do not describe it ({error!r}); it was "
            "registered by other software or edited. Delete it there, or run its phase again"
        ) from error


def spelled(window: Window | None) -> str:
    """A window for people: `2025-02-12 to 2025-03-01`."""
    return "as the data set brings it" if window is None else f"{window[0].isoformat()} to {window[1].isoformat()}"


def window_of(split: SplitConfig, days: tuple[int, int] | None) -> Window | None:
    """Days of a split as dates; None where the data set brings its split."""
    if split.by == "given" or split.origin is None or days is None:
        return None
    return split.origin + timedelta(days=days[0]), split.origin + timedelta(days=days[1])


def _shareable(metrics: Mapping[str, Any] | None) -> dict[str, Any] | None:
    # A registry may be shared with more people than a workspace is: single banks' figures stay in the phase's outcome.
    return None if metrics is None else {name: value for name, value in metrics.items() if name != "per_bank"}
