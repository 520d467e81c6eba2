"""The model card: what a bundle is, what it was trained on, and what its figures are worth, in one page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fraudfl.plan import Plan

_NAMES = {
    "auprc": "AUPRC",
    "auprc_bank_mean": "AUPRC, mean of banks",
    "auroc": "AUROC",
    "balanced_accuracy": "balanced accuracy",
    "recall_at_budget": "recall at alert budget",
}


def model_card(plan: Plan, outcome: Mapping[str, Any]) -> str:
    """Markdown for people who must decide whether to use the model."""
    metrics = outcome["metrics"]
    contenders = [name for name in ("federated", "alone", "pooled") if metrics.get(name)]
    table = [f"| figure | {' | '.join(contenders)} |", "|---|" + "---|" * len(contenders)]
    for key, title in _NAMES.items():
        table.append(f"| {title} | {' | '.join(_number(metrics[name].get(key)) for name in contenders)} |")
    return "\n".join(
        [
            f"# {plan.consortium}: model of phase {plan.phase}",
            "",
            "Scores card and account transactions for fraud; a logit at or above the threshold is an alert.",
            f"Trained by {outcome['banks']} of {outcome['roster']} banks in {outcome['rounds']} rounds "
            f"({plan.strategy.name}). No transaction left a bank.",
            "",
            "## Figures on later transactions",
            "",
            f"Source: {metrics['source']}. Alert budget: {plan.alert_budget:.2%} of transactions.",
            "",
            *table,
            "",
            "## Privacy",
            "",
            _privacy(plan),
            "",
            "## Limits",
            "",
            "Figures hold for data like the test window's. Watch drift, and retrain when fraud changes.",
            "",
            f"Plan hash: `{plan.hash}`",
            "",
        ]
    )


def _privacy(plan: Plan) -> str:
    if not plan.private:
        return "None promised: updates left the banks without noise."
    covered = ", ".join(plan.not_covered) or "nothing"
    who = "added in full by each bank"
    if plan.privacy.mode == "distributed":
        who = f"shared by at least {plan.min_cohort} banks, whose sums alone the coordinator sees"
    return (
        f"At each bank: ε = {plan.privacy.epsilon:g}, δ = {plan.privacy.delta:g} per {plan.privacy.unit}, noise {who}. "
        f"Not covered by ε: {covered}."
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
