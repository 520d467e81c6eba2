"""How fast a bank computes the default windows, sketches and encodes them, on two threads and 1 GB for DuckDB.

Each data set is measured twice: with labels known after a constant delay, and with a label time per transaction.
Prints a table, and last one line of JSON; `rows_per_second` is the slowest of the window computations.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fraudfl.config import FeaturesConfig, GeneratorConfig
from fraudfl.data.schema import Contract
from fraudfl.data.simulate import GENERATED_CONTRACT, generate
from fraudfl.features.declaration import declare
from fraudfl.features.encoder import fit_encoder
from fraudfl.features.sketch import EncoderSpec, sketch_table
from fraudfl.features.windows import DuckDbLimits, compute_features

HANDBOOK_COLUMNS = {
    "TRANSACTION_ID": "transaction_id",
    "TX_DATETIME": "time",
    "CUSTOMER_ID": "account",
    "TERMINAL_ID": "counterparty",
    "TX_AMOUNT": "amount",
    "TX_FRAUD": "label",
}


def handbook(folder: Path) -> tuple[pa.Table, Contract]:
    table = pq.read_table(folder / "transactions.parquet", columns=list(HANDBOOK_COLUMNS))
    table = table.rename_columns(list(HANDBOOK_COLUMNS.values())).sort_by("time")
    days = np.random.default_rng(7).integers(1, 15 * 86_400, table.num_rows).astype("timedelta64[s]")
    label_time = pc.add(table["time"], pa.array(days.astype("timedelta64[us]")))
    return table.append_column("label_time", label_time), Contract(label_time=True)


def measure(table: pa.Table, contract: Contract, repeats: int) -> dict[str, float]:
    """Best of `repeats` runs over files, as a bank would run it; CPU seconds tell a busy machine from a slow one."""
    features = declare(FeaturesConfig(), contract)
    with TemporaryDirectory() as folder:
        source, destination = Path(folder) / "transactions.parquet", Path(folder) / "features.parquet"
        pq.write_table(table, source, compression="zstd")
        seconds, cpu = [], []
        for _ in range(repeats):
            start, cpu_start = time.perf_counter(), time.process_time()
            compute_features(source, features, destination, contract=contract, limits=DuckDbLimits(threads=2))
            seconds.append(time.perf_counter() - start)
            cpu.append(time.process_time() - cpu_start)
        computed = pq.read_table(destination)
    spec = EncoderSpec(numeric=tuple(feature.name for feature in features))
    start = time.perf_counter()
    sketch = sketch_table(computed, table["label"].to_numpy(), spec)
    sketched = time.perf_counter()
    encoder = fit_encoder(spec, sketch)
    fitted = time.perf_counter()
    encoder.transform(computed)
    return {
        "transactions": table.num_rows,
        "features": len(features),
        "seconds": round(min(seconds), 2),
        "cpu_seconds": round(min(cpu), 2),
        "rows_per_second": round(table.num_rows / min(seconds)),
        "sketch_seconds": round(sketched - start, 2),
        "encode_seconds": round(time.perf_counter() - fitted, 2),
        "encoder_bytes": len(encoder.to_bytes()),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="200,000 generated transactions, once")
    parser.add_argument("--data", type=Path, help="the handbook's folder; generated transactions otherwise")
    arguments = parser.parse_args()
    if arguments.data:
        table, contract = handbook(arguments.data)
    else:
        rows = 200_000 if arguments.quick else 1_000_000
        table, contract = generate(GeneratorConfig(transactions=rows), seed=7), GENERATED_CONTRACT
    results = {}
    print("  labels known   transactions  features  seconds   CPU s     rows/s  encode s")
    for name, label_time in (("after delay", False), ("at label time", True)):
        part = contract.model_copy(update={"label_time": label_time})
        result = measure(table.select(list(part.columns)), part, 1 if arguments.quick else 3)
        counts = f"{name:>14} {result['transactions']:>14,} {result['features']:>9}"
        times = f"{result['seconds']:>8.2f} {result['cpu_seconds']:>7.2f} {result['rows_per_second']:>10,}"
        print(f"{counts} {times} {result['encode_seconds']:>9.2f}")
        results[name.replace(" ", "_")] = result
    slowest = min(result["rows_per_second"] for result in results.values())
    print(json.dumps({"rows_per_second": slowest, "threads": 2, **results}))


if __name__ == "__main__":
    main()
