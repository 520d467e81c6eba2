"""What a bank does in an assessment: it counts its table for the sum, and later holds it against the sum.

What leaves is the profile, counted over the plan's public bins, with noise where ε pays for it. The bank's own
readiness (`readiness/<instance>.json`) is made of its exact table and stays here.
"""

from __future__ import annotations

import logging

from bank_nodes.answers.counting import counted
from bank_nodes.folder.readiness_reports import keep_readiness
from bank_nodes.gate.checks import Draft
from fraudfl.assessment.counting import count_profile
from fraudfl.assessment.own import own_readiness
from fraudfl.assessment.profile import Profile
from fraudfl.assessment.published import PAYLOAD, Published
from fraudfl.assessment.spec import ProfileSpec
from fraudfl.errors import PlanError, WireError
from fraudfl.folder import BankFolder
from fraudfl.plan import Plan
from fraudfl.privacy.noise import NoiseSource
from fraudfl.protocols import Request

log = logging.getLogger(__name__)


class Assessing:
    """One bank's side of an assessment."""

    def __init__(self, folder: BankFolder, noise: NoiseSource) -> None:
        """Work on one bank's folder, with noise from the operating system."""
        self._folder = folder
        self._noise = noise

    def profile(self, request: Request, plan: Plan) -> Draft:
        """The bank's table counted into the plan's blocks."""
        counts = count_profile(self._folder.table(), _spec(plan), plan.split, plan.account_rows)
        return counted(plan, request.kind, {"profile": counts}, self._noise)

    def readiness(self, request: Request, plan: Plan) -> Draft:
        """Take the consortium's sums, and write down how this bank stands to them; nothing is released."""
        spec = _spec(plan)
        if PAYLOAD not in request.payloads:
            raise WireError("the request brings no sums of the consortium")
        published = Published.from_bytes(request.payloads[PAYLOAD], spec)
        consortium = published.profile(spec)
        try:
            self._write(request, plan, published, consortium)
        except Exception:
            # Whether this works may depend on rows: the coordinator hears the same either way.
            log.exception("%s: the readiness report could not be written", self._folder.path)
        return Draft()

    def _write(self, request: Request, plan: Plan, published: Published, consortium: Profile) -> None:
        remarks = own_readiness(self._folder.table(), consortium, published.schema_, plan.split, plan.account_rows)
        report = {
            "bank": self._folder.bank,
            "consortium": plan.consortium,
            "phase": plan.phase,
            "plan_hash": plan.hash,
            "instance": request.instance,
            "banks": published.banks,
            "noise": published.deviation,
            "remarks": [remark.model_dump(mode="json") for remark in remarks],
        }
        keep_readiness(self._folder.path, request.instance, report)


def _spec(plan: Plan) -> ProfileSpec:
    if plan.profile is None:
        raise PlanError(f"plan {plan.hash[:12]} assesses nothing")
    return plan.profile
