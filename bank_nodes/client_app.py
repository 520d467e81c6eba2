"""The bank's Flower ClientApp, for simulation: one process answers for many banks, each in its own folder."""

from __future__ import annotations

import json
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from bank_nodes.answers.answering import answer_record

app = ClientApp()


@app.query()
def answer(message: Message, context: Context) -> Message:
    """Answer one message for the bank that this node is."""
    return Message(answer_record(bank_path(context), message.content), reply_to=message)


def bank_path(context: Context) -> Path:
    """The folder of the bank that this simulated node stands for: the phase's banks in order of id."""
    workspace, phase = Path(str(context.run_config["workspace"])), str(context.run_config["phase"])
    roster = json.loads((workspace / "coordinator" / "phases" / phase / "roster.json").read_text())["banks"]
    return workspace / "banks" / str(sorted(roster)[int(str(context.node_config["partition-id"]))])
