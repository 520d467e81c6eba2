"""One data set, checked against its contract, wherever it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from fraudfl.config import DataConfig
from fraudfl.data.schema import Contract, validate
from fraudfl.errors import ConfigError


@dataclass(frozen=True)
class Dataset:
    """A table that keeps its contract.

    Attributes:
        name: What it is called in reports.
        table: Contract columns, then bookkeeping columns (bank, region, split, part) where the set has them.
        contract: What the columns are.
    """

    name: str
    table: pa.Table
    contract: Contract


def load_dataset(config: DataConfig, *, seed: int, base: Path = Path()) -> Dataset:
    """Reads, or generates, the configured data set and checks all of it.

    Args:
        config: Which one, and where it is.
        seed: Seed of generated data; other sources do not use it.
        base: Folder that relative paths start from.

    Raises:
        ConfigError: when the configuration names no path where one is needed.
        SourceError: when the source cannot be read.
        SchemaError: when it does not keep the contract.
    """
    # Imported on use: adapters build a Dataset themselves, and a bank's node never needs the generator.
    if config.source == "generated":
        from fraudfl.data.simulate import GENERATED_CONTRACT, generate

        table = validate(
            generate(config.generator, seed, config.generator.changes), GENERATED_CONTRACT, where="generated data"
        )
        return Dataset("generated", table, GENERATED_CONTRACT)
    if config.source == "table":
        return _own_table(config, base)
    if config.path is None:
        raise ConfigError(
            f"data.source is {config.source!r} and data.path is not set; expected the data set's file or folder. "
            f"Set `data.path`, or give `--data {config.source}:PATH`."
        )
    from fraudfl.data.adapters import ADAPTERS

    return ADAPTERS[config.source](base / Path(config.path).expanduser())


def _own_table(config: DataConfig, base: Path) -> Dataset:
    from fraudfl.data.sources import read_source

    assert config.table is not None  # DataConfig refuses the source `table` without its section
    table = config.table if config.path is None else config.table.model_copy(update={"path": config.path})
    source = read_source(table, base)
    return Dataset("table", validate(source.table, source.contract, where=source.origin), source.contract)


def contract_of(config: DataConfig, *, base: Path = Path()) -> Contract:
    """The contract of a configured data set, without its data where that is fixed.

    Raises:
        ConfigError, SourceError, SchemaError: as `load_dataset`, for sources whose columns decide.
    """
    if config.source == "generated":
        from fraudfl.data import simulate

        return simulate.GENERATED_CONTRACT
    from fraudfl.data.adapters import CONTRACTS

    if config.source in CONTRACTS:
        return CONTRACTS[config.source]
    return load_dataset(config, seed=0, base=base).contract
