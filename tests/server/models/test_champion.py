"""Promotion and rollback: the gate, the signed log, and aliases that follow it whatever a crash leaves."""

from __future__ import annotations

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from sklearn.metrics import average_precision_score

from fraudfl.data.split import split_rows
from fraudfl.errors import BundleError, ConfigError, DataError, TrustError
from fraudfl.folder import BankFolder, bank_paths
from fraudfl.models.bundle import Bundle
from server.models.champion import Bar, Champion, Word
from server.store.workspace import Workspace
from server.trust.decision_log import DECISIONS_FILE

WORD = Word(by="Ada Example", reason="agreed by the committee")


@pytest.fixture
def champion(workspace: Workspace) -> Champion:
    return Champion(workspace)


def reigning(champion: Champion) -> tuple[int | None, int | None]:
    """The champion and the one before, as MLflow has them."""
    aliases = champion.models.aliases()
    return aliases.get("champion"), aliases.get("previous")


def test_the_first_version_becomes_champion_by_a_decision_and_has_nobody_to_beat(champion: Champion) -> None:
    verdict = champion.promote(1, WORD)
    assert verdict.decision is not None
    assert (verdict.decision.replaced, verdict.decision.champion, verdict.decision.forced) == (None, 1, False)
    assert verdict.reason == "there is no champion to beat"
    assert champion.models.aliases() == {"champion": 1, "challenger": 3}


def test_a_better_challenger_replaces_the_champion_with_the_figures_that_say_so(
    champion: Champion, workspace: Workspace
) -> None:
    champion.promote(1, WORD)
    verdict = champion.promote(2, WORD)
    assert reigning(champion) == (2, 1)
    assert verdict.comparison is not None
    difference = verdict.comparison.difference
    assert difference.interval[0] > 0
    weak, trained = (_auprc(workspace, champion.models.start_from(number)) for number in (1, 2))
    assert (difference.champion, difference.challenger) == pytest.approx((weak, trained), abs=1e-9)
    assert (verdict.comparison.banks, difference.source) == (2, "rows")
    assert verdict.decision is not None
    assert verdict.decision.comparison == verdict.comparison
    assert (verdict.decision.by, verdict.decision.digest) == ("Ada Example", champion.models.get(2).digest)


def test_a_worse_challenger_is_refused_and_nothing_changes(champion: Champion) -> None:
    champion.promote(2, WORD)
    before = champion.log.read()
    verdict = champion.promote("challenger", WORD)
    assert verdict.decision is None
    assert verdict.comparison is not None
    assert verdict.comparison.difference.interval[1] < 0
    assert verdict.reason.startswith("the challenger is not better: auprc ")
    assert reigning(champion) == (2, None)
    assert champion.log.read() == before


def test_a_challenger_whose_interval_reaches_the_bar_is_refused_for_want_of_knowledge(champion: Champion) -> None:
    champion.promote(1, WORD)
    low, high = champion.contest.compare(champion.models.get(2), champion.models.get(1)).difference.interval
    bar = Bar(at_least=(low + high) / 2)
    verdict = champion.promote(2, WORD, bar)
    assert verdict.decision is None
    assert verdict.reason.startswith("too little is known to call the challenger better: ")
    assert f"expected more than {bar.at_least:+g}" in verdict.reason


def test_a_bar_below_zero_lets_a_challenger_be_worse_by_that_much_and_the_decision_says_so(champion: Champion) -> None:
    champion.promote(2, WORD)
    decision = champion.promote(3, WORD, Bar(at_least=-0.9)).decision
    assert decision is not None
    assert (decision.at_least, decision.forced) == (-0.9, False)


def test_force_promotes_what_the_gate_refuses_and_the_decision_says_so(champion: Champion) -> None:
    champion.promote(2, WORD)
    verdict = champion.promote(3, WORD, Bar(force=True))
    assert reigning(champion) == (3, 2)
    assert verdict.decision is not None
    assert verdict.decision.forced
    assert verdict.decision.comparison is not None
    assert "challenger" not in champion.models.aliases()


def test_a_better_challenger_is_not_called_forced_although_force_was_asked_for(champion: Champion) -> None:
    champion.promote(1, WORD)
    decision = champion.promote(2, WORD, Bar(force=True)).decision
    assert decision is not None
    assert not decision.forced


def test_what_cannot_be_compared_is_promoted_by_force_alone_with_the_reason(
    champion: Champion, workspace: Workspace
) -> None:
    champion.promote(1, WORD)
    workspace.banks.rename(workspace.path / "gone")
    with pytest.raises(DataError, match="version 1 was not scored at the banks on 2025-02-12 to 2025-03-01"):
        champion.promote(2, WORD)
    assert reigning(champion) == (1, None)
    decision = champion.promote(2, WORD, Bar(force=True)).decision
    assert decision is not None
    assert (decision.forced, decision.comparison) == (True, None)
    assert "was not scored at the banks" in decision.not_compared


