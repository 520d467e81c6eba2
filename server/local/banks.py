"""From one data set to a workspace's bank folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from fraudfl.config import FraudflConfig
from fraudfl.data.dataset import load_dataset
from fraudfl.data.partition import assign_banks
from fraudfl.data.split import require_rows
from fraudfl.folder import BankFolder, write_bytes
from fraudfl.trust.keys import make_key, public_text
from server.store.workspace import Workspace
from server.trust.certificates import Hosts
from server.trust.pki import Pki

_TRUSTING_POLICY = """\
# A bank that is simulated on this machine approves every plan. A real bank writes its own rules: see docs/policy.md.
approve:
  automatic: true
  modes: [none, local, distributed]
  coordinator: any
uncovered: ["*"]
"""


def create_banks(
    config: FraudflConfig, workspace: Workspace, base: Path, tell: Callable[[str], None] = lambda _text: None
) -> list[str]:
    """Read or generate the data, check all of it, and split it into `banks/<id>/`; returns the ids.

    Nothing is written before the whole data set has passed its checks, and the folders appear together.

    Raises:
        DataError: when the data cannot be used.
    """
    tell(f"reading {config.data.source} data")
    dataset = load_dataset(config.data, seed=config.consortium.seed, base=base)
    require_rows(dataset.table, config.split)
    banks = assign_banks(dataset.table, config.banks, config.consortium.seed)
    making = workspace.path / ".banks.part"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    ids, codes = np.unique(banks.astype(str), return_inverse=True)
    tell(f"splitting {dataset.table.num_rows:,} transactions among {len(ids)} banks")
    for code, bank in enumerate(ids):
        rows = dataset.table.take(pa.array(np.flatnonzero(codes == code)))
        BankFolder.create(making / bank, str(bank), rows, dataset.contract)
        _make_trusting(making / bank)
    _enrol([making / bank for bank in ids], workspace, config.consortium.name)
    shutil.rmtree(workspace.banks, ignore_errors=True)
    making.rename(workspace.banks)
    return [str(bank) for bank in ids]


def _make_trusting(bank: Path) -> None:
    """Give a simulated bank the policy and the key that a real one has."""
    (bank / "policy.yaml").write_text(_TRUSTING_POLICY)
    (bank / "keys").mkdir(mode=0o700)
    key = make_key(bank / "keys" / "bank.key")
    write_bytes(bank / "keys" / "bank.pub", (public_text(key) + "\n").encode())


def _enrol(banks: list[Path], workspace: Workspace, consortium: str) -> None:
    """Put the simulated banks on a roster, signed by this workspace's operator, as real banks are."""
    folder = workspace.coordinator / "pki"
    pki = Pki(folder) if folder.exists() else Pki.create(folder, consortium, Hosts(names=("localhost",)))
    roster = pki.enrol({bank.name: (bank / "keys" / "bank.pub").read_text().strip() for bank in banks})
    for bank in banks:
        write_bytes(bank / "operator.pub", pki.operator.encode() + b"\n")
        write_bytes(bank / "roster.json", roster.to_bytes())
