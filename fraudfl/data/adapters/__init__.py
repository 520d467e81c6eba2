"""Public fraud data sets by name, each from the files as they were published."""

from collections.abc import Callable
from pathlib import Path

from fraudfl.data.adapters import baf, fsi5, handbook, ieee_cis, paysim, sparkov, ulb
from fraudfl.data.dataset import Dataset
from fraudfl.data.schema import Contract

ADAPTERS: dict[str, Callable[[Path], Dataset]] = {
    "handbook": handbook.load,
    "fsi5": fsi5.load,
    "ulb": ulb.load,
    "baf": baf.load,
    "ieee-cis": ieee_cis.load,
    "paysim": paysim.load,
    "sparkov": sparkov.load,
}

# Contracts that do not depend on which columns a file has.
CONTRACTS: dict[str, Contract] = {
    "handbook": handbook.CONTRACT,
    "fsi5": fsi5.CONTRACT,
    "ulb": ulb.CONTRACT,
    "baf": baf.CONTRACT,
    "paysim": paysim.CONTRACT,
    "sparkov": sparkov.CONTRACT,
}
