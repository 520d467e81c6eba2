"""Drift at single banks, as they keep it in their own folders: for whoever has these folders, which is simulation."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fraudfl.errors import SourceError
from fraudfl.folder import bank_paths
from fraudfl.monitoring.kept import kept_reports
from server.store.workspace import Workspace


@dataclass(frozen=True)
class BankDrifts:
    """How far each feature moved at each bank in each window, against the bank's own quiet windows.

    Attributes:
        banks, windows, names: Banks; first days of windows, as ISO dates; features, and `score`.
        psi: Population stability index, float64 of shape (banks, windows, names); NaN where nothing was compared.
        p: Adjusted p-value, likewise.
    """

    banks: tuple[str, ...]
    windows: tuple[str, ...]
    names: tuple[str, ...]
    psi: NDArray[np.float64]
    p: NDArray[np.float64]

    def of(self, name: str) -> NDArray[np.float64]:
        """PSI of one feature, shape (banks, windows)."""
        return self.psi[:, :, self.names.index(name)]

    def largest(self, significance: float) -> NDArray[np.float64]:
        """Largest PSI among changes that are no chance, shape (banks, windows); 0 where all may be chance."""
        surely = np.where(self.p <= significance, self.psi, 0.0)
        compared = np.isfinite(self.psi).any(axis=2)
        return np.where(compared, surely.max(axis=2, initial=0.0), np.nan)


def bank_drifts(workspace: Workspace, phase: str, banks: Collection[str]) -> BankDrifts | None:
    """What banks found in a monitoring phase; None where their folders are elsewhere, or nothing was compared yet.

    Args:
        banks: Whose folders are opened; no other is.

    Raises:
        SourceError: naming the file that cannot be read.
    """
    instance = workspace.coordinator / "phases" / phase / "instance"
    if not instance.exists():
        return None
    found: dict[tuple[str, str], dict[str, tuple[float, float]]] = {}
    for folder in (path for path in bank_paths(workspace.banks) if path.name in banks):
        try:
            for report in kept_reports(folder, instance.read_text().strip()):
                first = str(report["window"]).partition("..")[0]
                drifts = {str(one["name"]): (float(one["psi"]), float(one["p_adjusted"])) for one in report["drifts"]}
                found[folder.name, first] = drifts
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(f"{folder}: a window's report cannot be read ({error!r})") from error
    names = tuple(dict.fromkeys(name for drifts in found.values() for name in drifts))
    return _together(found, names) if names else None


def _together(found: dict[tuple[str, str], dict[str, tuple[float, float]]], names: tuple[str, ...]) -> BankDrifts:
    banks, windows = (tuple(sorted({key[place] for key in found})) for place in (0, 1))
    both = np.full((len(banks), len(windows), len(names), 2), np.nan)
    rows, columns, places = ({key: number for number, key in enumerate(keys)} for keys in (banks, windows, names))
    for (bank, window), drifts in found.items():
        if drifts:
            both[rows[bank], columns[window], [places[name] for name in drifts]] = [*drifts.values()]
    return BankDrifts(banks, windows, names, both[..., 0], both[..., 1])
