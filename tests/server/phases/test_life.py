"""A consortium's watched life: drift and a new kind of fraud, alerts in time, a challenger that wins; through crashes.

Banks, gates, ledgers, MLflow and the operator's key are real; only the network is not.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from memory_fleet import KilledError, MemoryFleet
from typer.testing import CliRunner

from bank_nodes.cli import app as bank_node
from fraudfl.config import FraudflConfig
from fraudfl.errors import ConfigError
from fraudfl.folder import BankFolder
from fraudfl.metrics.histogram import ScoreBins
from fraudfl.monitoring.life import Challenge, Contested
from fraudfl.monitoring.observed import Observed
from fraudfl.plan import Plan
from fraudfl.privacy.ledger import Ledger
from fraudfl.protocols import Reply, Request
from pipelines.world import State
from server.local.banks import create_banks
from server.models.champion import Champion
from server.phases.assembly import PhaseRun
from server.phases.life import ConsortiumLife
from server.phases.preparing import prepare
from server.store.checkpoint import FileCheckpoints
from server.store.workspace import PhaseFolder, Workspace

DRIFT, FRAUD, WINDOWS = 6, 7, 10
"""Windows: amounts grow from the sixth on, cash is drawn from the seventh on; the first four are the reference."""
FIRST = date(2023, 5, 31)
RETRAIN = {"wait_days": 30, "train_days": 90}
CONFIG = FraudflConfig.model_validate(
    {
        "consortium": {"name": "year", "seed": 4},
        "data": {
            "source": "generated",
            "generator": {
                "banks": 3,
                "transactions": 15 * 5000,
                "days": 15 * 30,
                "start": "2023-01-01",
                "fraud_rate": 0.015,
                "changes": {
                    "drifts": [{"month": 5 + DRIFT, "kind": "amounts", "strength": 0.5}],
                    "new_frauds": [{"month": 5 + FRAUD, "kind": "cash_out", "rate": 0.05}],
                },
            },
        },
        "features": {"windows_days": [1, 7]},
        "split": {"origin": "2023-01-01", "train_days": [30, 119], "test_days": [127, 149], "label_delay_days": 7},
        "encoder": {"categories": {"currency": ["EUR", "USD", "GBP", "CHF"]}},
        "model": {"hidden": [16]},
        "training": {"local_epochs": 2, "batch_size": 128, "learning_rate": 0.01},
        "phases": [
            {"name": "pilot", "rounds": 8, "baselines": [], "promote": "if-better", "alert_budget": 0.08},
            {
                "name": "watch",
                "kind": "monitoring",
                "windows": WINDOWS,
                "quiet": 4,
                "alert_budget": 0.08,
                "score_bins": 256,
                "rules": [
                    {"name": "data-moved", "measure": "psi_max", "at_least": 0.1},
                    {"name": "new-fraud", "measure": "missed_ratio", "at_least": 1.5, "action": "retrain"},
                ],
                "alerts": {"file": "coordinator/alerts.jsonl"},
                "retrain": RETRAIN,
            },
        ],
    }
)
Dies = Callable[[str, Request], bool]


@dataclass
class Year:
    """One played year.

    Attributes:
        deaths: Coordinators that died on the way.
        before: A copy of the workspace as the pilot left it, without banks.
    """

    workspace: Workspace
    before: Path
    deaths: int = 0
    ahead: list[Dies] = field(default_factory=list)

    def fleet(self) -> MemoryFleet:
        return MemoryFleet(self.workspace.banks, self._happening)

    def _happening(self, bank: str, request: Request, work: Callable[[], Reply]) -> Reply:
        if self.ahead and self.ahead[0](bank, request):
            self.ahead.pop(0)
            raise KilledError
        return work()

    def play(self, name: str) -> dict[str, Any]:
        folder = prepare(self.workspace, self.workspace.settings(name), self.contract, self.workspace.bank_ids())
        while True:
            try:
                PhaseRun(self.workspace, folder, simulated=True).run(self.fleet, len(self.workspace.bank_ids()))
            except KilledError:
                self.deaths += 1
                continue
            outcome = folder.result()
            assert outcome is not None
            return outcome

    @property
    def contract(self) -> Any:
        return BankFolder(self.workspace.banks / self.workspace.bank_ids()[0]).contract

    @property
    def outcome(self) -> dict[str, Any]:
        found = self.workspace.phase("watch").result()
        assert found is not None
        return found

    @property
    def monitoring(self) -> dict[str, Any]:
        section: dict[str, Any] = self.outcome["monitoring"]
        return section

    def days(self, window: int) -> str:
        first = FIRST + timedelta(days=30 * (window - 1))
        return f"{first}..{first + timedelta(days=29)}"


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Year:
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("year")
    workspace = Workspace(place / "work")
    workspace.open(CONFIG, resume=False)
    create_banks(CONFIG, workspace, place)
    played = Year(workspace, place / "before")
    played.play("pilot")
    shutil.copytree(workspace.path, played.before, ignore=shutil.ignore_patterns("banks"))
    last = workspace.bank_ids()[-1]
    played.ahead = [
        lambda bank, request: (request.kind, request.round, bank) == ("watch", 2, last),
        lambda bank, request: (request.kind, request.round, bank) == ("outcome", FRAUD, last),
        lambda _bank, request: (request.kind, request.round) == ("train", 3),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConsortiumLife, "challenge", _dies_once_after(ConsortiumLife.challenge))
        played.play("watch")
    return played


def _dies_once_after(challenge: Callable[..., Contested]) -> Callable[..., Contested]:
    """The promotion is decided, and the monitoring phase does not know of it yet."""
    dead: list[bool] = []

    def dying(*arguments: Any) -> Contested:
        contested = challenge(*arguments)
        if not dead:
            dead.append(True)
            raise KilledError
        return contested

    return dying


def test_alerts_come_within_the_stated_delay_and_none_in_quiet_months(year):
    found = [(alert["rule"], alert["window"], alert["day"]) for alert in year.monitoring["alerts"]]
    drift_ends = FIRST + timedelta(days=30 * DRIFT)
    labels_known = FIRST + timedelta(days=30 * (FRAUD + 1))
    assert found == [
        ("data-moved", year.days(DRIFT), str(drift_ends)),
        ("new-fraud", year.days(FRAUD), str(labels_known)),
    ]


def test_no_alert_is_written_twice_though_the_coordinator_died_four_times(year):
    assert year.deaths == 4
    lines = (year.workspace.coordinator / "alerts.jsonl").read_text().splitlines()
    assert [json.loads(line)["rule"] for line in lines] == ["data-moved", "new-fraud"]
    assert [window["number"] for window in year.monitoring["windows"]] == list(range(1, WINDOWS + 1))
    assert year.monitoring["missed"] == []
    assert year.outcome["excluded"] == []


def test_no_bank_released_anything_twice_though_the_coordinator_died(year):
    plan = Plan.from_json((year.workspace.phase("watch").path / "plan.json").read_bytes())
    for bank in year.workspace.bank_ids():
        ledger = Ledger(year.workspace.banks / bank / "ledger.db")
        assert {kind: ledger.reserved(plan.hash, kind) for kind in ("join", "watch", "outcome")} == {
            "join": 1,
            "watch": WINDOWS,
            "outcome": WINDOWS,
        }


def test_the_challenger_was_a_phase_of_its_own_and_won(year):
    [action] = year.monitoring["actions"]
    assert (action["action"], action["phase"], action["promoted"]) == ("retrain", "watch-retrain-1", True)
    assert action["day"] == str(FIRST + timedelta(days=30 * (FRAUD + 2)))
    champion = Champion(year.workspace)
    decisions = champion.log.read()
    assert [decision.champion for decision in decisions] == [1, 2]
    low, _ = decisions[-1].comparison.difference.interval
    assert low > 0
    newest = champion.version("champion")
    assert (newest.number, newest.phase) == (2, "watch-retrain-1")
    # Trained on the new fraud, and judged on later days than it was trained on.
    assert newest.trained[1] > FIRST + timedelta(days=30 * (FRAUD - 1))
    assert newest.tested == (FIRST + timedelta(days=30 * FRAUD), FIRST + timedelta(days=30 * (FRAUD + 1) - 1))
    assert (newest.tested[0] - newest.trained[1]).days > CONFIG.split.label_delay_days


def test_every_bank_approved_the_challenger_s_plan_and_wrote_its_releases_down(year):
    plan = Plan.from_json((year.workspace.phase("watch-retrain-1").path / "plan.json").read_bytes())
    for bank in year.workspace.bank_ids():
        ledger = Ledger(year.workspace.banks / bank / "ledger.db")
        assert ledger.reserved(plan.hash, "train") == 8
        assert any("approved" in entry.note for entry in ledger.entries() if entry.plan_hash == plan.hash)


def test_monitoring_goes_on_with_whoever_is_champion(year):
    assert [window["model"] for window in year.monitoring["windows"]] == [1] * (FRAUD + 2) + [2]
    last = year.monitoring["windows"][-1]
    # Until it has quiet windows of its own, the new model is held against the old one's.
    assert last["reference"] == [year.days(number) for number in range(1, 5)]
    assert last["performance"]["missed_ratio"]["value"] < 0.5 * _missed(year, FRAUD + 2)
    assert year.workspace.within("watch-retrain-1") == "watch"
    assert year.workspace.within("watch") is None


def _missed(year: Year, window: int) -> float:
    found: float = year.monitoring["windows"][window - 1]["performance"]["missed_ratio"]["value"]
    return found


def test_a_bank_sees_its_own_windows_and_the_coordinator_does_not(year):
    bank = year.workspace.banks / year.workspace.bank_ids()[0]
    shown = CliRunner().invoke(bank_node, ["monitoring", str(bank)], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert year.days(DRIFT) in shown.output
    told = CliRunner().invoke(bank_node, ["monitoring", str(bank), "--json"]).output.splitlines()
    reports = [json.loads(line) for line in told]
    assert [report["number"] for report in reports] == list(range(1, WINDOWS + 1))
    assert all(report["performance"]["frauds"] > 0 for report in reports)
    own = {drift["name"]: drift for drift in reports[DRIFT - 1]["drifts"]}
    assert own["amount"]["psi"] > 0.05
    rows = sum(report["rows"] for report in reports)
    assert 0 < rows < sum(window["rows"] for window in year.monitoring["windows"])


def test_where_no_bank_s_folder_is_here_the_sums_of_both_decide(year, tmp_path):
    """The champion's sums are those that monitoring has, the challenger's of its own phase: no more leaves."""
    workspace = Workspace(shutil.copytree(year.before, tmp_path / "work"))
    banks = shutil.copytree(year.workspace.banks, tmp_path / "elsewhere")
    settings = workspace.settings("watch")
    fleet = MemoryFleet(banks)

    def run(folder: PhaseFolder, over: MemoryFleet) -> None:
        PhaseRun(workspace, folder, simulated=False).run(lambda: over, 3)

    life = ConsortiumLife(workspace, settings, year.contract, run, lambda: fleet)
    challenge = Challenge(
        number=1,
        first=FIRST + timedelta(days=30 * FRAUD),
        last=FIRST + timedelta(days=30 * (FRAUD + 1) - 1),
        banks=fleet.banks(),
        champion=_observed(year, FRAUD + 1),
        inflation=2.0,
    )
    contested = life.challenge(challenge)
    assert contested.promoted, contested.reason
    decision = Champion(workspace).log.read()[-1]
    assert decision.comparison.difference.rows == _observed(year, FRAUD + 1).outcome.sum()
    assert {request.kind for request in fleet.asked} == {"join", "sketch", "train", "evaluate"}
    # A second word on the same challenge changes nothing.
    asked = len(fleet.asked)
    assert life.challenge(challenge) == contested
    assert len(fleet.asked) == asked


def _observed(year: Year, window: int) -> Observed:
    checkpoint = FileCheckpoints(year.workspace.phase("watch").checkpoints).latest()
    assert checkpoint is not None
    facts = State.from_checkpoint(checkpoint)[0].notes["observed"][str(window)]
    plan = Plan.from_json((year.workspace.phase("watch").path / "plan.json").read_bytes())
    assert plan.watch is not None
    return Observed.from_facts(facts, plan.watch.size, ScoreBins(count=256))


def test_a_rollback_makes_the_one_before_champion_again(year, tmp_path):
    workspace = Workspace(shutil.copytree(year.workspace.path, tmp_path / "work"))
    life = ConsortiumLife(workspace, workspace.settings("watch"), year.contract, _never, _never)
    assert life.serving("champion").version == 2
    assert life.rollback("auprc_drop is 0.4").version == 1
    assert Champion(workspace).log.read()[-1].by == "rule of phase watch"
    assert life.serving("pilot").version == 1


def test_a_phase_whose_model_cannot_be_compared_with_the_champion_ends_all_the_same(year, tmp_path):
    workspace = Workspace(shutil.copytree(year.workspace.path, tmp_path / "work"))
    folder = workspace.phase("pilot")
    # The champion was trained on what the first model was tested on.
    PhaseRun(workspace, folder, simulated=True)._promote({"status": "completed", "model_version": 1})
    said = json.loads(folder.events.read_text().splitlines()[-1])
    assert (said["event"], said["done"]) == ("promotion", False)
    assert "it would be judged on what it has seen" in said["reason"]


def _never(*_arguments: Any) -> Any:
    raise AssertionError("nothing is trained here")


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"like": "later"}, "expected a phase that trains before it, one of: pilot")],
)
def test_a_challenger_that_cannot_be_set_up_is_refused_before_anything_is_asked(year, changed, said):
    settings = year.workspace.settings("watch")
    broken = settings.model_copy(update={"retrain": settings.retrain.model_copy(update=changed)})
    life = ConsortiumLife(year.workspace, broken, year.contract, _never, _never)
    with pytest.raises(ConfigError, match=said):
        life.check()
