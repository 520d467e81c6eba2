"""A bank's policy: its own rules about plans, releases, hours and resources, read from `policy.yaml`."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from bank_nodes.rules.schedule import Window, known_zone, parse_window
from fraudfl.config import Frozen
from fraudfl.config_file import load_yaml
from fraudfl.errors import ConfigError
from fraudfl.features.declaration import declare, declare_categorical
from fraudfl.plan import WINDOWS, Plan, ReleaseRule
from fraudfl.privacy.ledger import LedgerTotals

POLICY_FILE = "policy.yaml"
ANYTHING = "*"
"""In `uncovered`: whatever a plan lists."""
LARGEST_DELTA = 1e-5
"""Largest δ of a private plan that rules approve where `approve.max_delta` is left out: ε alone promises nothing."""


def _readable_window(text: str) -> str:
    parse_window(text)
    return text


PlanHash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
WindowText = Annotated[str, AfterValidator(_readable_window)]
Limit = Annotated[int, Field(ge=0)]
EpsilonLimit = Annotated[float, Field(ge=0)]


class Section(Frozen):
    """A part of the policy. What is left out has its default; what is left empty is a mistake, not a wider rule."""

    @field_validator("*", mode="before")
    @classmethod
    def _is_said(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None:
            raise ValueError("nothing is given here; give a value, or leave the key out")
        annotation = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and annotation is not bool:
            raise ValueError("yes and no mean nothing here")
        return value


class ApprovalRules(Section):
    """Which plans are approved without a person.

    Attributes:
        plans: Hashes of plans that are approved in advance, whatever the rules below say.
        automatic: Whether a plan that keeps all rules below is approved.
        max_epsilon: The plan must be private, with an ε of at most this.
        max_delta: The plan must be private, with a δ of at most this. None is no absence of a limit: it holds private
            plans to `LARGEST_DELTA`, and leaves those that promise nothing to `modes`.
        modes: Privacy modes that the plan may have.
        features: Names, or shell-style patterns, that every feature of the plan must fit; None allows any.
        min_cohort: The plan's minimum cohort must be at least this.
        secure_aggregation: Whether the plan must use secure aggregation.
        coordinator: `malicious`: where the plan masks sums, it must do so against a coordinator that lies; `any` lets
            it rest on an honest one.
        min_colluding: The plan must name at least so many banks that may work with the coordinator.
        max_rounds: Most rounds that the plan may have.
        kinds: Kinds of phase; None allows any.
        consortium: The one consortium whose plans are approved; None allows any.
    """

    automatic: bool = False
    plans: tuple[PlanHash, ...] = ()
    max_epsilon: EpsilonLimit | None = None
    max_delta: Annotated[float, Field(ge=0, lt=1)] | None = None
    modes: tuple[Literal["none", "local", "distributed"], ...] = ("local", "distributed")
    features: tuple[str, ...] | None = None
    min_cohort: int = Field(default=1, ge=1)
    secure_aggregation: bool = False
    coordinator: Literal["malicious", "any"] = "malicious"
    min_colluding: Limit = 0
    max_rounds: Limit | None = None
    kinds: tuple[Literal["assessment", "pilot", "rollout", "monitoring"], ...] | None = None
    consortium: str | None = None


class EpsilonCaps(Section):
    """Most ε that may be spent in one phase, in a calendar month, and ever.

    Attributes:
        delta: The δ at which every cap is read, whatever δ a plan names: ε at a δ of the coordinator's choosing would
            be no cap.
    """

    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-6
    phase: EpsilonLimit | None = None
    month: EpsilonLimit | None = None
    total: EpsilonLimit | None = None


class RoundCaps(Section):
    """Most rounds of training in one phase, in a calendar month, and ever."""

    phase: Limit | None = None
    month: Limit | None = None
    total: Limit | None = None


class ReleaseCaps(Section):
    """Most releases in one phase, on a calendar day, in a calendar month, and ever."""

    phase: Limit | None = None
    day: Limit | None = None
    month: Limit | None = None
    total: Limit | None = None


class Caps(Section):
    """What the bank never passes, whatever it approved. Days and months are those of `hours.zone`.

    Attributes:
        bytes_per_day: Most bytes that may leave on a calendar day.
    """

    epsilon: EpsilonCaps = EpsilonCaps()
    rounds: RoundCaps = RoundCaps()
    releases: ReleaseCaps = ReleaseCaps()
    bytes_per_day: Limit | None = None


class Hours(Section):
    """When the bank trains.

    Attributes:
        zone: IANA time zone of the windows, and of the days and months that caps count.
        windows: Such as `mon-fri 22:00-06:00`; none means always.
        max_load: Training begins only while the 1-minute load average per core is below this.
        told: Whether the operator is told the windows; a refusal outside of them names the next one in any case.
    """

    zone: Annotated[str, AfterValidator(known_zone)] = "UTC"
    windows: tuple[WindowText, ...] = ()
    max_load: Annotated[float, Field(gt=0)] | None = None
    told: bool = True

    @property
    def spelled(self) -> str:
        """The windows in words."""
        return f"{', '.join(self.windows) or 'always'} ({self.zone})"

    @property
    def parsed(self) -> tuple[Window, ...]:
        """The windows, read."""
        return tuple(parse_window(text) for text in self.windows)


class Resources(Section):
    """Most that the bank's process may use: processor cores, and memory in MiB."""

    cores: Annotated[int, Field(ge=1)] | None = None
    memory_mb: Annotated[int, Field(ge=1)] | None = None


