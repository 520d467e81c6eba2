"""Time of one DP-SGD epoch beside a plain epoch and Opacus' documented loop, on the same generated data.

    python benchmarks/dp_epoch.py [--quick] [--threads N]

The three loops run in turn in this process, repeatedly; the figures are medians of wall time. The
last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from opacus import PrivacyEngine
from torch.utils.data import DataLoader, TensorDataset

from fraudfl.config import ModelConfig, TrainingConfig
from fraudfl.models.mlp import build_model, initial_vector, set_vector
from fraudfl.privacy.mechanisms import DpSgd
from fraudfl.privacy.noise import NoiseSource
from fraudfl.training.dp import train_dp
from fraudfl.training.plain import LocalData, train_plain

WIDTH, BATCH, LEARNING_RATE = 30, 2_048, 1e-3
MODEL = ModelConfig(hidden=(128, 64))
TRAINING = TrainingConfig(batch_size=BATCH)


def make_data(rows: int) -> LocalData:
    """Generate rows of which one in a hundred is fraud."""
    generator = np.random.default_rng(5)
    features = generator.standard_normal((rows, WIDTH), dtype=np.float32)
    return LocalData(features, (generator.random(rows) < 0.01).astype(np.float32))


def stock_epoch(data: LocalData, dp: DpSgd) -> None:
    """Train one epoch as Opacus' tutorials do: `make_private`, hooks, a `DataLoader` with Poisson sampling."""
    model = build_model(MODEL, WIDTH)
    set_vector(model, initial_vector(MODEL, WIDTH, prior=0.01, seed=1))
    private, optimizer, loader = PrivacyEngine().make_private(
        module=model,
        optimizer=torch.optim.Adam(model.parameters(), lr=LEARNING_RATE),
        data_loader=DataLoader(TensorDataset(*data.tensors()), batch_size=BATCH),
        noise_multiplier=dp.noise_multiplier,
        max_grad_norm=dp.clip_norm,
        poisson_sampling=True,
    )
    criterion = torch.nn.BCEWithLogitsLoss()
    for features, labels in loader:
        optimizer.zero_grad()
        criterion(private(features), labels).backward()
        optimizer.step()


def loops(data: LocalData) -> dict[str, Callable[[], object]]:
    """Name the three loops; each call is one epoch from the same weights."""
    rows = len(data.labels)
    vector = initial_vector(MODEL, WIDTH, prior=0.01, seed=1)
    dp = DpSgd(
        sampling_rate=BATCH / rows, noise_multiplier=1.0, clip_norm=1.0, steps=-(-rows // BATCH), expected_batch=BATCH
    )
    noise = NoiseSource()
    return {
        "plain": lambda: train_plain(MODEL, vector, data, TRAINING, learning_rate=LEARNING_RATE, seed=1),
        "dp": lambda: train_dp(MODEL, vector, data, TRAINING, dp, learning_rate=LEARNING_RATE, noise=noise),
        "stock": lambda: stock_epoch(data, dp),
    }


def seconds(call: Callable[[], object]) -> float:
    """Time one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    """Run, print the table, print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="50,000 rows and fewer repetitions")
    parser.add_argument("--threads", type=int, default=1, help="threads torch may use, as in a bank's client: 1")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore", category=UserWarning)  # Opacus' hooks and its default generator warn
    rows, repetitions, stock_repetitions = (50_000, 5, 2) if arguments.quick else (200_000, 7, 3)

    epochs = loops(make_data(rows))
    for call in loops(make_data(4 * BATCH)).values():
        call()  # the first call pays for imports and caches
    times: dict[str, list[float]] = {name: [] for name in epochs}
    for repetition in range(repetitions):
        for name, call in epochs.items():
            if name != "stock" or repetition < stock_repetitions:
                times[name].append(seconds(call))
    medians = {name: statistics.median(values) for name, values in times.items()}

    print(f"One epoch: {rows:,} rows, 30-128-64-1, batch {BATCH:,}, {arguments.threads} thread(s)\n")
    labels = {"plain": "plain", "dp": "DP-SGD", "stock": "Opacus as documented"}
    print(f"{'loop':<22}{'seconds':>9}{'over plain':>12}{'fastest':>9}{'slowest':>9}{'runs':>6}")
    for name, value in medians.items():
        spread = times[name]
        print(
            f"{labels[name]:<22}{value:>9.3f}{value / medians['plain']:>12.2f}"
            f"{min(spread):>9.3f}{max(spread):>9.3f}{len(spread):>6}"
        )
    print()
    figures = {
        "dp_over_plain": round(medians["dp"] / medians["plain"], 3),
        "stock_over_dp": round(medians["stock"] / medians["dp"], 3),
        **{f"{name}_seconds": round(value, 4) for name, value in medians.items()},
        "rows": rows,
        "batch_size": BATCH,
        "threads": arguments.threads,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
