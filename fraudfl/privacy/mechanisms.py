"""Frozen descriptions of the mechanisms that cost privacy; what a ledger stores, apart from any ε."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from fraudfl.errors import PrivacyError

if TYPE_CHECKING:
    import dp_accounting

Unit = Literal["transaction", "account"]


@dataclass(frozen=True, kw_only=True)
class DpSgd:
    """Steps of DP-SGD: Poisson sampling, per-unit clipping, Gaussian noise. Everything in it is public.

    Attributes:
        sampling_rate: Probability q that a unit takes part in a step, in (0, 1].
        noise_multiplier: Standard deviation of the noise over `clip_norm`, > 0.
        clip_norm: L2 bound per unit, > 0.
        steps: Number of steps, >= 1.
        expected_batch: What noisy sums are divided by, > 0: q times the plan's bound on units. It must not be
            the bank's own number of rows, which is private; it does not influence ε.
        unit: What one row stands for.
    """

    sampling_rate: float
    noise_multiplier: float
    clip_norm: float
    steps: int
    expected_batch: float
    unit: Unit = "transaction"

    def __post_init__(self) -> None:
        """Refuse values no accountant could vouch for."""
        self._require(0 < self.sampling_rate <= 1, "sampling_rate", "a number above 0 and up to 1")
        for name in ("noise_multiplier", "clip_norm", "expected_batch"):
            value = getattr(self, name)
            self._require(math.isfinite(value) and value > 0, name, "a positive number")
        self._require(type(self.steps) is int and self.steps >= 1, "steps", "a whole number of at least 1")
        self._require(self.unit in ("transaction", "account"), "unit", "`transaction` or `account`")

    def dp_event(self) -> dp_accounting.DpEvent:
        """Say the same in dp-accounting's words, for any accountant to compose."""
        # Imported on use, here and below: it brings 60 MB of SciPy, and a bank without private plans never needs it.
        import dp_accounting

        step = dp_accounting.PoissonSampledDpEvent(
            self.sampling_rate, dp_accounting.GaussianDpEvent(self.noise_multiplier)
        )
        return dp_accounting.SelfComposedDpEvent(step, self.steps)

    def calibrate(self, epsilon: float, delta: float) -> Self:
        """Return a new one with the smallest noise multiplier that keeps all `steps` within (ε, δ).

        Raises:
            PrivacyError: if that cannot be met.
        """
        from fraudfl.privacy.pld import least_noise

        noise = least_noise(lambda value: replace(self, noise_multiplier=value).dp_event(), epsilon, delta)
        return replace(self, noise_multiplier=noise)

    def with_steps(self, steps: int) -> Self:
        """Return a new one with another number of steps: a round's part of a phase."""
        return replace(self, steps=steps)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"kind": "dp-sgd", **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            PrivacyError: if fields are missing, unknown or out of range.
        """
        fields = dict(values)
        if fields.pop("kind", None) != "dp-sgd":
            raise PrivacyError(f"mechanism kind is {values.get('kind')!r}; expected 'dp-sgd'")
        try:
            return cls(**fields)
        except TypeError as error:
            raise PrivacyError(f"mechanism {values!r} cannot be read: {error}") from error

    def _require(self, holds: bool, name: str, expected: str) -> None:
        if not holds:
            raise PrivacyError(f"DP-SGD {name} is {getattr(self, name)!r}; expected {expected}")


# Every mechanism a bank can be charged for. A new one joins here, with its own `kind`.
Mechanism = DpSgd


def mechanism_from_dict(values: Mapping[str, Any]) -> Mechanism:
    """Read any mechanism by its `kind`.

    Raises:
        PrivacyError: if the kind is unknown or the fields do not fit.
    """
    return DpSgd.from_dict(values)
