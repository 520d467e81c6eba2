"""What a bank does to learn what it gained: its own model, its own figures, and one bin that may leave.

Figures, scores and the bank's own model stay in its folder. What is released is a single 1 in the bin of the bank's
gain in AUPRC, with noise where ε pays for it; whatever changes at the bank, it moves from one bin to another at most.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bank_nodes.answers.counting import counted
from bank_nodes.answers.tasks import Tasks
from bank_nodes.folder.gain_reports import FEDERATED, OWN, AlertTerms, GainReports, kept_scores, own_figures
from bank_nodes.folder.received import Received
from bank_nodes.gate.checks import Draft
from bank_nodes.rules.policy import read_policy
from fraudfl.errors import SourceError
from fraudfl.features.encoder import Encoder
from fraudfl.folder import BankFolder, Rows
from fraudfl.metrics.gain_bins import gain_vector
from fraudfl.metrics.histogram import ScoreHistogram
from fraudfl.models.mlp import build_model, score_logits, set_vector
from fraudfl.models.personal import PersonalFacts, PersonalModel
from fraudfl.plan import Plan
from fraudfl.privacy.noise import NoiseSource
from fraudfl.protocols import Request, Vector
from fraudfl.transfer.model import derived_seed, vector_digest

if TYPE_CHECKING:
    from fraudfl.training.personalise import Personal

_HELD = ("validation", "test")


class Gaining:
    """One bank's side of the question what it gained."""

    def __init__(self, folder: BankFolder, noise: NoiseSource) -> None:
        """Work on one bank's folder, with noise from the operating system."""
        self._folder = folder
        self._noise = noise

    def gain(self, request: Request, plan: Plan) -> Draft:
        """The bin of this bank's gain; its own model, scores and report are kept here."""
        received = Received(self._folder.path, request.instance)
        encoder = received.encoder(request)
        vector = received.model(request, plan, encoder.width)
        rows = {part: self._folder.rows(plan.features, plan.split, encoder, part) for part in ("train", *_HELD)}
        terms = AlertTerms.of(read_policy(self._folder.path), plan)
        own = self._personalised(plan, vector, rows)
        self._score(request, plan, rows, FEDERATED, vector)
        self._score(request, plan, rows, OWN, own.vector)
        self._score_alone(request, plan)
        file = self._kept_model(request, plan, encoder, vector, own, terms)
        figures = own_figures(self._folder, plan, kept_scores(self._folder, request.instance), terms)
        GainReports(self._folder.path).keep(request.instance, plan, figures | {"own": _facts(own) | {"file": file}})
        gain = figures["auprc_gain"][FEDERATED]
        vectors = {"gain": gain_vector(None if gain is None else gain["value"])}
        return counted(plan, request.kind, vectors, self._noise)

    def _personalised(self, plan: Plan, vector: Vector, rows: dict[str, Rows]) -> Personal:
        # Imported on use: SciPy's solvers take memory that a daemon at rest need not hold.
        from fraudfl.training.personalise import Personalising, personalise

        settings = Personalising(seed=derived_seed(plan.seed, self._folder.bank, "personalised"))
        return personalise(plan.model, vector, rows["train"], rows["validation"], settings)

    def _score(self, request: Request, plan: Plan, rows: dict[str, Rows], name: str, vector: Vector) -> None:
        model = build_model(plan.model, rows["train"].features.shape[1])
        set_vector(model, vector)
        for part in _HELD:
            self._folder.keep_scores(request.instance, f"{name}-{part}", score_logits(model, rows[part].features))

    def _score_alone(self, request: Request, plan: Plan) -> None:
        """Train alone, unless this bank was asked to before: a cohort may have been drawn without it."""
        try:
            self._folder.scores(request.instance, "alone-test")
        except SourceError:
            # What this drafts for a release is dropped; the scores that it keeps are what is wanted.
            Tasks(self._folder, self._noise).alone(request, plan)

    def _kept_model(
        self, request: Request, plan: Plan, encoder: Encoder, vector: Vector, own: Personal, terms: AlertTerms
    ) -> str:
        facts = PersonalFacts(
            base=vector_digest(vector),
            encoder=encoder.digest,
            choice=own.choice,
            thresholds=self._thresholds(request, plan, encoder, terms),
            phase=plan.phase,
            instance=request.instance,
        )
        layer = own.vector[-(plan.model.widths(encoder.width)[-2] + 1) :]
        return PersonalModel(facts, layer).save(self._folder.path).name

    def _thresholds(self, request: Request, plan: Plan, encoder: Encoder, terms: AlertTerms) -> dict[str, float]:
        """The bank's own, on its validation rows; what they cannot tell is left to the bundle."""
        labels = self._folder.rows(plan.features, plan.split, encoder, "validation").labels
        logits = self._folder.scores(request.instance, f"{OWN}-validation")
        found = ScoreHistogram.from_logits(logits, labels, plan.score_bins)
        thresholds = {
            "budget": found.threshold_at_budget(terms.budget),
            "balanced_accuracy": found.best_threshold("balanced_accuracy"),
            "f1": found.best_threshold("f1"),
        }
        return {name: value for name, value in thresholds.items() if value is not None}


def _facts(own: Personal) -> dict[str, Any]:
    return {name: value for name, value in asdict(own).items() if name != "vector"}
