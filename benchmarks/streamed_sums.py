"""How much memory one round of a large model takes at the coordinator, by the number of banks: sums are streamed.

    python benchmarks/streamed_sums.py BANKS WEIGHTS open|masked

The fleet's own code asks banks over Flower's in-memory state, as in simulation; the banks' side is a thread that sends
whole updates of so many weights, each in a message of its own. What comes is added by the mean that plain phases use,
or by the sum of secure aggregation. The last line is JSON; `scale.py` runs this for few banks and for many.
"""

from __future__ import annotations

import argparse
import json
import resource
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import cast

import numpy as np
from flwr.app import Message
from flwr.common.constant import HEARTBEAT_INTERVAL_INF, NOOP_ACCOUNT_NAME, NOOP_FLWR_AID
from flwr.proto.task_pb2 import Task
from flwr.server.superlink.linkstate import InMemoryLinkState, LinkStateFactory
from flwr.server.superlink.linkstate.in_memory_linkstate import RunRecord
from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME, NOOP_FEDERATION_ID
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.federation import NoOpFederationManager
from flwr.superlink.grid import InMemoryGrid

from fraudfl.protocols import Reply, Request
from fraudfl.secagg.attempt import Attempt
from fraudfl.secagg.bitpack import pack, unpack
from fraudfl.secagg.sums import MaskedSum
from fraudfl.transfer.codec import Layout, decode, encode
from fraudfl.wire import bank_to_record, is_hello, reply_to_record, request_from_record
from server.rounds.aggregation import StreamedMean
from server.rounds.flower_fleet import FlowerFleet

BITS, RUN, DIGEST = 24, 1, "ab" * 32


@contextmanager
def simulated_banks(update: bytes, count: int) -> Iterator[InMemoryGrid]:
    """Flower's state as its simulation makes it, and a thread that answers for so many banks."""
    factory = LinkStateFactory(FLWR_IN_MEMORY_DB_NAME, NoOpFederationManager(), ObjectStoreFactory())
    state = cast(InMemoryLinkState, factory.state())
    run = replace(Run.create_empty(RUN), federation_id=NOOP_FEDERATION_ID, primary_task_id=RUN)
    state.run_ids[RUN] = RunRecord(run=run)
    state.task_store[RUN] = Task(task_id=RUN, run_id=RUN)
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN, 1, RUN
    banks = {}
    for number in range(count):
        node = state.create_node(
            NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, secrets.token_bytes(32), heartbeat_interval=HEARTBEAT_INTERVAL_INF
        )
        state.acknowledge_node_heartbeat(node_id=node, heartbeat_interval=HEARTBEAT_INTERVAL_INF)
        banks[node] = f"bank-{number:03}"
    over = threading.Event()
    thread = threading.Thread(target=_answer_all, args=(state, banks, update, over))
    thread.start()
    grid = InMemoryGrid(factory)
    grid.set_run(run)
    try:
        yield grid
    finally:
        over.set()
        thread.join()


def _answer_all(state: InMemoryLinkState, banks: Mapping[int, str], update: bytes, over: threading.Event) -> None:
    while not over.wait(0.02):
        for node, bank in banks.items():
            for message in state.get_message_ins(node_id=node, limit=1):
                content = bank_to_record(bank)
                if not is_hello(message.content):
                    request = request_from_record(message.content)
                    content = reply_to_record(
                        Reply(bank=bank, kind="train", key=request.key, entry=1, payloads={"update": update})
                    )
                reply = Message(content, reply_to=message)
                reply.metadata.__dict__["_message_id"] = secrets.token_hex(16)
                state.store_message_res(reply)


def ask_all(fleet: FlowerFleet, model: bytes) -> Iterator[tuple[str, bytes]]:
    """One round: every bank gets the model and sends an update."""
    request = Request(
        kind="train", plan_hash=DIGEST, instance="scale", round=1, attempt=1, cohort=DIGEST, payloads={"model": model}
    )
    for answer in fleet.ask(dict.fromkeys(fleet.banks(), request), deadline=3600):
        if answer.reply is None:
            raise SystemExit(f"streamed_sums: {answer.bank}: {answer.reason}")
        yield answer.bank, answer.reply.payloads["update"]


def measure(banks: int, weights: int, kind: str) -> dict[str, float]:
    """Run one round; memory is this process's own, from before the round to its highest."""
    random, shape = np.random.default_rng(1), cast(Layout, (("weights", (weights,)),))
    model = encode(random.normal(size=weights).astype(np.float32), "float32", shape)
    values = random.integers(0, 2**12, weights).astype(np.uint64)
    update = pack(values, BITS) if kind == "masked" else encode(values.astype(np.float32), "float32", shape)
    with simulated_banks(update, banks) as grid:
        fleet = FlowerFleet.discover(grid, banks)
        before, begun = peak_mb(), time.perf_counter()
        if kind == "masked":
            attempt = Attempt(
                plan_hash=DIGEST, instance="s", kind="train", round=1, attempt=1, cohort=fleet.banks(), peers=DIGEST
            )
            total = MaskedSum(attempt, "update", weights, BITS, self_masked=False)
            for bank, data in ask_all(fleet, model):
                total.add(bank, unpack(data, weights, BITS))
            right = np.array_equal(total.complete(), values * np.uint64(banks))
        else:
            mean = StreamedMean()
            mean.start(1, np.zeros(weights, dtype=np.float32))
            for bank, data in ask_all(fleet, model):
                mean.add(bank, decode(data, shape), 1.0)
            right = np.array_equal(mean.finish(), values.astype(np.float32))
        seconds = time.perf_counter() - begun
    if not right:
        raise SystemExit("streamed_sums: the sum is not the banks' sum")
    return {"banks": banks, "weights": weights, "before_mb": before, "peak_mb": peak_mb(), "seconds": round(seconds, 2)}


def peak_mb() -> float:
    """The highest resident memory so far."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def main() -> None:
    """Measure once and print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("banks", type=int)
    parser.add_argument("weights", type=int)
    parser.add_argument("kind", choices=("open", "masked"))
    asked = parser.parse_args()
    print(json.dumps(measure(asked.banks, asked.weights, asked.kind)))


if __name__ == "__main__":
    main()
