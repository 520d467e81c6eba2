"""How fast the consortium generator is, on one core: prints a table, and last one line of JSON."""

from __future__ import annotations

import argparse
import json
import time

from fraudfl.config import GeneratorConfig
from fraudfl.data.simulate import generate


def measure(transactions: int, repeats: int) -> dict[str, float]:
    """Best of `repeats` runs; CPU seconds, so that a busy machine does not matter."""
    config = GeneratorConfig(transactions=transactions)
    wall, cpu = [], []
    for seed in range(repeats):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        table = generate(config, seed)
        wall.append(time.perf_counter() - wall_start)
        cpu.append(time.process_time() - cpu_start)
        if table.num_rows != transactions:
            raise SystemExit(f"asked for {transactions} rows, got {table.num_rows}")
    return {
        "transactions": transactions,
        "seconds": round(min(wall), 3),
        "cpu_seconds": round(min(cpu), 3),
        "rows_per_second": round(transactions / min(wall)),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100,000 transactions once")
    quick = parser.parse_args().quick
    sizes, repeats = ((100_000,), 1) if quick else ((100_000, 300_000, 1_000_000), 3)
    print(f"{'transactions':>14} {'seconds':>9} {'CPU s':>9} {'rows/s':>12}")
    for size in sizes:
        result = measure(size, repeats)
        print(
            f"{size:>14,} {result['seconds']:>9.3f} {result['cpu_seconds']:>9.3f} {result['rows_per_second']:>12,.0f}"
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
