"""The bank's Flower ClientApp: a message comes in, the gate's answer or a refusal goes out."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from bank_nodes.release import Gate
from bank_nodes.tasks import Tasks, use_one_thread
from fraudfl.errors import DataError, FraudflError, ReleaseRefused
from fraudfl.folder import BankFolder, bank_paths
from fraudfl.privacy.noise import NoiseSource
from fraudfl.protocols import Reply, Request
from fraudfl.wire import bank_to_record, is_hello, refusal_to_record, reply_to_record, request_from_record

app = ClientApp()
log = logging.getLogger(__name__)
_noise = NoiseSource()


@app.query()
def answer(message: Message, context: Context) -> Message:
    """Answer one message for the bank that this node is."""
    path = bank_path(context)
    try:
        folder = BankFolder(path)
        if is_hello(message.content):
            return Message(bank_to_record(folder.bank), reply_to=message)
        reply = reply_to(folder, request_from_record(message.content))
    except DataError as error:
        # What is wrong with the bank's own data quotes it, so the text stays at the bank.
        return Message(_kept_here(path, f"{type(error).__name__} in this bank's data"), reply_to=message)
    except FraudflError as error:
        return Message(refusal_to_record(path.name, f"{type(error).__name__}: {error}"), reply_to=message)
    except Exception as error:
        # Messages of unforeseen errors may quote rows too.
        return Message(_kept_here(path, f"unforeseen {type(error).__name__}"), reply_to=message)
    return Message(reply_to_record(reply), reply_to=message)


def _kept_here(path: Path, reason: str) -> RecordDict:
    """A refusal that says the kind of error only; the whole of it is written down at the bank."""
    with (path / "errors.log").open("a") as file:
        file.write(traceback.format_exc())
    return refusal_to_record(path.name, f"{reason}; the bank's errors.log has the details")


def reply_to(folder: BankFolder, request: Request) -> Reply:
    """Do what is asked, through the gate."""
    use_one_thread()
    gate = Gate(folder)
    if request.kind == "join":
        return gate.join(request)
    tasks = Tasks(folder, _noise)
    work = {"sketch": tasks.sketch, "train": tasks.train, "evaluate": tasks.evaluate, "alone": tasks.alone}
    if request.kind not in work:
        raise ReleaseRefused(f"this bank does not know requests of kind {request.kind!r}")
    return gate.answer(request, lambda plan: work[request.kind](request, plan))


def bank_path(context: Context) -> Path:
    """The folder of the bank that this simulated node stands for: banks in order of id."""
    banks = bank_paths(Path(str(context.run_config["workspace"])) / "banks")
    return banks[int(str(context.node_config["partition-id"]))]
