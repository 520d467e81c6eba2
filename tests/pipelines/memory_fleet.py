"""A fleet without a network: real bank folders, real gates and tasks, requests handed over as Flower records."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import TypeAdapter

from bank_nodes.answers.answering import _refused, reply_to
from bank_nodes.gate.checks import Draft
from bank_nodes.gate.sealing import roster_of
from fraudfl.config import (
    AnyPhase,
    ConsortiumConfig,
    DataConfig,
    EncoderConfig,
    FeaturesConfig,
    FraudflConfig,
    GeneratorConfig,
    ModelConfig,
    SplitConfig,
    TrainingConfig,
)
from fraudfl.data.simulate import GENERATED_CONTRACT, generate
from fraudfl.errors import FraudflError
from fraudfl.folder import BankFolder, bank_paths
from fraudfl.metrics.gain_bins import gain_vector
from fraudfl.plan import TRAINING, Plan
from fraudfl.planning import make_plan
from fraudfl.privacy.ledger import Ledger
from fraudfl.protocols import SUMMED, Answer, Checkpoint, Kind, Reply, Request
from fraudfl.summed import part_sizes
from fraudfl.transfer.codec import Layout, encode
from fraudfl.transfer.frame import frame
from fraudfl.transfer.pack import pack_counts
from fraudfl.trust.keys import make_key, public_text
from fraudfl.trust.roster import Roster
from fraudfl.wire import (
    refusal_from_record,
    reply_from_record,
    reply_to_record,
    request_from_record,
    request_to_record,
)
from pipelines.world import Phase, Terms, World
from server.local.banks import create_banks
from server.rounds.aggregation import aggregator_of
from server.store.workspace import Workspace

INSTANCE = "0123456789abcdef"
COHORT = hashlib.sha256(b"all").hexdigest()
TRUSTING = {
    "approve": {"automatic": True, "modes": ["none", "local", "distributed"], "coordinator": "any"},
    "uncovered": ["*"],
}
"""A policy that approves every plan."""
LAYOUT: Layout = (("w", (3, 2)), ("b", (2,)))
UNSEALED: tuple[Kind, ...] = ("join", *SUMMED)
"""Kinds of request that a plan without secure aggregation contains."""
MADE_UP: tuple[Kind, ...] = (*UNSEALED, "peers")
"""Kinds whose work a test can make up: to open a sum needs one that was masked before."""


class KilledError(Exception):
    """Stands for the death of the coordinator's process."""


Happening = Callable[[str, Request, Callable[[], Reply]], Reply | Answer | None]
"""What happens when a bank is asked: bank, request, and a way to let the bank work.

None stands for silence; an answer stands for what the network says in the bank's place.
"""


def all_well(_bank: str, _request: Request, work: Callable[[], Reply]) -> Reply | None:
    return work()


@dataclass
class MemoryFleet:
    """Implements `Fleet` over the folders in `banks`; `happening` decides what becomes of each request."""

    folders: Path
    happening: Happening = all_well
    asked: list[Request] = field(default_factory=list)
    asked_of: list[str] = field(default_factory=list)
    sent: dict[tuple[str, str], list[bytes]] = field(default_factory=dict)
    overdue: list[tuple[Request, Answer]] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    paused: list[float] = field(default_factory=list)
    pausing: Callable[[float], None] = lambda _seconds: None

    def banks(self) -> tuple[str, ...]:
        return tuple(path.name for path in bank_paths(self.folders))

    def present(self) -> tuple[str, ...]:
        return tuple(bank for bank in self.banks() if bank not in self.gone)

    def overhead(self) -> Mapping[str, tuple[int, int]]:
        return dict.fromkeys(self.banks(), (40, 60))

    def late(self) -> list[tuple[Request, Answer]]:
        found, self.overdue = self.overdue, []
        return found

    def pause(self, seconds: float) -> None:
        self.paused.append(seconds)
        self.pausing(seconds)

    def ask(self, requests: Mapping[str, Request], *, deadline: float) -> Iterator[Answer]:
        for bank, request in requests.items():
            self.asked.append(request)
            self.asked_of.append(bank)
            yield self._answer(bank, request, deadline)

    def _answer(self, bank: str, request: Request, deadline: float) -> Answer:
        received = request_from_record(request_to_record(request))
        try:
            reply = self.happening(bank, request, lambda: reply_to(BankFolder(self.folders / bank), received))
        except FraudflError as error:
            return self._refusal(bank, error)
        if reply is None:
            reason = f"no answer within {deadline:g} s"
            return Answer(bank=bank, reply=None, reason=reason, code="silent", bytes_down=100)
        if isinstance(reply, Answer):
            return reply
        reply = reply_from_record(reply_to_record(reply))
        self.sent.setdefault((bank, request.key), []).append(frame(reply))
        return Answer(bank=bank, reply=reply, bytes_down=100, bytes_up=len(frame(reply)))

    def _refusal(self, bank: str, error: FraudflError) -> Answer:
        """As the bank says it, and the coordinator reads it."""
        refusal = refusal_from_record(_refused(self.folders / bank, error))
        assert refusal is not None
        facts = {"reason": refusal.reason, "code": refusal.code, "opens_at": refusal.opens_at}
        return Answer(bank=bank, reply=None, bytes_down=100, bytes_up=50, **facts)


