"""How a phase stands, by what its events told so far: rounds, who was heard, who is waited for and why."""

from __future__ import annotations

from typing import Any


class Told:
    """What one phase's events say of it now."""

    def __init__(self) -> None:
        """Nothing was told yet."""
        self._facts: dict[str, Any] = {}
        self._begin()

    def _begin(self) -> None:
        self._facts |= {"heard": [], "waiting": {}, "excluded": [], "reason": ""}

    def take(self, event: dict[str, Any]) -> None:
        """Take the next event."""
        facts, name = self._facts, event["event"]
        if name == "gathering":
            self._begin()
        elif name == "round":
            facts |= {key: event[key] for key in ("round", "rounds", "auprc", "bytes_up", "bytes_down") if key in event}
            facts |= {"heard": [], "waiting": {}}
        elif name == "look":
            facts |= {key: event[key] for key in ("auprc",) if key in event}
        elif name == "window":
            facts |= {"round": event["number"], "rounds": event["windows"], "heard": [], "waiting": {}}
            facts |= {"auprc": event["auprc"]} if "auprc" in event else {}
        elif name == "heard":
            facts["waiting"].pop(event["bank"], None)
            facts["heard"] = sorted({*facts["heard"], event["bank"]})
        elif name == "waiting":
            facts["waiting"] = event["banks"]
        elif name == "excluded":
            facts["excluded"].append({key: event[key] for key in ("bank", "round", "reason")})
        elif name == "dropped":
            facts["dropped"] = facts.get("dropped", 0) + 1
        elif name == "late":
            facts["late"] = facts.get("late", 0) + 1
        elif name == "failed":
            facts["reason"] = event["reason"]

    def facts(self) -> dict[str, Any]:
        """Everything told so far."""
        return {"round": 0, "rounds": 0, "late": 0} | self._facts
