"""Ending a simulation: its coordinator first, so that it sees no bank end before it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from flwr.supercore.constant import TASK_TYPE_TO_COMMAND, TaskType

from server.local.runtime import COORDINATOR, TOKEN_VARIABLE, _end_all

TOKEN = "0123456789abcdef-of-this-test"
BANK = "import time; print(flush=True); time.sleep(60)"
# Writes down every bank that ended while it was still there.
WATCHING = """
import pathlib, sys, time
banks, out = sys.argv[1].split(","), pathlib.Path(sys.argv[2])
print(flush=True)
while True:
    for bank in banks:
        state = pathlib.Path("/proc", bank, "stat")
        if not state.exists() or state.read_text().split(") ")[1][0] == "Z":
            out.write_text("saw a bank end")
    time.sleep(0.001)
"""


def test_the_process_that_the_coordinator_runs_in_is_called_as_flower_calls_it() -> None:
    assert TASK_TYPE_TO_COMMAND[TaskType.SIMULATION] == COORDINATOR


def test_the_coordinator_sees_no_bank_end(tmp_path: Path) -> None:
    tool = tmp_path / COORDINATOR
    tool.write_text(WATCHING)
    marked = os.environ | {TOKEN_VARIABLE: TOKEN}
    begun = [subprocess.Popen([sys.executable, "-c", BANK], stdout=subprocess.PIPE, env=marked) for _ in range(3)]
    names = ",".join(str(bank.pid) for bank in begun)
    begun.append(
        subprocess.Popen([sys.executable, str(tool), names, tmp_path / "seen"], stdout=subprocess.PIPE, env=marked)
    )
    try:
        for process in begun:
            assert process.stdout is not None
            process.stdout.readline()
        _end_all(TOKEN)
        for process in begun:
            process.wait(timeout=10)
        assert not (tmp_path / "seen").exists()
    finally:
        for process in begun:
            process.kill()
            process.communicate()