class Policy(Section):
    """One bank's rules. The defaults approve no plan and let nothing leave without privacy.

    Attributes:
        uncovered: What may be released although no ε pays for it, by the name that plans give it; `*` is anything.
        alert_budget: Share of transactions that the bank's analysts can look at, for the bank's own figures; None is
            the plan's.
        cost_per_alert: What it costs to look at one, in the bank's currency, for the same figures.
        signers: Who may approve a plan; empty means anybody at the bank.
    """

    approve: ApprovalRules = ApprovalRules()
    uncovered: tuple[str, ...] = ()
    caps: Caps = Caps()
    hours: Hours = Hours()
    resources: Resources = Resources()
    alert_budget: Annotated[float, Field(gt=0, lt=1)] | None = None
    cost_per_alert: Annotated[float, Field(ge=0)] = 0.0
    signers: tuple[str, ...] = ()


def read_policy(folder: Path) -> Policy:
    """Read the policy of the bank whose folder this is; without the file, the defaults.

    Raises:
        ConfigError: naming file, line and key of everything that is wrong. Then nothing may be released.
    """
    path = folder / POLICY_FILE
    try:
        path.lstat()
    except FileNotFoundError:
        _refuse_other_spelling(folder)
        return Policy()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error}). Correct the folder's permissions.") from error
    try:
        stamp = path.stat()
    except OSError:
        # A link to nowhere, say: reading it tells what is wrong.
        return load_yaml(path, Policy)
    return _load(path, stamp.st_ino, stamp.st_size, stamp.st_mtime_ns)


@lru_cache(maxsize=1024)
def _load(path: Path, *_stamp: int) -> Policy:
    """Read anew when the file is another one: each request asks several times."""
    return load_yaml(path, Policy)


def _refuse_other_spelling(folder: Path) -> None:
    other = folder / "policy.yml"
    if other.exists():
        raise ConfigError(f"{other}: found a policy under another name; expected {POLICY_FILE}. Rename it.")


def review(plan: Plan, policy: Policy) -> list[str]:
    """List every reason why the policy does not approve a plan by itself; empty means that it does."""
    rules = policy.approve
    hard = objections(plan, policy)
    if plan.hash in rules.plans:
        return hard
    if not rules.automatic:
        return [*hard, "approve.automatic is off, and the plan's hash is not in approve.plans"]
    checks = (_against_privacy, _against_features, _against_sealing, _against_terms)
    return [*hard, *(reason for check in checks for reason in check(plan, rules))]


def objections(plan: Plan, policy: Policy) -> list[str]:
    """List what no approval can override: releases without privacy that have no line in `uncovered`."""
    allowed = frozenset(policy.uncovered)
    return [
        f"{content!r} would be released without privacy; `uncovered` in {POLICY_FILE} does not list it"
        for content in uncovered_contents(plan)
        if ANYTHING not in allowed and content not in allowed
    ]


def uncovered_contents(plan: Plan) -> tuple[str, ...]:
    """Name what leaves without privacy, in the plan's words but not by its claims."""
    listed = [(kind, rule) for kind, rules in plan.releases.items() for rule in rules]
    return tuple(sorted({rule.content for kind, rule in listed if not is_covered(plan, kind, rule)}))


def is_covered(plan: Plan, kind: str, rule: ReleaseRule) -> bool:
    """Whether ε really pays for a release, as the plan says: only for replies that carry a mechanism.

    What windows carry into other rows leaves with such a reply, and no mechanism bounds it.
    """
    return rule.covered and rule.content != WINDOWS and _promises(plan) and plan.mechanism(kind) is not None


def _promises(plan: Plan) -> bool:
    # Not by ε alone: a plan can name one and then release without noise.
    noise = plan.noise_multiplier if plan.trains else plan.noise_of("profile" if plan.profile else "watch")
    return plan.private and noise is not None and noise > 0


