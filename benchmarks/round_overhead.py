"""Empty rounds with two banks over TLS and node authentication: our daemon beside Flower's stock SuperNode.

    python benchmarks/round_overhead.py [--quick]

A round asks both nodes one question and waits for both answers. Stock: `flower-superlink`, two `flower-supernode`, a
server app with `Grid.send_and_receive`, and a client app that imports torch, as one that trains does. Ours: the
coordinator's link in this process and two `bank-node run`. Then both daemons do a DP round of a phase of
`fraudfl serve`, and their resident memory while they wait is measured. The last line is JSON.
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn
from flwr.app import Message

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "e2e"))

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from deployment import Deployment, call, free_port, wait_until
from stock_flower import StockFlower, make_app, resident_mb

from fraudfl.trust.keys import public_from_text
from fraudfl.wire import MESSAGE_TYPE, bank_from_record, hello_to_record
from server.deployment.front import Front
from server.deployment.link import Link

REST_SECONDS = 70
CONFIG: dict[str, Any] = {
    "consortium": {"name": "overhead"},
    "data": {"generator": {"banks": 2, "transactions": 20_000, "days": 60, "merchants": 200}},
    "split": {"origin": "2025-01-01", "train_days": [5, 40], "test_days": [48, 59], "validation_days": 5},
    "phases": [
        {
            "name": "private",
            "rounds": 1,
            "baselines": [],
            "strategy": {"weighting": "equal"},
            "privacy": {"mode": "local", "epsilon": 8, "delta": 1e-6, "units": 20_000, "steps_per_round": 20},
        }
    ],
}
SERVER = """
import json, sys, time
from pathlib import Path
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()

@app.main()
def main(grid, context):
    while len(nodes := list(grid.get_node_ids())) < 2:
        time.sleep(0.1)
    seconds = []
    for _ in range(ROUNDS):
        begun = time.monotonic()
        asked = [Message(RecordDict({"x": ConfigRecord({"x": 1})}), node, "query") for node in nodes]
        assert len(list(grid.send_and_receive(asked, timeout=120))) == 2
        seconds.append(time.monotonic() - begun)
    Path(RESULT).write_text(json.dumps(seconds))
"""
CLIENT = """
import torch
from flwr.app import Message
from flwr.clientapp import ClientApp

app = ClientApp()

@app.query()
def answer(message, context):
    return Message(message.content, reply_to=message)
"""


def measure_stock(folder: Path, rounds: int) -> tuple[list[float], float]:
    """Seconds of each round, and the larger node's memory while it waits afterwards."""
    stock = StockFlower(folder)
    result = folder / "result.json"
    try:
        stock.start()
        nodes = [stock.start_node(f"node-{n}", free_port()) for n in (1, 2)]
        server = SERVER.replace("ROUNDS", str(rounds)).replace("RESULT", repr(str(result)))
        stock.run(make_app(folder / "app", server, CLIENT))
        wait_until(result.exists, "stock rounds", 60 + 30 * rounds)
        time.sleep(5)
        return json.loads(result.read_text()), max(map(resident_mb, nodes))
    finally:
        stock.close()


def measure_ours(folder: Path, rounds: int) -> tuple[list[float], float, float]:
    """The same with our daemons; their memory is measured 5 s after a DP round, and when the phase counts as over."""
    sources = _sources(folder)
    deployment = Deployment.create(folder / "ours", CONFIG, sources)
    try:
        for bank in deployment.banks:
            deployment.run_bank(bank)
        seconds = _empty_rounds(deployment, rounds)
        deployment.serve()
        wait_until(lambda: all(deployment.status()["roster"].values()), "the banks are back")
        deployment.begin("private")
        outcome = deployment.ended("private")
        assert outcome["status"] == "completed", outcome
        time.sleep(5)
        waiting = max(resident_mb(deployment.processes[bank]) for bank in deployment.banks)
        time.sleep(REST_SECONDS)
        return seconds, waiting, max(resident_mb(deployment.processes[bank]) for bank in deployment.banks)
    finally:
        deployment.close()


def _sources(folder: Path) -> Path:
    """Bank folders as simulation makes them."""
    import yaml

    config = folder / "sources.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    call("fraudfl", "banks", "create", config, "-w", folder / "sources")
    return folder / "sources" / "banks"


def _empty_rounds(deployment: Deployment, rounds: int) -> list[float]:
    link = Link(str(deployment.folder / "flower.db"))
    keys = {
        member.bank: public_from_text(member.public_key).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        for member in deployment.pki.roster().members
    }
    nodes = link.admit(keys)
    admitted = frozenset(base64.b64encode(key) for key in keys.values())
    config = uvicorn.Config(
        Front(link.fleet_app(), lambda: admitted, link.notice),
        host="127.0.0.1",
        port=deployment.port,
        ssl_certfile=deployment.pki.coordinator_pem,
        ssl_keyfile=str(deployment.pki.coordinator_key),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_keep_alive=60,
    )
    server = uvicorn.Server(config)
    threading.Thread(target=server.run, daemon=True).start()
    wait_until(lambda: set(nodes.values()) <= link.present().keys(), "both daemons are connected")
    seconds = []
    with link.run() as grid:
        for _ in range(rounds):
            begun = time.monotonic()
            open_questions = set(
                grid.push_messages([Message(hello_to_record(), node, MESSAGE_TYPE) for node in nodes.values()])
            )
            heard = set()
            while open_questions:
                for reply in grid.pull_messages(open_questions):
                    open_questions.discard(reply.metadata.reply_to_message_id)
                    heard.add(bank_from_record(reply.content))
                link.wait(0.02)
            assert heard == set(nodes)
            seconds.append(time.monotonic() - begun)
    server.should_exit = True
    time.sleep(1)
    return seconds


def main() -> None:
    """Run both, print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as scratch:
        stock, stock_mb = measure_stock(Path(scratch) / "stock", 2 if quick else 5)
        ours, ours_mb, resting_mb = measure_ours(Path(scratch), 10 if quick else 30)
    # The first round connects, and finds a daemon that knocks seldom.
    stock_seconds, ours_seconds = statistics.median(stock[1:]), statistics.median(ours[1:])
    print(f"{'':<28}{'ours':>10}{'stock':>10}")
    print(f"{'seconds a round (median)':<28}{ours_seconds:>10.3f}{stock_seconds:>10.3f}")
    print(f"{'slowest round':<28}{max(ours[1:]):>10.3f}{max(stock[1:]):>10.3f}")
    print(f"{'first round':<28}{ours[0]:>10.3f}{stock[0]:>10.3f}")
    print(f"{'MB 5 s after the last round':<28}{ours_mb:>10.0f}{stock_mb:>10.0f}")
    print(f"{'MB between phases':<28}{resting_mb:>10.0f}{stock_mb:>10.0f}")
    figures = {
        "ours_seconds_per_round": round(ours_seconds, 3),
        "stock_seconds_per_round": round(stock_seconds, 3),
        "ours_mb": round(ours_mb),
        "ours_resting_mb": round(resting_mb),
        "stock_mb": round(stock_mb),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, subprocess.TimeoutExpired) as error:
        sys.exit(f"round_overhead: {error}")
