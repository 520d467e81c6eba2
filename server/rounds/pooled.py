"""All banks' folders on one machine: what simulation may do, and no deployment can."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fraudfl.errors import PrivacyError
from fraudfl.features.encoder import Encoder
from fraudfl.folder import BankFolder, Rows, bank_paths
from fraudfl.models.mlp import build_model, score_logits, set_vector
from fraudfl.models.trees import Trees, train_trees
from fraudfl.plan import Plan
from fraudfl.privacy.accounting import epsilon
from fraudfl.privacy.ledger import Ledger
from fraudfl.privacy.mechanisms import mechanism_from_dict
from fraudfl.protocols import Scored
from fraudfl.training.plain import LocalData, train_plain
from fraudfl.training.reference import passes
from fraudfl.transfer.model import derived_seed, start_vector
from fraudfl.transfer.savings import RawSizes

_THREADS = 2
"""XGBoost's, on pooled rows: a fixed number, so that the trees are the same on every machine."""
Scores = Callable[[str, str], NDArray[np.float32]]


class LocalBanks:
    """Reads every bank's folder of one workspace for one phase instance."""

    def __init__(self, banks: Path, plan: Plan, instance: str, phase_folder: Path) -> None:
        """Look at `banks/`; the encoder is taken from the first bank once there is one."""
        self._folders = {path.name: BankFolder(path) for path in bank_paths(banks)}
        self._plan = plan
        self._instance = instance
        self._phase_folder = phase_folder

    def only(self, banks: Collection[str]) -> LocalBanks:
        """The same, with these banks' rows alone."""
        few = copy(self)
        few._folders = {bank: folder for bank, folder in self._folders.items() if bank in banks}
        return few

    def scored(self, name: str, part: str) -> Scored:
        """All banks' rows of one part with the scores that each bank kept under `name`."""
        return self._joined(part, lambda bank, part: self._folders[bank].scores(self._instance, f"{name}-{part}"))

    def train_pooled(self) -> tuple[Scored, Scored]:
        """The plan's model and budget on all rows together: (validation, test)."""
        plan, encoder = self._plan, self._encoder()
        torch.set_num_threads(1)
        data = self._training_rows()
        # The prior of the start is the plan's or the banks' sum, which pooling would give too.
        prior = {"prior": float((data.labels.sum() + 1) / (len(data.labels) + 2))}
        vector = start_vector(plan, encoder.width, prior)
        for done, (training, rate) in enumerate(passes(plan)):
            seed = derived_seed(plan.seed, "pooled", done)
            vector = train_plain(plan.model, vector, data, training, learning_rate=rate, seed=seed).vector
        model = build_model(plan.model, encoder.width)
        set_vector(model, vector)
        return self._both(lambda bank, part: score_logits(model, self._rows(bank, part).features))

    def train_trees(self, *, pooled: bool) -> tuple[Scored, Scored]:
        """XGBoost per bank or on all rows together: (validation, test)."""
        if pooled:
            data = self._training_rows()
            trees = train_trees(data.features, data.labels, seed=self._plan.seed, threads=_THREADS)
            return self._both(lambda bank, part: trees.score(self._rows(bank, part).features))
        # XGBoost lets other threads work; one bank on each core takes a fraction of one bank on all of them.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            own = dict(zip(self._folders, pool.map(self._own_trees, self._folders), strict=True))
        return self._both(lambda bank, part: own[bank].score(self._rows(bank, part).features))

    def _own_trees(self, bank: str) -> Trees:
        rows = self._rows(bank, "train")
        return train_trees(rows.features, rows.labels, seed=self._plan.seed)

    @cache  # noqa: B019 - one instance per phase, and the sizes take seconds
    def raw_sizes(self) -> Mapping[str, RawSizes]:
        """Per bank: what its training window takes as CSV and as zstd Parquet."""
        return {bank: folder.raw_sizes(self._plan.split) for bank, folder in self._folders.items()}

    def epsilon_spent(self) -> dict[str, float]:
        """Per bank: ε of this phase's plan so far, computed from the bank's ledger."""
        if not self._plan.private:
            return {}
        spent = {}
        for bank, folder in self._folders.items():
            charged = Ledger(folder.path / "ledger.db").mechanisms(self._plan.hash)
            spent[bank] = epsilon([mechanism_from_dict(facts) for facts in charged], self._plan.delta)
        cap = self._plan.privacy.epsilon or 0.0
        over = {bank: value for bank, value in spent.items() if value > cap * (1 + 1e-6)}
        if over:
            raise PrivacyError(f"ledgers show more than the plan's ε = {cap:g}: {over}")
        return spent

    def _encoder(self) -> Encoder:
        return Encoder.from_bytes((self._phase_folder / "encoder.json").read_bytes())

    def _rows(self, bank: str, part: str) -> Rows:
        return self._folders[bank].rows(self._plan.features, self._plan.split, self._encoder(), part)

    def _training_rows(self) -> LocalData:
        rows = [self._rows(bank, "train") for bank in self._folders]
        return LocalData(np.concatenate([r.features for r in rows]), np.concatenate([r.labels for r in rows]))

    def _both(self, scores: Scores) -> tuple[Scored, Scored]:
        return self._joined("validation", scores), self._joined("test", scores)

    def _joined(self, part: str, scores: Scores) -> Scored:
        rows = {bank: self._rows(bank, part) for bank in self._folders}
        slices, start, clusters, offset = {}, 0, [], 0
        for bank, own in rows.items():
            slices[bank] = slice(start, start + len(own.labels))
            start += len(own.labels)
            clusters.append(own.clusters + offset)
            offset += int(own.clusters.max(initial=-1)) + 1
        return Scored(
            logits=np.concatenate([scores(bank, part) for bank in rows]),
            labels=np.concatenate([own.labels for own in rows.values()]).astype(np.int8),
            clusters=np.concatenate(clusters),
            banks=slices,
        )
