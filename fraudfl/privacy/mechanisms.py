"""Frozen descriptions of the mechanisms that cost privacy; what a ledger stores, apart from any ε."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from fraudfl.errors import PrivacyError

if TYPE_CHECKING:
    import dp_accounting

Unit = Literal["transaction", "account"]


def gaussian_event(sampling_rate: float, noise_multiplier: float, times: int) -> dp_accounting.DpEvent:
    """Say in dp-accounting's words: a Poisson-sampled Gaussian, `times` times; one sampled at 1 is a plain Gaussian."""
    # Imported on use: it brings 60 MB of SciPy, and a bank without private plans never needs it.
    import dp_accounting

    step: dp_accounting.DpEvent = dp_accounting.GaussianDpEvent(noise_multiplier)
    if sampling_rate < 1:
        step = dp_accounting.PoissonSampledDpEvent(sampling_rate, step)
    return dp_accounting.SelfComposedDpEvent(step, times)


@dataclass(frozen=True, kw_only=True)
class _Gaussian:
    """What mechanisms with Gaussian noise share: sums over one bank or several, with noise that each adds a part of."""

    noise_multiplier: float
    unit: Unit = "transaction"
    parties: int = 1
    colluding: int = 0

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        """Refuse values no accountant could vouch for."""
        self._require_positive("noise_multiplier")
        self._require(self.unit in ("transaction", "account"), "unit", "`transaction` or `account`")
        self._require_count("parties")
        holds = type(self.colluding) is int and 0 <= self.colluding < self.parties
        self._require(holds, "colluding", f"a whole number from 0 to below parties, {self.parties}")

    if TYPE_CHECKING:  # each kind brings these, some as fields, which a property of the base would forbid

        @property
        def sampling_rate(self) -> float:
            """Probability that a unit takes part each time."""

        @property
        def norm(self) -> float:
            """L2 bound of what one unit changes in the sum."""

        @property
        def times(self) -> int:
            """How often the sum is released."""

    @property
    def share_deviation(self) -> float:
        """Standard deviation of the noise that one bank adds to each entry, in the entries' own units.

        The shares of `parties` banks make up the noise of the sum: variance (noise_multiplier·norm)² / parties each.
        """
        return self.noise_multiplier * self.norm / math.sqrt(self.parties)

    def against_colluders(self) -> Self:
        """Return what protects against `colluding` of the parties, who know their own noise and take it off."""
        honest = self.parties - self.colluding
        noise = self.noise_multiplier * math.sqrt(honest / self.parties)
        return replace(self, noise_multiplier=noise, parties=honest, colluding=0)

    def dp_event(self) -> dp_accounting.DpEvent:
        """Say the same in dp-accounting's words, for any accountant to compose."""
        return gaussian_event(self.sampling_rate, self.noise_multiplier, self.times)

    def calibrate(self, epsilon: float, delta: float) -> Self:
        """Return a new one with the smallest noise multiplier that keeps all of it within (ε, δ).

        Raises:
            PrivacyError: if that cannot be met.
        """
        from fraudfl.privacy.pld import least_noise

        noise = least_noise(lambda value: gaussian_event(self.sampling_rate, value, self.times), epsilon, delta)
        return replace(self, noise_multiplier=noise)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"kind": self.kind, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote; `parties` and `colluding` may be missing, as in ledgers of one bank's noise.

        Raises:
            PrivacyError: if fields are missing, unknown or out of range.
        """
        fields = dict(values)
        if fields.pop("kind", None) != cls.kind:
            raise PrivacyError(f"mechanism kind is {values.get('kind')!r}; expected {cls.kind!r}")
        try:
            return cls(**fields)
        except TypeError as error:
            raise PrivacyError(f"mechanism {values!r} cannot be read: {error}") from error

    def _require_positive(self, name: str) -> None:
        value = getattr(self, name)
        self._require(math.isfinite(value) and value > 0, name, "a positive number")

    def _require_count(self, name: str) -> None:
        value = getattr(self, name)
        self._require(type(value) is int and value >= 1, name, "a whole number of at least 1")

    def _require(self, holds: bool, name: str, expected: str) -> None:
        if not holds:
            raise PrivacyError(f"mechanism {self.kind}: {name} is {getattr(self, name)!r}; expected {expected}")


@dataclass(frozen=True, kw_only=True)
class DpSgd(_Gaussian):
    """Steps of DP-SGD: Poisson sampling, per-unit clipping, Gaussian noise. Everything in it is public.

    Attributes:
        sampling_rate: Probability q that a unit takes part in a step, in (0, 1].
        noise_multiplier: Standard deviation of the noise in the SUM over `clip_norm`, > 0: what protects against
            the coordinator and outsiders.
        clip_norm: L2 bound per unit, > 0.
        steps: Number of steps, >= 1.
        expected_batch: What noisy sums are divided by, > 0: q times the plan's bound on units. It must not be
            the bank's own number of rows, which is private; it does not influence ε.
        unit: What one row stands for.
        parties: Banks whose noise makes up that of the sum: the minimum cohort; 1 where each adds it in full.
        colluding: Banks among them that may tell the coordinator their noise.
    """

    sampling_rate: float
    clip_norm: float
    steps: int
    expected_batch: float

    kind: ClassVar[str] = "dp-sgd"

    def __post_init__(self) -> None:
        """Refuse values no accountant could vouch for."""
        self._require(0 < self.sampling_rate <= 1, "sampling_rate", "a number above 0 and up to 1")
        for name in ("clip_norm", "expected_batch"):
            self._require_positive(name)
        self._require_count("steps")
        super().__post_init__()

    @property
    def norm(self) -> float:
        """The clip norm."""
        return self.clip_norm

    @property
    def times(self) -> int:
        """The steps."""
        return self.steps

    def with_steps(self, steps: int) -> Self:
        """Return a new one with another number of steps: a round's part of a phase."""
        return replace(self, steps=steps)


@dataclass(frozen=True, kw_only=True)
class GaussianSum(_Gaussian):
    """Vectors of counts, summed over all rows, with Gaussian noise: encoder sketches and score histograms.

    Attributes:
        noise_multiplier: Standard deviation of the noise in the sum over `sensitivity`, > 0.
        sensitivity: L2 bound of what one unit adds to the vector, > 0.
        unit: What one unit is.
        parties, colluding: As in `DpSgd`.
        releases: How many such vectors, >= 1.
    """

    sensitivity: float
    releases: int = 1

    kind: ClassVar[str] = "gaussian"

    def __post_init__(self) -> None:
        """Refuse values no accountant could vouch for."""
        self._require_positive("sensitivity")
        self._require_count("releases")
        super().__post_init__()

    @property
    def sampling_rate(self) -> float:
        """1: every unit is counted."""
        return 1.0

    @property
    def norm(self) -> float:
        """The sensitivity."""
        return self.sensitivity

    @property
    def times(self) -> int:
        """The releases."""
        return self.releases


# Every mechanism a bank can be charged for. A new one joins here, with its own `kind`.
Mechanism = DpSgd | GaussianSum
_KINDS: dict[str, type[DpSgd] | type[GaussianSum]] = {DpSgd.kind: DpSgd, GaussianSum.kind: GaussianSum}


def mechanism_from_dict(values: Mapping[str, Any]) -> Mechanism:
    """Read any mechanism by its `kind`.

    Raises:
        PrivacyError: if the kind is unknown or the fields do not fit.
    """
    found = _KINDS.get(str(values.get("kind")))
    if found is None:
        raise PrivacyError(f"mechanism kind is {values.get('kind')!r}; expected one of {', '.join(sorted(_KINDS))}")
    return found.from_dict(values)
