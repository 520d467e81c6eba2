"""How much of one unit a release may depend on: at most so many rows of each account."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def within_bound(accounts: NDArray[np.int64], most: int) -> NDArray[np.bool_]:
    """Mark the last `most` rows of each account, which no other account has a say in.

    Args:
        accounts: Account of each row, int64, shape (n,), in order of time.
        most: Contribution bound, at least 1.
    """
    order = np.argsort(accounts, kind="stable")
    sorted_accounts = accounts[order]
    ends = np.searchsorted(sorted_accounts, sorted_accounts, side="right")
    kept = np.zeros(len(accounts), dtype=bool)
    kept[order] = ends - np.arange(len(accounts)) <= most
    return kept
