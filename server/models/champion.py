"""Who is champion: promotion through a gate, and the way back.

The signed log is the truth, and MLflow's aliases follow it: a decision is on the disk before an alias moves, so that
whatever a crash leaves half done is finished by `settle`, which every command begins with.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fraudfl.errors import BundleError, FraudflError, TrustError
from fraudfl.metrics.compare import Comparison
from fraudfl.metrics.figures import FigureName
from fraudfl.trust.promotion import Promotion
from server.models.bundles import Models
from server.models.contest import Contest
from server.models.departures import holders, refuse_holder
from server.models.versions import CHALLENGER, CHAMPION, PREVIOUS, Version
from server.store.workspace import Workspace
from server.trust.decision_log import DecisionLog


@dataclass(frozen=True, kw_only=True)
class Word:
    """Who decides, and why.

    Attributes:
        by: A person's name, or a rule's.
        reason: One line.
    """

    by: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What a challenger must show.

    Attributes:
        figure: By which figure it is compared.
        at_least: The lower end of the difference's interval must be above this. Below zero, it allows for a challenger
            that is no worse than so much.
        force: Promote it in any case; the decision records that.
    """

    figure: FigureName = "auprc"
    at_least: float = 0.0
    force: bool = False


BETTER = Bar()


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a request to promote.

    Attributes:
        reason: In plain words, with the figures.
        comparison: None where there was no champion, or a forced challenger could not be compared.
        decision: What was signed; None when the gate refused.
    """

    reason: str
    comparison: Comparison | None
    decision: Promotion | None


class Champion:
    """The champion of one workspace's model."""

    def __init__(self, workspace: Workspace) -> None:
        """Open the registry; raises CheckpointError when nothing is registered yet."""
        self._workspace = workspace
        self.models = Models(workspace)
        self.contest = Contest(workspace, self.models)
        self.log = DecisionLog(workspace, self.models.consortium)

    def settle(self) -> bool:
        """Let the aliases say what the log says; returns whether one had to move.

        Raises:
            TrustError: when the log was altered; no alias moves then.
        """
        reigns = _reigns(self.log.read())
        if not reigns:
            return False
        now = self.models.aliases()
        # The one before is named first, so that at no time the way back is lost.
        wanted: dict[str, int | None] = {PREVIOUS: reigns[-2] if len(reigns) > 1 else None, CHAMPION: reigns[-1]}
        if now.get(CHALLENGER) == reigns[-1]:
            wanted[CHALLENGER] = None
        moves = {alias: number for alias, number in wanted.items() if now.get(alias) != number}
        for alias, number in moves.items():
            self.models.point(alias, number)
        return bool(moves)

    def version(self, name: str | int) -> Version:
        """One version, by number or alias.

        Raises:
            BundleError: when there is none.
            TrustError: when the log knows it with another bundle: MLflow's record was changed since.
        """
        version = self.models.get(name)
        for decision in self.log.read():
            if decision.champion == version.number and decision.digest != version.digest:
                raise TrustError(
                    f"version {version.number} has bundle {version.digest[:12]}… in MLflow; the operator decided on "
                    f"{decision.digest[:12]}… ({decision.at}). Restore MLflow's database"
                )
        return version

    def promote(self, name: str | int, word: Word, bar: Bar = BETTER) -> Verdict:
        """Make a version champion if it is better than the one that is; the first has nobody to beat.

        Args:
            name: Its number or alias.
            word: Who asks for it, and why.
            bar: What it must show.

        Returns:
            With a decision when it was promoted; without one when the gate refused it.

        Raises:
            BundleError: when there is no such version, it is champion already, its files are not those registered, or
                it holds what a bank released that left and is to be unlearned; the last only force overcomes.
            DataError: when the two cannot be compared; only by force it is promoted then.
            ConfigError: when `word` is not what a decision takes.
            TrustError: when the operator's key cannot be used, or the log was altered.
        """
        with self._alone() as reigns:
            challenger = self.version(name)
            if reigns and reigns[-1] == challenger.number:
                raise BundleError(f"version {challenger.number} is champion already")
            held = self._held(challenger, "promoted", force=bar.force)
            self.models.bundle_folder(challenger)
            comparison, trouble = self._compared(challenger, reigns, bar)
            passed, reason = _judge(comparison, bar, trouble)
            if not passed and not bar.force:
                return Verdict(reason=reason, comparison=comparison, decision=None)
            facts: dict[str, Any] = {"action": "promote", "replaced": reigns[-1] if reigns else None}
            facts |= {
                "forced": not passed or held,
                "at_least": bar.at_least,
                "comparison": comparison,
                "not_compared": trouble,
            }
            return Verdict(reason=reason, comparison=comparison, decision=self._decide(challenger, word, facts))

    def rollback(self, word: Word, *, force: bool = False) -> Promotion:
        """Make the version champion again that was so before.

        Args:
            word: Who asks for it, and why.
            force: Also when it holds what a bank released that left and is to be unlearned; the decision records that.

        Raises:
            BundleError: when there was none, it holds what such a bank released, or its files are not those that were
                registered.
            ConfigError, TrustError: as `promote`.
        """
        with self._alone() as reigns:
            if len(reigns) < 2:
                raise BundleError(f"model {self.models.consortium} has had no other champion; there is no way back")
            before = self.version(reigns[-2])
            held = self._held(before, "gone back to", force=force)
            self.models.bundle_folder(before)
            return self._decide(before, word, {"action": "rollback", "replaced": reigns[-1], "forced": held})

    def _held(self, version: Version, use: str, *, force: bool) -> bool:
        """Whether it holds what a bank released that left and is to be unlearned; then only force lets it be used."""
        versions = self.models.all()
        if not force:
            refuse_holder(self._workspace, versions, version.number, use)
        return version.number in holders(self._workspace, versions)

    def _compared(self, challenger: Version, reigns: list[int], bar: Bar) -> tuple[Comparison | None, str]:
        """The comparison, or why there is none."""
        if not reigns:
            return None, ""
        try:
            return self.contest.compare(challenger, self.version(reigns[-1]), bar.figure), ""
        except FraudflError as error:
            if not bar.force:
                raise
            return None, str(error)

    def _decide(self, version: Version, word: Word, facts: dict[str, Any]) -> Promotion:
        own = {"champion": version.number, "digest": version.digest, "by": word.by, "reason": word.reason}
        decision = self.log.add(own | facts)
        self.settle()
        return decision

    @contextmanager
    def _alone(self) -> Iterator[list[int]]:
        """Wait for other commands, and finish what one of them may have left half done; gives champions so far."""
        with self.log.alone():
            self.settle()
            yield _reigns(self.log.read())


def _reigns(decisions: list[Promotion]) -> list[int]:
    """Champions on top of each other: a promotion lays one on, a rollback takes it away again."""
    reigns: list[int] = []
    for one in decisions:
        if one.action == "promote":
            reigns.append(one.champion)
        else:
            reigns.pop()
    return reigns


def _judge(comparison: Comparison | None, bar: Bar, trouble: str) -> tuple[bool, str]:
    if trouble:
        return False, f"the two could not be compared: {trouble}"
    if comparison is None:
        return True, "there is no champion to beat"
    low, high = comparison.difference.interval
    figures = comparison.difference.in_words()
    if low > bar.at_least:
        return True, f"the challenger is better: {figures}"
    if high <= bar.at_least:
        return False, f"the challenger is not better: {figures}; expected more than {bar.at_least:+g}"
    return False, f"too little is known to call the challenger better: {figures}; expected more than {bar.at_least:+g}"