@dataclass
class MemoryCheckpoints:
    """Implements `Checkpoints`; outlives a killed phase as a disk does."""

    kept: list[Checkpoint] = field(default_factory=list)
    attempts: dict[tuple[str, int], int] = field(default_factory=dict)
    marked: list[int] = field(default_factory=list)

    def keep(self, round_number: int) -> None:
        self.marked.append(round_number)

    def save(self, checkpoint: Checkpoint) -> None:
        arrays = {name: np.array(array) for name, array in checkpoint.arrays.items()}
        self.kept.append(replace(checkpoint, arrays=arrays))

    def latest(self) -> Checkpoint | None:
        return self.kept[-1] if self.kept else None

    def note_attempt(self, kind: str, round_number: int, attempt: int) -> None:
        self.attempts = {(kind, round_number): attempt}

    def attempt(self, kind: str, round_number: int) -> int:
        return self.attempts.get((kind, round_number), 1)


@dataclass
class MemoryRegistry:
    """Implements `Registry`."""

    rounds: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    bundles: list[str] = field(default_factory=list)

    def log_round(self, round_number: int, figures: Mapping[str, float]) -> None:
        self.rounds.append((round_number, dict(figures)))

    def finish(self, outcome: Mapping[str, Any]) -> None:
        self.outcome = dict(outcome)

    def register(self, outcome: Mapping[str, Any], bundle_folder: str) -> int:
        self.bundles.append(bundle_folder)
        return len(self.bundles)


@dataclass
class MemoryProgress:
    """Implements `Progress`."""

    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def event(self, name: str, **facts: Any) -> None:
        self.events.append((name, facts))


def tiny_config(phase: Mapping[str, Any] | None = None, *, banks: int = 6, **sections: Any) -> FraudflConfig:
    """A consortium of tiny generated banks; `phase` overrides the one phase's fields."""
    phase = dict(phase or {})
    facts: dict[str, Any] = {"name": "pilot", "deadline_seconds": 5, "patience_seconds": 0}
    if phase.get("kind", "pilot") in TRAINING:
        facts |= {"rounds": 3, "baselines": ["alone"]}
    split = SplitConfig.model_validate({"origin": "2025-01-01", "train_days": (5, 34), "test_days": (42, 59)})
    return FraudflConfig(
        consortium=ConsortiumConfig(name="tiny", seed=3),
        data=DataConfig(generator=GeneratorConfig(banks=banks, transactions=12_000, days=60, fraud_rate=0.05)),
        split=split,
        features=FeaturesConfig(windows_days=(7,), aggregates=("count", "mean", "since_last")),
        encoder=EncoderConfig(bins_per_decade=8, categories={"currency": ("EUR", "USD", "GBP", "CHF")}),
        model=ModelConfig(hidden=(8,)),
        training=TrainingConfig(batch_size=256),
        phases=(_PHASE.validate_python(facts | phase),),
        **sections,
    )


SECURE = {
    "secure_aggregation": {"min_cohort": 4, "colluding": 1},
    "strategy": {"weighting": "equal"},
    "baselines": [],
}
DISTRIBUTED = SECURE | {
    "privacy": {
        "mode": "distributed",
        "epsilon": 4.0,
        "units": 5000,
        "expected_units": 6000,
        "delta": 1e-6,
        "sampling_rate": 0.2,
    },
    "strategy": {"name": "dpadam", "weighting": "equal", "server_learning_rate": 0.02},
}
PRIVATE = {
    "privacy": {
        "mode": "local",
        "epsilon": 4.0,
        "units": 5000,
        "delta": 1e-6,
        "steps_per_round": 3,
        "sampling_rate": 0.05,
    },
    "strategy": {"weighting": "equal"},
    "baselines": [],
}


def plan_of(**phase: Any) -> Plan:
    """The plan of the tiny consortium's one phase."""
    return cached_plan(tiny_config(phase))


def plan_with(kind: Kind) -> Plan:
    """The simplest plan that contains a kind of request."""
    if kind in ("profile", "readiness"):
        return plan_of(kind="assessment")
    if kind == "look":
        return plan_of(early_stop={"patience": 3})
    if kind in ("watch", "outcome"):
        return plan_of(kind="monitoring", windows=6, window_days=5, first="2025-01-02", labels_after_days=5)
    return plan_of() if kind in UNSEALED else plan_of(**SECURE)


_PHASE: TypeAdapter[AnyPhase] = TypeAdapter(AnyPhase)
_plans: dict[str, Plan] = {}


