"""What a bank says to one record from the coordinator: the gate's reply, or a refusal that quotes no row."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

from flwr.app import RecordDict

from bank_nodes.answers.assessing import Assessing
from bank_nodes.answers.gaining import Gaining
from bank_nodes.answers.tasks import Tasks, use_one_thread
from bank_nodes.answers.watching import Watching
from bank_nodes.gate.release import Gate
from fraudfl.errors import DataError, FraudflError, NotApproved, NotNow, ReleaseRefused, WorkFailed
from fraudfl.folder import BankFolder
from fraudfl.privacy.noise import NoiseSource
from fraudfl.protocols import Refusal, Refused, Reply, Request
from fraudfl.wire import bank_to_record, is_hello, refusal_to_record, reply_to_record, request_from_record

log = logging.getLogger(__name__)
_noise = NoiseSource()


def answer_record(path: Path, record: RecordDict, *, apart: bool = False) -> RecordDict:
    """Answer for the bank whose folder this is; never raises.

    Args:
        apart: See `BankFolder`.
    """
    try:
        folder = BankFolder(path, apart=apart)
        if is_hello(record):
            return bank_to_record(folder.bank)
        return reply_to_record(reply_to(folder, request_from_record(record)))
    except WorkFailed as error:
        return _kept_here(path, str(error))
    except DataError as error:
        # What is wrong with the bank's own data quotes it, so the text stays at the bank.
        return _kept_here(path, f"{type(error).__name__} in this bank's data")
    except FraudflError as error:
        return _refused(path, error)
    except Exception as error:
        # Messages of unforeseen errors may quote rows too.
        return _kept_here(path, f"unforeseen {type(error).__name__}")


def reply_to(folder: BankFolder, request: Request) -> Reply:
    """Do what is asked, through the gate."""
    use_one_thread()
    gate = Gate(folder)
    by_itself = {"join": gate.join, "peers": gate.take_peers, "confirm": gate.open_sum, "reveal": gate.open_sum}
    if request.kind in by_itself:
        return by_itself[request.kind](request)
    tasks = Tasks(folder, _noise)
    assessing = Assessing(folder, _noise)
    work = {"sketch": tasks.sketch, "train": tasks.train, "evaluate": tasks.evaluate, "alone": tasks.alone}
    work |= {"look": tasks.look, "profile": assessing.profile, "readiness": assessing.readiness}
    watching = Watching(folder, _noise)
    work |= {"watch": watching.watch, "outcome": watching.outcome}
    work |= {"gain": Gaining(folder, _noise).gain}
    if request.kind not in work:
        raise ReleaseRefused(f"this bank does not know requests of kind {request.kind!r}")
    return gate.answer(request, lambda plan: work[request.kind](request, plan))


def _refused(path: Path, error: FraudflError) -> RecordDict:
    code: Refused = "not-approved" if isinstance(error, NotApproved) else "refused"
    opens_at = ""
    if isinstance(error, NotNow):
        code, opens_at = "not-now", error.opens_at
    log.warning("refused: %s", error)
    reason = f"{type(error).__name__}: {error}"
    return refusal_to_record(Refusal(bank=path.name, reason=reason, code=code, opens_at=opens_at))


def _kept_here(path: Path, reason: str) -> RecordDict:
    """A refusal that says the kind of error only; the whole of it is written down at the bank."""
    try:
        with (path / "errors.log").open("a") as file:
            file.write(traceback.format_exc())
        log.error("%s; see %s", reason, path / "errors.log")
    except OSError as error:
        # A full disk must not silence the bank: the process's own log takes the details.
        log.exception("%s; %s cannot be written (%s)", reason, path / "errors.log", error)
    return refusal_to_record(Refusal(bank=path.name, reason=f"{reason}; the bank's errors.log has the details"))
