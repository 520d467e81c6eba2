"""What quiet windows say about how much counts vary by themselves: the control chart behind every test.

Rows of one account come together, weekdays and paydays fall differently into each month, and a customer base grows.
Between windows counts therefore vary more than independent rows would, and a plain chi-square test alarms every month.
How much more is read off windows in which nothing happened.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fraudfl.monitoring.coarse import Floats, Groups
from fraudfl.monitoring.drift import INDEPENDENT, Inflation, Sample


def estimate_inflation(groups: Groups, quiet: Sequence[Sample]) -> Inflation:
    """Estimate the variance inflation from quiet windows.

    The residuals z of each window's shares, in units of what independent rows vary by, would have squared length
    groups - 1 on average; the factor is how much longer they are, after the part that known noise explains. In how
    many directions they vary, (tr Σ)² / tr Σ², follows from the windows' inner products, as for a Wishart matrix.

    Args:
        groups: The groups of one feature.
        quiet: One sample per quiet window.

    Returns:
        The inflation; that of independent rows when there are fewer than three windows, or one group: with less
        nothing can be said.

    Source: McCullagh and Nelder 1989 (dispersion); Satterthwaite 1946 (degrees of freedom).
    """
    if len(quiet) < 3 or groups.count < 2:
        return INDEPENDENT
    pooled = _pooled_shares(quiet)
    residuals = np.array([(s.counts / s.rows - pooled) * np.sqrt(s.rows / pooled) for s in quiet])
    gram = residuals @ residuals.T
    spare = len(quiet) - 1
    explained = spare / len(quiet) * sum(_noise_part(groups, sample, pooled) for sample in quiet)
    factor = (float(np.trace(gram)) - explained) / (spare * (groups.count - 1))
    return Inflation(max(1.0, factor), _directions(gram, groups.count - 1), len(quiet))


def _pooled_shares(quiet: Sequence[Sample]) -> Floats:
    total = np.maximum(np.sum([sample.counts for sample in quiet], axis=0), 0.5)
    shares: Floats = total / total.sum()
    return shares


def _noise_part(groups: Groups, sample: Sample, pooled: Floats) -> float:
    """Expected squared length of a residual's part that comes from noise of known variance."""
    centring = np.eye(groups.count) - np.outer(pooled, np.ones(groups.count))
    noise = (centring**2 * groups.sizes).sum(axis=1)
    return float((noise / pooled).sum()) * sample.noise_variance / sample.rows


def _directions(gram: Floats, most: int) -> float:
    """Estimate (tr Σ)² / tr Σ² from the inner products of centred windows; between 1 and `most`."""
    spare = gram.shape[0] - 1
    squared_trace, trace_of_square = float(np.trace(gram)) ** 2, float((gram**2).sum())
    # For a Wishart matrix W of n degrees of freedom E (tr W)² = n² a + 2n b and E tr W² = n a + n (n + 1) b,
    # with a = (tr Σ)² and b = tr Σ².
    b = (spare * trace_of_square - squared_trace) / (spare * (spare + 2) * (spare - 1))
    a = (squared_trace - 2 * spare * b) / spare**2
    return float(np.clip(a / b, 1.0, most)) if b > 0 and a > 0 else float(most)