def test_not_even_force_promotes_files_that_are_not_the_registered_ones(
    champion: Champion, workspace: Workspace
) -> None:
    (path,) = (workspace.path / "mlartifacts").glob(f"{champion.models.get(2).run_id}/artifacts/bundle/encoder.json")
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(BundleError, match=r"encoder.json: SHA-256 is"):
        champion.promote(2, WORD, Bar(force=True))


def test_rollback_makes_the_one_before_champion_and_each_further_one_goes_one_step_back(champion: Champion) -> None:
    for number in (1, 2, 3):
        champion.promote(number, WORD, Bar(force=True))
    assert reigning(champion) == (3, 2)
    assert champion.rollback(Word(by="Bo", reason="alerts doubled")).replaced == 3
    assert reigning(champion) == (2, 1)
    champion.rollback(WORD)
    assert reigning(champion) == (1, None)
    with pytest.raises(BundleError, match="no other champion; there is no way back"):
        champion.rollback(WORD)
    assert [one.action for one in champion.log.read()] == ["promote"] * 3 + ["rollback"] * 2


def test_the_champion_is_not_promoted_again_and_words_are_needed(champion: Champion) -> None:
    champion.promote(1, WORD)
    with pytest.raises(BundleError, match="version 1 is champion already"):
        champion.promote("champion", WORD)
    with pytest.raises(ConfigError, match="reason"):
        champion.promote(2, Word(by="Ada Example", reason=" "))
    assert reigning(champion) == (1, None)


@pytest.mark.parametrize("moved", range(3))
def test_a_crash_between_decision_and_aliases_is_finished_by_the_next_command(
    champion: Champion, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    champion.promote(1, WORD)
    champion.models.point("challenger", 2)
    point, steps = champion.models.point, iter(range(moved))

    def dies(alias: str, number: int | None) -> None:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        point(alias, number)

    monkeypatch.setattr(champion.models, "point", dies)
    with pytest.raises(KeyboardInterrupt):
        champion.promote("challenger", WORD)
    again = Champion(workspace)
    assert again.models.aliases() != {"champion": 2, "previous": 1}
    assert again.settle()
    assert again.models.aliases() == {"champion": 2, "previous": 1}
    assert not again.settle()


def test_a_decision_that_a_crash_cut_off_never_happened(champion: Champion, workspace: Workspace) -> None:
    champion.promote(1, WORD)
    champion.promote(2, WORD)
    log = workspace.coordinator / DECISIONS_FILE
    log.write_bytes(log.read_bytes()[:-20])
    again = Champion(workspace)
    assert [one.champion for one in again.log.read()] == [1]
    again.promote(2, WORD)
    assert [one.champion for one in again.log.read()] == [1, 2]
    assert reigning(again) == (2, 1)


def test_an_alias_that_was_moved_by_hand_goes_back_to_what_was_decided(
    champion: Champion, workspace: Workspace
) -> None:
    champion.promote(2, WORD)
    MlflowClient(f"sqlite:///{workspace.path / 'mlflow.db'}").set_registered_model_alias("tiny", "champion", "3")
    assert champion.settle()
    assert reigning(champion) == (2, None)


def test_an_altered_log_stops_every_change(champion: Champion, workspace: Workspace) -> None:
    champion.promote(1, WORD)
    log = workspace.coordinator / DECISIONS_FILE
    log.write_bytes(log.read_bytes().replace(b"Ada", b"Eve"))
    champion.models.point("champion", 3)
    with pytest.raises(TrustError, match="line 1: the promotion's signature is not by"):
        Champion(workspace).promote(2, WORD)
    assert reigning(champion) == (3, None)


def test_a_bundle_that_is_exchanged_in_mlflow_after_the_decision_is_found(
    champion: Champion, workspace: Workspace
) -> None:
    champion.promote(1, WORD)
    client = MlflowClient(f"sqlite:///{workspace.path / 'mlflow.db'}")
    client.set_model_version_tag("tiny", "1", "bundle_digest", champion.models.get(2).digest)
    with pytest.raises(TrustError, match=r"version 1 has bundle .* the operator decided on"):
        champion.version("champion")


def _auprc(workspace: Workspace, bundle: Bundle) -> float:
    """Average precision on all banks' test rows, figured by hand."""
    config, labels, scores = workspace.config(), [], []
    for path in bank_paths(workspace.banks):
        folder = BankFolder(path)
        table = folder.table()
        test = split_rows(table, config.split).test
        labels.append(table["label"].to_numpy()[test])
        scores.append(bundle.score(folder.features(config.features))[test])
    return float(average_precision_score(np.concatenate(labels), np.concatenate(scores)))