def _against_privacy(plan: Plan, rules: ApprovalRules) -> Iterator[str]:
    privacy = plan.privacy
    if privacy.mode not in rules.modes:
        yield f"privacy mode is {privacy.mode!r}; approve.modes has {', '.join(rules.modes) or 'none'}"
    promised = _promises(plan)
    if rules.max_epsilon is not None and (privacy.epsilon is None or not promised):
        yield f"the plan promises no ε; approve.max_epsilon asks for one of at most {rules.max_epsilon:g}"
    elif rules.max_epsilon is not None and not (privacy.epsilon or 0) <= rules.max_epsilon:
        yield f"ε is {privacy.epsilon:g}; approve.max_epsilon is {rules.max_epsilon:g}"
    yield from _against_delta(plan, rules.max_delta, promised)


def _against_delta(plan: Plan, given: float | None, promised: bool) -> Iterator[str]:
    limit = LARGEST_DELTA if given is None else given
    asked = given is not None or plan.private
    if asked and not (promised and plan.privacy.delta <= limit):
        found = f"δ is {plan.privacy.delta:g}" if promised else "the plan promises no δ"
        yield f"{found}; approve.max_delta is {limit:g}"


def _against_features(plan: Plan, rules: ApprovalRules) -> Iterator[str]:
    if rules.features is None:
        return
    try:
        names = feature_names(plan)
    except ConfigError as error:
        yield f"the plan's features cannot be told: {error}"
        return
    for name in names:
        if not any(name == pattern or fnmatchcase(name, pattern) for pattern in rules.features):
            yield f"feature {name!r} fits nothing in approve.features"


def feature_names(plan: Plan) -> tuple[str, ...]:
    """Every feature that a plan computes or puts into its encoder, numeric and categorical, each once.

    Raises:
        ConfigError: when the plan's features are impossible.
    """
    declared = (feature.name for feature in declare(plan.features, plan.contract))
    categorical = declare_categorical(plan.features, plan.contract)
    return tuple(dict.fromkeys((*declared, *categorical, *plan.encoder.numeric, *plan.encoder.categorical)))


def _against_sealing(plan: Plan, rules: ApprovalRules) -> Iterator[str]:
    secure = plan.secure_aggregation
    if plan.min_cohort < rules.min_cohort:
        yield f"the plan's minimum cohort is {plan.min_cohort}; approve.min_cohort is {rules.min_cohort}"
    if rules.secure_aggregation and secure is None:
        yield "the plan does not use secure aggregation; approve.secure_aggregation asks for it"
    if secure is not None and rules.coordinator not in ("any", secure.coordinator):
        yield (
            f"the plan's secure aggregation holds against a coordinator that is {secure.coordinator!r}; "
            f"approve.coordinator is {rules.coordinator!r}"
        )
    colluding = 0 if secure is None else secure.colluding
    if colluding < rules.min_colluding:
        yield f"the plan holds against {colluding} colluding banks; approve.min_colluding is {rules.min_colluding}"


def _against_terms(plan: Plan, rules: ApprovalRules) -> Iterator[str]:
    if rules.max_rounds is not None and plan.rounds > rules.max_rounds:
        yield f"the plan has {plan.rounds} rounds; approve.max_rounds is {rules.max_rounds}"
    if rules.kinds is not None and plan.kind not in rules.kinds:
        yield f"the phase is a {plan.kind!r}; approve.kinds has {', '.join(rules.kinds) or 'none'}"
    if rules.consortium is not None and plan.consortium != rules.consortium:
        yield f"the consortium is {plan.consortium!r}; approve.consortium is {rules.consortium!r}"


def over_cap(policy: Policy, totals: LedgerTotals, size: int, counts_round: bool) -> str | None:
    """Say which cap one more release would pass, or return None.

    Args:
        policy: The bank's policy.
        totals: What was released before, as the ledger counts it.
        size: Bytes of the release; 0 while they are not known yet.
        counts_round: Whether it is a round of training.
    """
    caps, one_round = policy.caps, int(counts_round)
    checks = (
        ("rounds.phase", caps.rounds.phase, totals.rounds_phase, one_round),
        ("rounds.month", caps.rounds.month, totals.rounds_month, one_round),
        ("rounds.total", caps.rounds.total, totals.rounds_total, one_round),
        ("releases.phase", caps.releases.phase, totals.releases_phase, 1),
        ("releases.day", caps.releases.day, totals.releases_day, 1),
        ("releases.month", caps.releases.month, totals.releases_month, 1),
        ("releases.total", caps.releases.total, totals.releases_total, 1),
        ("bytes_per_day", caps.bytes_per_day, totals.bytes_day, size),
    )
    for name, cap, used, more in checks:
        if cap is not None and more > 0 and used + more > cap:
            return f"caps.{name} is {cap}; {used} are used, and this release needs {more} more"
    return None
