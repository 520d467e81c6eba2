"""How long each page of the dashboard takes, and how much memory the dashboard, with 200 banks over two years.

    python benchmarks/dashboard.py [--quick] [--workspace DIR]

`fraudfl run` makes the workspace, nothing is synthesised: 200 small banks roll a model out in 100 rounds with
differential privacy and secure aggregation, 40 of them a round, and watch it for 24 months. `--workspace` takes one
that is there already. Then a really started `fraudfl dashboard` is looked at in Chromium: the seconds from navigation
until the page's script has ended and each of its charts is drawn, once in a process that has shown nothing yet, then
the median of three. All pages are opened light and dark before the process's peak of resident memory is read.
`--quick`: 8 banks, 4 rounds, 5 months. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml
from playwright.sync_api import Page, sync_playwright

from app.pages_of import PAGES

LOOKS = 3
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
READY = """() => {
    const app = document.querySelector('[data-testid="stApp"]');
    const charts = [...document.querySelectorAll('[data-testid="stVegaLiteChart"]')];
    return app?.dataset.testScriptState === 'notRunning' && !document.querySelector('[data-testid="stSkeleton"]')
        && document.querySelector('h1')?.innerText === '%s'
        && charts.every(one => one.querySelector('canvas, svg')?.getBoundingClientRect().height > 0);
}"""


def config(banks: int, rounds: int, months: int) -> dict[str, Any]:
    """A consortium of so many small banks."""
    cohort = min(banks, 40)
    generator = {"banks": banks, "transactions": 2000 * banks, "days": 120 + 30 * months, "start": "2024-01-01"}
    private = {
        "strategy": {"name": "dpsgd", "weighting": "equal", "server_learning_rate": 10},
        "privacy": {
            "mode": "distributed",
            "epsilon": 3,
            "delta": 1.0e-6,
            "units": 10_000,
            "expected_units": 100 * cohort,
            "sampling_rate": 0.2,
            "encoder_share": 0.1,
            "evaluation_share": 0.1,
        },
        "secure_aggregation": {"min_cohort": cohort * 4 // 5, "colluding": 2, "recover": False},
        "codec": {"down": "int8"},
    } | ({"cohort": cohort} if banks > cohort else {})
    rollout = {"name": "rollout", "kind": "rollout", "rounds": rounds, "baselines": ["alone"], "promote": "if-better"}
    rules = [
        {"name": "data-moved", "measure": "psi_max", "at_least": 0.1},
        {"name": "too-many", "measure": "alerts_of_budget", "at_least": 2.0},
    ]
    watch = {"name": "watch", "kind": "monitoring", "window_days": 30, "windows": months, "quiet": 3}
    common = {"score_bins": 64, "deadline_seconds": 3600}
    return {
        "consortium": {"name": "wide", "seed": 1},
        "data": {"source": "generated", "generator": generator | {"fraud_rate": 0.05, "size_skew": 0.0}},
        "split": {"origin": "2024-01-01", "train_days": [5, 64], "test_days": [72, 99], "label_delay_days": 7},
        "features": {"windows_days": [7], "aggregates": ["count", "mean", "since_last"]},
        "encoder": {"bins_per_decade": 8, "smallest": 0.01, "largest": 1.0e7},
        "model": {"hidden": [16]},
        "phases": [
            rollout | common | private | {"evaluate_every": rounds},
            watch | {"labels_after_days": 7, "rules": rules, "score_bins": 64},
        ],
    }


def make(folder: Path, *, quick: bool) -> tuple[Path, float]:
    """Run the consortium; returns its workspace, and the seconds that took."""
    file, workspace, begun = folder / "wide.yaml", folder / "workspace", time.monotonic()
    file.write_text(yaml.safe_dump(config(8, 4, 5) if quick else config(200, 100, 24)))
    command = [sys.executable, "-m", "server.cli", "run", str(file), "-w", str(workspace), "--quiet"]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return workspace, time.monotonic() - begun


@contextmanager
def dashboard(workspace: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A dashboard: where it answers, and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "server.cli", "dashboard", "--workspace", str(workspace), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}/_stcore/health")
            (served,) = psutil.Process(process.pid).children()
            yield f"http://127.0.0.1:{port}", served
        finally:
            process.terminate()


def wait_for(url: str) -> None:
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"dashboard: {url} does not answer")


def seconds(page: Page, address: str, name: str, title: str) -> float:
    """From navigation until all is drawn."""
    begun = time.monotonic()
    page.goto(f"{address}/{name}", wait_until="commit")
    page.wait_for_function(READY % title, timeout=120_000, polling=50)
    return time.monotonic() - begun


def peak_mb(process: psutil.Process) -> float:
    """Highest resident memory of a process since it began, MB of 2^20 bytes."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def measure(workspace: Path) -> dict[str, Any]:
    """Seconds of each page, first and again, and the dashboard's peak memory."""
    with sync_playwright() as playwright, dashboard(workspace) as (address, process):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        names = {one.name: one.title for one in PAGES}
        # The browser's own first start, and its copy of the scripts, are no part of a page.
        page.goto(f"{address}/_stcore/health")
        cold = {name: seconds(page, address, name if name != PAGES[0].name else "", names[name]) for name in names}
        again: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(LOOKS):
            for name, title in names.items():
                again[name].append(seconds(page, address, name if name != PAGES[0].name else "", title))
        page.emulate_media(color_scheme="dark")
        for name, title in names.items():
            seconds(page, address, name if name != PAGES[0].name else "", title)
        browser.close()
        return {
            "seconds_per_page": {name: round(statistics.median(found), 2) for name, found in again.items()},
            "cold_seconds_per_page": {name: round(found, 2) for name, found in cold.items()},
            "peak_mb": round(peak_mb(process)),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--workspace", type=Path)
    options = parser.parse_args()
    if CHROMIUM is None:
        sys.exit("dashboard: there is no Chromium here")
    if options.workspace is not None and not (options.workspace / "coordinator" / "config.json").exists():
        sys.exit(f"dashboard: no phase has begun in {options.workspace}; leave --workspace out, and a run makes one")
    with tempfile.TemporaryDirectory() as folder:
        made = options.workspace is None
        workspace, took = make(Path(folder), quick=options.quick) if made else (options.workspace, None)
        found = measure(workspace)
    print(f"{'page':12} {'first, s':>9} {'again, s':>9}")
    for name, again in found["seconds_per_page"].items():
        print(f"{name:12} {found['cold_seconds_per_page'][name]:9.2f} {again:9.2f}")
    print(f"peak of the dashboard's memory: {found['peak_mb']} MB")
    print(json.dumps(found | {"run_seconds": took if took is None else round(took)}))


if __name__ == "__main__":
    main()