def cached_plan(config: FraudflConfig) -> Plan:
    """The plan of a configuration's one phase; its noise takes a second to calibrate, and once is enough."""
    text = config.model_dump_json()
    if text not in _plans:
        _plans[text] = make_plan(config, config.phases[0], GENERATED_CONTRACT)
    return _plans[text]


def asking(plan: Plan, kind: Kind = "train", **facts: Any) -> Request:
    """A request that the plan contains, but for what `facts` say."""
    rounds = {"train": 1, "watch": 1, "outcome": 1} | dict.fromkeys(("evaluate", "alone", "gain"), plan.rounds)
    usual: dict[str, Any] = {"instance": INSTANCE, "round": rounds.get(kind, 0), "attempt": 1, "cohort": COHORT}
    if kind in ("confirm", "reveal"):
        usual |= {"about": "sketch"}
    offer = {"payloads": {"plan": plan.canonical_json()}} if kind == "join" else {}
    return Request(kind=kind, plan_hash=plan.hash, **(usual | offer | facts))


def draft_of(plan: Plan, kind: Kind, seed: int = 0) -> Draft:
    """What a task may want to release: all that the plan lets out in answer to this kind, and no more."""
    if kind in ("join", "peers", "readiness"):
        return Draft()
    random = np.random.default_rng(seed)
    if kind == "train":
        update = encode(random.normal(size=8).astype(np.float32), plan.codec.up, LAYOUT, rng=random)
        return Draft(payloads={"update": update}, mechanism=plan.round_mechanism, layout=LAYOUT)
    if kind == "gain":
        return Draft(payloads={"gain": pack_counts(gain_vector(0.03))})
    sizes = part_sizes(plan, kind)
    return Draft(payloads={name: pack_counts(random.integers(0, 9, size)) for name, size in sizes.items()})


def make_bank(path: Path, bank: str = "bank-01", **policy: Any) -> BankFolder:
    """One small bank with a key of its own, which approves every plan unless its `policy` says otherwise."""
    rows = generate(tiny_config().data.generator.model_copy(update={"transactions": 1000}), 1)
    folder = BankFolder.create(path, bank, rows, GENERATED_CONTRACT)
    public = public_text(make_key(path / "keys" / "bank.key"))
    (path / "keys" / "bank.pub").write_text(public + "\n")
    set_policy(path, **policy)
    return folder


def set_policy(folder: Path, **sections: Any) -> None:
    """Write a bank's policy: the trusting one, but for these sections."""
    (folder / "policy.yaml").write_text(yaml.safe_dump(TRUSTING | sections))


def make_banks(folder: Path, config: FraudflConfig) -> Path:
    """Bank folders of a configuration; returns `banks/`."""
    workspace = Workspace(folder)
    create_banks(config, workspace, folder)
    return workspace.banks


def copy_banks(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


@dataclass
class Consortium:
    """One phase over a set of bank folders, with everything that outlives the coordinator's process."""

    folders: Path
    config: FraudflConfig
    place: Path
    happening: Happening = all_well
    checkpoints: Any = field(default_factory=MemoryCheckpoints)
    registry: MemoryRegistry = field(default_factory=MemoryRegistry)
    progress: MemoryProgress = field(default_factory=MemoryProgress)
    fleet: MemoryFleet = field(init=False)

    def __post_init__(self) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        self.fleet = MemoryFleet(self.folders, lambda *facts: self.happening(*facts))

    @property
    def plan(self) -> Plan:
        return cached_plan(self.config)

    def phase(self, pooled: Any = None) -> Phase:
        """The phase as a freshly started coordinator sees it."""
        settings = self.config.phases[0]
        world = World(
            fleet=self.fleet,
            aggregator=aggregator_of(self.plan),
            checkpoints=self.checkpoints,
            registry=self.registry,
            progress=self.progress,
            notary=None,
            roster=self.roster,
            pooled=pooled,
            folder=self.place,
        )
        terms = Terms(
            instance=INSTANCE,
            quorum=settings.quorum,
            deadline=settings.deadline_seconds,
            patience=settings.patience_seconds,
            fold_late=getattr(settings, "stragglers", "drop") == "fold",
            cohort=settings.cohort,
        )
        return Phase(world=world, plan=self.plan, terms=terms)

    def roster(self) -> Roster:
        """The roster that the banks hold."""
        return roster_of(next(iter(bank_paths(self.folders))))

    def copy(self, place: Path) -> Consortium:
        """The same consortium once more, as its disks are now, for a test to go on with."""
        checkpoints = MemoryCheckpoints(list(self.checkpoints.kept), dict(self.checkpoints.attempts))
        folders = copy_banks(self.folders, place / "banks")
        return Consortium(folders, self.config, place / "coordinator", checkpoints=checkpoints)

    def ledger(self, bank: str) -> Ledger:
        return Ledger(self.folders / bank / "ledger.db")

    def events(self, name: str) -> list[dict[str, Any]]:
        return [facts for event, facts in self.progress.events if event == name]
