"""What one unit of privacy is made of, and Poisson draws over units: rows one by one, or whole accounts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fraudfl.errors import TrainingError
from fraudfl.privacy.mechanisms import Unit
from fraudfl.privacy.noise import NoiseSource
from fraudfl.training.batches import LocalData

# Row numbers of the drawn units. Shape (units,): each row is a unit. Shape (units, rows): each line is a unit, its
# rows at the left and -1 in the places left over, and the units with most rows come first.
Picks = npt.NDArray[np.int64]


class Units(Protocol):
    """One bank's units."""

    def draw(self, noise: NoiseSource, rate: float) -> Picks:
        """Choose each unit independently with probability `rate`, and say which of its rows take part."""
        ...


class Transactions:
    """Each row is a unit."""

    def __init__(self, rows: int) -> None:
        """Number of rows; may be zero."""
        self._rows = rows

    def draw(self, noise: NoiseSource, rate: float) -> Picks:
        """Return the drawn rows, shape (drawn,)."""
        return noise.poisson_draw(self._rows, rate)


class Accounts:
    """An account with all its rows is a unit, of which at most `most` rows take part in a step.

    Which they are is drawn anew in each step, uniformly without replacement and from the account's own rows alone,
    so that an account that joins or leaves changes nothing about what the others contribute.
    """

    def __init__(self, accounts: npt.NDArray[np.int64], most: int) -> None:
        """Group the rows once.

        Args:
            accounts: Account of each row, int64, shape (n,).
            most: Contribution bound k, at least 1.
        """
        if most < 1:
            raise TrainingError(f"account_rows is {most}; expected at least one row per account and step")
        self._rows = np.argsort(accounts, kind="stable")
        _, self._starts, self._counts = np.unique(accounts[self._rows], return_index=True, return_counts=True)
        self._most = most

    def draw(self, noise: NoiseSource, rate: float) -> Picks:
        """Return at most `most` rows of each drawn account, shape (drawn, up to `most`), -1 where it has fewer."""
        chosen = noise.poisson_draw(len(self._counts), rate)
        chosen = chosen[np.argsort(-self._counts[chosen], kind="stable")]
        counts = self._counts[chosen]
        rows, begins = self._side_by_side(chosen)
        width = min(self._most, int(counts[0])) if len(counts) else self._most
        picks = np.full((len(chosen), width), -1, dtype=np.int64)
        # Accounts are in falling order of size, so those that need a choice, and those that still have a row, lead.
        crowded = int(np.count_nonzero(counts > self._most))
        for slot in range(width):
            places = begins[: np.count_nonzero(counts > slot)] + slot
            _swap_in(rows, places[:crowded], counts[:crowded] - slot, noise)
            picks[: len(places), slot] = rows[places]
        return picks

    def _side_by_side(self, chosen: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Copy the chosen accounts' row numbers into one array, and say where each account's begin."""
        counts = self._counts[chosen]
        begins = np.cumsum(counts) - counts
        within = np.arange(counts.sum()) - np.repeat(begins, counts)
        return self._rows[np.repeat(self._starts[chosen], counts) + within], begins


def units_of(data: LocalData, unit: Unit, account_rows: int | None) -> Units:
    """Say what the units of a bank's rows are.

    Args:
        account_rows: Contribution bound k; for unit `account` only.

    Raises:
        TrainingError: if accounts are the unit, and the rows' accounts or the bound are missing.
    """
    if unit == "transaction":
        return Transactions(len(data.labels))
    if data.accounts is None or account_rows is None:
        missing = "the rows carry no accounts" if data.accounts is None else "no bound on an account's rows was given"
        raise TrainingError(
            f"privacy unit is `account`, but {missing}; give `accounts` with the rows and `privacy.account_rows`"
        )
    return Accounts(data.accounts, account_rows)


def in_chunks(picks: Picks, rows: int) -> Iterator[Picks]:
    """Cut picks into parts of about `rows` rows, each no wider than its largest unit."""
    if picks.ndim == 1:
        for start in range(0, len(picks), rows):
            yield picks[start : start + rows]
        return
    start = 0
    while start < len(picks):
        width = max(1, int(np.count_nonzero(picks[start] >= 0)))
        stop = start + max(1, rows // width)
        yield picks[start:stop, :width]
        start = stop


def _swap_in(
    rows: npt.NDArray[np.int64], places: npt.NDArray[np.int64], left: npt.NDArray[np.int64], noise: NoiseSource
) -> None:
    """One step of Fisher and Yates' shuffle in many places at once: swap each with one of the `left` from it on."""
    others = places + (noise.uniform(len(places)) * left).astype(np.int64)
    rows[places], rows[others] = rows[others], rows[places]
