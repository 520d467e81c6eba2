"""A bank is a folder: its transactions, what was computed from them, and what it keeps."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fraudfl.config import FeaturesConfig, SplitConfig
from fraudfl.data.schema import BOOKKEEPING, Contract
from fraudfl.data.split import split_rows
from fraudfl.errors import SourceError
from fraudfl.features.apart import compute_apart
from fraudfl.features.declaration import Feature, declare
from fraudfl.features.encoder import Encoder
from fraudfl.features.sketch import EncoderSpec, Sketch, sketch_table
from fraudfl.privacy.contribution import within_bound
from fraudfl.transfer.savings import RawSizes, raw_sizes

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Rows:
    """Encoded rows of one part of a bank's data.

    Attributes:
        features: float32, shape (rows, width).
        labels: float32 in {0, 1}, shape (rows,).
        clusters: int64, shape (rows,); rows of one account share a number, unique within the bank only.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.float32]
    clusters: NDArray[np.int64]


class BankFolder:
    """One bank's folder. Nothing here talks to a network."""

    def __init__(self, path: Path, *, apart: bool = False) -> None:
        """Open an existing folder.

        Args:
            apart: Compute features in a process of their own, so that this one never holds DuckDB.

        Raises:
            SourceError: when it is not a bank's.
        """
        self.path = path
        self._apart = apart
        facts_file = path / "bank.json"
        try:
            facts = json.loads(facts_file.read_text())
            self.bank: str = facts["bank"]
            self.contract = Contract.model_validate(facts["contract"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SourceError(
                f"{facts_file}: not a bank's folder ({error}). Make it with `fraudfl banks create CONFIG`."
            ) from error

    @classmethod
    def create(cls, path: Path, bank: str, table: pa.Table, contract: Contract) -> BankFolder:
        """Make a bank's folder from its rows (contract and bookkeeping columns, sorted by time)."""
        path.mkdir(parents=True)
        return cls.fill(path, bank, table, contract)

    @classmethod
    def fill(cls, path: Path, bank: str, table: pa.Table, contract: Contract) -> BankFolder:
        """Put rows into an existing folder, in place of those that were there."""
        kept = [name for name in (*contract.columns, *BOOKKEEPING) if name in table.column_names and name != "bank"]
        write_whole(
            path / "transactions.parquet", lambda part: pq.write_table(table.select(kept), part, compression="zstd")
        )
        facts = {"bank": bank, "contract": contract.model_dump(mode="json")}
        write_whole(path / "bank.json", lambda part: part.write_text(json.dumps(facts, indent=1)))
        return cls(path)

    @property
    def transactions(self) -> Path:
        """The bank's transactions, in order of time."""
        return self.path / "transactions.parquet"

    def table(self) -> pa.Table:
        """All transactions, with bookkeeping columns."""
        try:
            return pq.read_table(self.transactions)
        except (OSError, pa.ArrowInvalid) as error:
            raise SourceError(f"{self.transactions}: cannot be read ({error}). Restore it from its source.") from error

    def training_window(self, split: SplitConfig) -> pa.Table:
        """The contract columns of the rows that training may use, validation included."""
        table = self.table()
        parts = split_rows(table, split)
        return table.select(list(self.contract.columns)).filter(pa.array(parts.train | parts.validation))

    def raw_sizes(self, split: SplitConfig) -> RawSizes:
        """What the training window takes as files; worked out once per split and data."""
        cached = self.path / "cache" / f"raw-{_digest([split.model_dump_json(), self._data_digest])}.json"
        if not cached.exists():
            cached.parent.mkdir(exist_ok=True)
            found = raw_sizes(self.training_window(split))
            write_whole(cached, lambda part: part.write_text(json.dumps(found)))
        return RawSizes(*json.loads(cached.read_text()))

    def features(self, config: FeaturesConfig) -> pa.Table:
        """Behavioural features of every transaction, in its order; computed once per configuration and data."""
        declared = declare(config, self.contract)
        facts = [config.model_dump_json(), self.contract.to_json(), self._data_digest]
        cached = self.path / "cache" / f"features-{_digest(facts)}.parquet"
        if not cached.exists():
            cached.parent.mkdir(exist_ok=True)
            write_whole(cached, lambda part: self._compute(declared, part))
        return pq.read_table(cached)

    def _compute(self, declared: tuple[Feature, ...], destination: Path) -> None:
        if self._apart:
            compute_apart(self.transactions, declared, destination, self.contract)
            return
        # Imported on use: a process that computes apart never needs DuckDB.
        from fraudfl.features.windows import compute_features

        folder = destination.parent
        compute_features(self.transactions, declared, destination, contract=self.contract, temp_directory=folder)

    def sketch(
        self, features: FeaturesConfig, split: SplitConfig, spec: EncoderSpec, account_rows: int | None = None
    ) -> Sketch:
        """Histograms of the training rows over the plan's public bins.

        Args:
            account_rows: Most rows of one account that count; None for all.
        """
        table = self.table()
        rows = split_rows(table, split).train
        if account_rows is not None:
            counted = np.flatnonzero(rows)
            rows = np.zeros_like(rows)
            rows[counted[within_bound(clusters_of(table)[counted], account_rows)]] = True
        labels = table["label"].to_numpy()[rows]
        return sketch_table(self.features(features).filter(pa.array(rows)), labels, spec)

    def rows(self, features: FeaturesConfig, split: SplitConfig, encoder: Encoder, part: str) -> Rows:
        """Encoded rows of one part, from memory-mapped files made on first use."""
        facts = [features.model_dump_json(), split.model_dump_json(), encoder.digest, self._data_digest]
        folder = self.path / "cache" / f"rows-{_digest(facts)}"
        if not folder.exists():
            self._encode(folder, features, split, encoder)
        # Copied on write: torch wants writable memory, and the files stay as they are.
        x, y, clusters = (np.load(folder / f"{part}-{name}.npy", mmap_mode="c") for name in ("x", "y", "clusters"))
        return Rows(x, y, clusters)

    def keep_scores(self, instance: str, name: str, logits: NDArray[np.float32]) -> None:
        """Keep a model's scores of this bank's rows here, at the bank."""
        folder = self.path / "scores" / instance
        folder.mkdir(parents=True, exist_ok=True)
        save_npy(folder / f"{name}.npy", logits.astype(np.float32))

    def scores(self, instance: str, name: str) -> NDArray[np.float32]:
        """Scores kept before; raises SourceError when there are none."""
        path = self.path / "scores" / instance / f"{name}.npy"
        try:
            kept: NDArray[np.float32] = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise SourceError(f"{path}: no scores kept ({error})") from error
        return kept

    @cached_property
    def _data_digest(self) -> str:
        with self.transactions.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _encode(self, folder: Path, features: FeaturesConfig, split: SplitConfig, encoder: Encoder) -> None:
        table = self.table()
        parts = split_rows(table, split)
        computed = self.features(features)
        labels = table["label"].to_numpy().astype(np.float32)
        clusters = clusters_of(table)
        making = folder.with_name(f"{folder.name}.{os.getpid()}")
        making.mkdir(parents=True)
        for part, mask in zip(PARTS, (parts.train, parts.validation, parts.test), strict=True):
            save_npy(making / f"{part}-x.npy", encoder.transform(computed.filter(pa.array(mask))))
            save_npy(making / f"{part}-y.npy", labels[mask])
            save_npy(making / f"{part}-clusters.npy", clusters[mask])
        try:
            making.rename(folder)
        except OSError:
            # Another process of this bank was first, with the same bytes.
            if not folder.exists():
                raise


def bank_paths(banks: Path) -> list[Path]:
    """The complete bank folders in a workspace's `banks/`, in order of id."""
    return sorted(path for path in banks.glob("*") if (path / "bank.json").exists())


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file so that after a crash either all of it or none is there."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    write(part)
    part.replace(path)


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes, whole or not at all."""
    write_whole(path, lambda part: part.write_bytes(data))


def save_npy(path: Path, array: NDArray[np.generic]) -> None:
    """Write an array as .npy, whole or not at all."""

    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.save(file, array, allow_pickle=False)

    write_whole(path, write)


def clusters_of(table: pa.Table) -> NDArray[np.int64]:
    """A number per account, int64 of shape (rows,); every row has its own where there are no accounts."""
    if "account" not in table.column_names:
        return np.arange(table.num_rows, dtype=np.int64)
    codes = table["account"].combine_chunks().dictionary_encode().indices
    return np.asarray(codes.to_numpy(zero_copy_only=False), dtype=np.int64)


def _digest(facts: list[str]) -> str:
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
