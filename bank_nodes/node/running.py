"""One daemon at one bank: its limits, its logs, its health page, and the loop."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import resource
import signal
import sys
import time
import types
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder
from pathlib import Path

import pyarrow as pa
from flwr.app import RecordDict

from bank_nodes.folder.home import Home
from bank_nodes.node.alone import hand_lock_on, only_one
from bank_nodes.node.connection import Endpoint
from bank_nodes.node.daemon import Daemon, Pace
from bank_nodes.node.health import serve_health
from bank_nodes.rules.policy import Resources, read_policy
from fraudfl.command import keep_quiet

log = logging.getLogger(__name__)

_ARENAS = -8  # glibc's M_ARENA_MAX


@dataclass
class Standing:
    """What the daemon has seen so far, for its health page and metrics."""

    began: float = field(default_factory=time.time)
    connected: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)

    def note(self, event: str) -> None:
        """Count one event of the daemon."""
        if event in ("connected", "lost"):
            self.connected = event == "connected"
        self.counts[event] = self.counts.get(event, 0) + 1
        self.last[event] = time.time()


def run_daemon(home: Home, *, health: str | None, pace: Pace) -> None:
    """Answer the coordinator until SIGTERM or Ctrl-C.

    Args:
        health: `host:port` of the health page and metrics, or None.

    Raises:
        TrustError: when keys or kit are not in order.
        ConfigError: when the policy is wrong.
        RuntimeFailure: when a daemon runs in this folder already.
    """
    keep_quiet()
    _keep_memory_together()
    home.roster()
    home.own_data()
    endpoint = Endpoint(address=home.address(), ca=home.ca())
    policy = read_policy(home.path)
    with only_one(home.path):
        _limit(policy.resources)
        standing = Standing()
        daemon = Daemon(endpoint, home.key(), lambda record: _answer(home.path, record), pace, standing.note, _rest)
        if health is not None:
            serve_health(health, home, standing)
        _end_on_signals(daemon)
        log.info("bank %s, coordinator %s", home.bank, endpoint.address)
        try:
            daemon.run()
        except KeyboardInterrupt:
            # Nothing is lost: what had left is in the ledger, and what had not will be asked for again.
            log.info("ended in the middle of a message")


def _keep_memory_together() -> None:
    """Few heaps, and no pools of Arrow's own, so that what is free can be given back."""
    pa.set_memory_pool(pa.system_memory_pool())
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(_ARENAS, 2)


def _answer(path: Path, record: RecordDict) -> RecordDict:
    # Imported with the first message: a daemon that waits for a phase needs no torch.
    _leave_out_unused()
    from bank_nodes.answers.answering import answer_record

    return answer_record(path, record, apart=True)


class _WithoutPandas(MetaPathFinder):
    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def _leave_out_unused() -> None:
    """Keep libraries from loading what a daemon never uses: together 170 MB.

    Arrow takes pandas where there is one, and does without where there is none. Opacus loads its training engine and
    optimisers, which only other ways to train would use, and asks whether a tensor is spread over machines, which
    none is here.
    """
    if "torch" in sys.modules:
        return
    import torch.distributed

    sys.meta_path.insert(0, _WithoutPandas())
    _stand_in("opacus.privacy_engine", PrivacyEngine=None)
    spread = _stand_in("torch.distributed.tensor", DTensor=type("DTensor", (), {}))
    torch.distributed.tensor = spread


def _stand_in(name: str, **content: object) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(content)
    return sys.modules.setdefault(name, module)


def _rest() -> None:
    """Between phases, begin anew in place: everything that matters is on disk, and libraries stay in memory else."""
    if "torch" in sys.modules:
        log.info("no phase is under way; starting anew to give memory back")
        hand_lock_on()
        os.execv(sys.executable, [sys.executable, "-m", "bank_nodes.cli", *sys.argv[1:]])


def _limit(resources: Resources) -> None:
    """Keep to the cores and the memory that the policy gives."""
    if resources.cores is not None:
        mine = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, mine[: resources.cores])
    if resources.memory_mb is not None:
        # What the process allocates; files that are mapped into memory do not count.
        most = resources.memory_mb * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _end_on_signals(daemon: Daemon) -> None:
    def end(number: int, _frame: object) -> None:
        daemon.stop()
        signal.signal(number, signal.default_int_handler)
        raise KeyboardInterrupt

    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, end)
