"""Who may do what: the one place that says so. Without a login there is one user, on this machine alone."""

from __future__ import annotations

from typing import Final, Literal

Role = Literal["viewer", "analyst", "operator", "compliance"]
Deed = Literal["look", "look at single banks", "make reports"]

_DEEDS: Final[dict[Role, frozenset[Deed]]] = {
    "viewer": frozenset({"look"}),
    "analyst": frozenset({"look", "look at single banks"}),
    "operator": frozenset({"look", "look at single banks", "make reports"}),
    "compliance": frozenset({"look", "look at single banks", "make reports"}),
}


def role() -> Role:
    """The reader's role: whoever started the dashboard owns the workspace, and is its operator."""
    return "operator"


def may(deed: Deed) -> bool:
    """Whether the reader may do something."""
    return deed in _DEEDS[role()]
