"""One step at a bank whose noise is a share: a clipped gradient sum over one Poisson draw, and this bank's noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fraudfl.config import ModelConfig, TrainingConfig
from fraudfl.errors import TrainingError
from fraudfl.models.mlp import build_model, set_vector
from fraudfl.privacy.mechanisms import DpSgd
from fraudfl.privacy.noise import NoiseSource
from fraudfl.training.batches import FlatModel, LocalData
from fraudfl.training.clipping import GhostClipper
from fraudfl.training.units import units_of

# One unit can move a sum by a little more than C, by rounding (Casacuberta et al. 2022). Norms, factors and sums are
# float64 (`GhostClipper`): each of n units, of k rows, contributes C (1 + k 2^-27) at most (where the rows' gradients
# cancel, see `_rounding_floor`), and adding them up errs by n C n 2^-53 at most. Two sums that differ in one unit are
# so C (1 + k 2^-27 + 2 n^2 2^-53) apart: within C (1 + 2^-10) for a million units of 1,000 rows or less. This much more
# noise covers it; the accountant counts the noise without it. All this takes that a row's float32 gradient has the same
# bits beside any other rows: see `BLOCK_ROWS`.
_ROUNDING_MARGIN = 1 + 2**-10


class ClippedDraws:
    """Clipped gradient sums over fresh Poisson draws of one bank's units; clipper and grouping are made once."""

    def __init__(
        self, flat: FlatModel, data: LocalData, dp: DpSgd, positive_weight: float, account_rows: int | None
    ) -> None:
        """Tie to a model, whose weights may change between draws.

        Raises:
            TrainingError: if accounts are the unit, and the rows carry none.
        """
        self._units = units_of(data, dp.unit, account_rows)
        self._clipper = GhostClipper(flat.model, dp.clip_norm)
        self._features, self._labels = data.tensors()
        self._rate = dp.sampling_rate
        self._positive_weight = positive_weight

    def draw(self, noise: NoiseSource) -> npt.NDArray[np.float64]:
        """Draw each unit with probability q and sum their clipped gradients.

        Returns:
            float64, shape (size,), finite; not yet private. A unit whose gradient is not finite contributes nothing.
        """
        picks = self._units.draw(noise, self._rate)
        total = self._clipper.gradient_sum(self._features, self._labels, self._positive_weight, picks)
        return np.asarray(total.numpy(), dtype=np.float64)


class NoisySums:
    """What a bank releases in privacy mode `distributed`, a step at a time; see `noisy_sum`."""

    def __init__(
        self,
        model_config: ModelConfig,
        data: LocalData,
        training: TrainingConfig,
        mechanism: DpSgd,
        *,
        account_rows: int | None,
        bound: float,
        noise: NoiseSource,
    ) -> None:
        """Build model and clipper, and group rows into units, once for all steps. Arguments as in `noisy_sum`."""
        if not bound > 0:
            raise TrainingError(f"the bound on a sum's entries is {bound}; expected a positive number")
        model = build_model(model_config, data.features.shape[1])
        self._size = sum(parameter.numel() for parameter in model.parameters())
        self._flat = FlatModel(model, np.zeros(self._size, dtype=np.float32))
        self._draws = ClippedDraws(self._flat, data, mechanism, training.positive_weight, account_rows)
        self._mechanism, self._bound, self._noise = mechanism, bound, noise

    def draw(self, vector: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return one noisy sum at the weights `vector`, float32, shape (size,); see `noisy_sum`."""
        set_vector(self._flat.model, vector)
        total = self._draws.draw(self._noise)
        # Before the noise, and a projection: no two sums come further apart by it, so the sensitivity stays C.
        np.clip(total, -self._bound, self._bound, out=total)
        return total + noise_share(self._mechanism, self._size, self._noise)


def noisy_sum(
    model_config: ModelConfig,
    vector: npt.NDArray[np.float32],
    data: LocalData,
    training: TrainingConfig,
    mechanism: DpSgd,
    *,
    account_rows: int | None,
    bound: float,
    noise: NoiseSource,
) -> npt.NDArray[np.float64]:
    """Take one bank's part in one step of DP-SGD over the union of the banks' units.

    One Poisson draw of units, their gradients clipped to C and summed, each entry clamped to ±`bound`, and Gaussian
    noise of standard deviation `mechanism.share_deviation`. On its own it is protected by that share only: it must
    leave the bank masked. A bank without rows answers with noise alone.

    Args:
        vector: Weights, float32, shape (size,).
        data: The bank's rows, with their accounts where those are the unit.
        training: Gives the weight of a fraud in the loss.
        mechanism: What one step costs; `steps` is not read.
        account_rows: Most rows of one account in a step; for unit `account` only.
        bound: Largest magnitude of an entry of the sum, before noise; what fixed-point encoding has room for.
        noise: Where draws and noise come from.

    Returns:
        float64, shape (size,): a sum of loss gradients, to be divided by the public expected batch of all banks. It is
        finite whatever the weights: an error would tell that some row makes them overflow.

    Raises:
        TrainingError: if accounts are the unit, and the rows carry none; or if weights and model do not fit.

    Source: Abadi et al. 2016; noise in shares, Kairouz et al. 2021, section 3.
    """
    sums = NoisySums(model_config, data, training, mechanism, account_rows=account_rows, bound=bound, noise=noise)
    return sums.draw(vector)


def noise_share(mechanism: DpSgd, size: int, noise: NoiseSource) -> npt.NDArray[np.float64]:
    """Draw the noise that this bank adds, shape (size,), a little larger than accounted for, to cover rounding."""
    return mechanism.share_deviation * _ROUNDING_MARGIN * noise.gaussian(size)
