"""When a bank may help to open a sum: for what it has released itself, and for one set of banks per attempt."""

from __future__ import annotations

from dataclasses import replace

from fraudfl.errors import ReleaseRefused
from fraudfl.plan import Plan
from fraudfl.privacy.ledger import Ledger
from fraudfl.protocols import Request
from fraudfl.transfer.frame import unframe


def refuse_unopened(ledger: Ledger, plan: Plan, request: Request) -> None:
    """Refuse to confirm or reveal what this bank has no part in, or another set than the one it confirmed.

    Raises:
        ReleaseRefused: before anything is reserved.
    """
    masked = ledger.find(replace(request, kind=request.about or request.kind, about="").key)
    if masked is None or masked.event != "released":
        raise ReleaseRefused(f"this bank has released nothing for the {request.about or 'unnamed'} sum to be opened")
    secure = plan.secure_aggregation
    if request.kind != "reveal" or secure is None or secure.coordinator != "malicious":
        return
    confirmed = ledger.kept(replace(request, kind="confirm").key)
    if confirmed is None or _survivors(confirmed) != request.values.get("survivors"):
        raise ReleaseRefused("this bank has not confirmed that set of banks for this attempt; nothing is revealed")


def refuse_other_set(kept: bytes, request: Request) -> None:
    """Refuse a second set of banks for one attempt: with two, a coordinator could take a sum apart.

    Args:
        kept: The reply that this request's key got before.
    """
    if _survivors(kept) != request.values.get("survivors"):
        raise ReleaseRefused(
            "this bank has spoken for another set of banks in this attempt, and does so once only; ask again as another"
            " attempt"
        )


def _survivors(reply: bytes) -> object:
    return unframe(reply).values.get("survivors")
