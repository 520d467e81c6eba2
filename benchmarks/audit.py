"""Audits of the mechanisms that banks run, and of broken ones: does the lower bound stay below what is claimed?

    python benchmarks/audit.py [--quick]

Each audit runs ten times with other trials, noise and coins. Of sound mechanisms the largest lower bound of ε is
given, and must not be above the claim; of broken ones the smallest, and must be. The last line is JSON.

The broken mechanisms are here and not in the package, so that no bank has them installed.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from fraudfl.config import ModelConfig, TrainingConfig
from fraudfl.models.mlp import FloatVector, initial_vector
from fraudfl.privacy.audit.canary_training import CanaryTraining, LocalRounds, Setting, SummedRounds
from fraudfl.privacy.audit.circle import Circle
from fraudfl.privacy.audit.in_out import Canaries, audit_in_out
from fraudfl.privacy.audit.membership import Suspects, audit_membership
from fraudfl.privacy.audit.one_run import audit_one_run
from fraudfl.privacy.audit.releases import LocalSteps, NoiseOf, NoisyCounts, SummedSteps
from fraudfl.privacy.audit.result import AuditResult
from fraudfl.privacy.discretisation import largest_step
from fraudfl.privacy.mechanisms import DpSgd, GaussianSum, Mechanism
from fraudfl.privacy.noise import NoiseSource
from fraudfl.secagg.fixed_point import FixedPoint
from fraudfl.training.batches import LocalData
from fraudfl.training.dp import train_dp
from fraudfl.training.plain import train_plain

EPSILON, DELTA = 3.0, 1e-6
BANKS, ACCOUNT_ROWS, BOUND = 5, 4, 256.0

_ALWAYS = DpSgd(sampling_rate=1, noise_multiplier=1, clip_norm=1.5, steps=1, expected_batch=100)
LOCAL = _ALWAYS.calibrate(EPSILON, DELTA)
ACCOUNT = replace(LOCAL, unit="account")
SHARED = replace(LOCAL, parties=BANKS, colluding=1)
SAMPLED = replace(_ALWAYS, sampling_rate=0.1, steps=30).calibrate(EPSILON, DELTA)
COUNTS = GaussianSum(noise_multiplier=1, sensitivity=2, parties=BANKS).calibrate(EPSILON, DELTA)
TRAINED = replace(_ALWAYS, sampling_rate=0.1, steps=100, expected_batch=200).calibrate(EPSILON, DELTA)

Audit = Callable[[int, int], AuditResult]
"""Runs one audit: with so many trials, from a seed for their order."""


class ScaledNoise(NoiseSource):
    """BROKEN: Gaussian noise smaller than it should be."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self._factor = factor

    def gaussian(self, shape: int | tuple[int, ...]) -> np.ndarray:
        return self._factor * super().gaussian(shape)


def scaled(factor: float) -> NoiseOf:
    """BROKEN: every bank's noise is smaller than it should be."""
    sources: dict[int, NoiseSource] = {}
    return lambda bank, _release: sources.setdefault(bank, ScaledNoise(factor))


def same_everywhere(_bank: int, release: int) -> NoiseSource:
    """BROKEN: all banks take their noise from one seed, as they would from a seed in a shared configuration."""
    return NoiseSource.for_tests(release)


def unclipped(mechanism: DpSgd) -> DpSgd:
    """BROKEN: the same noise, and gradients of ten times the norm pass; the canaries' are longer still."""
    return replace(mechanism, clip_norm=10 * mechanism.clip_norm, noise_multiplier=mechanism.noise_multiplier / 10)


def circle(mechanism: Mechanism, bound: float) -> Circle:
    """Banks with real encoding and masks."""
    share = mechanism.share_deviation
    encoding = FixedPoint.for_sums(bound, BANKS, share * BANKS**0.5, 2**40, largest_step(share))
    return Circle(BANKS, encoding)


def local(claimed: DpSgd = LOCAL, **settings: object) -> Canaries:
    return LocalSteps(claimed=claimed, account_rows=ACCOUNT_ROWS if claimed.unit == "account" else None, **settings)  # type: ignore[arg-type]


def summed(**settings: object) -> Canaries:
    return SummedSteps(claimed=SHARED, circle=circle(SHARED, BOUND), bound=BOUND, **settings)  # type: ignore[arg-type]


def counts(**settings: object) -> Canaries:
    return NoisyCounts(claimed=COUNTS, circle=circle(COUNTS, 2.0**28), **settings)  # type: ignore[arg-type]


@dataclass(frozen=True)
class InOut:
    """An in/out audit that can be repeated."""

    name: str
    claimed: Mechanism
    make: Callable[[], Canaries]

    def __call__(self, trials: int, seed: int) -> AuditResult:
        several = trials // 4 if self.claimed.times > 1 else trials
        return audit_in_out(self.name, self.make(), self.claimed, DELTA, trials=several, seed=seed)


COLLUDED = SHARED.against_colluders()
SOUND_IN_OUT = (
    InOut("local DP-SGD, transactions", LOCAL, local),
    InOut("local DP-SGD, accounts", ACCOUNT, lambda: local(ACCOUNT)),
    InOut("local DP-SGD, 30 sampled rounds", SAMPLED, lambda: local(SAMPLED)),
    InOut("distributed sum", SHARED, summed),
    InOut("distributed sum, against a colluding bank", COLLUDED, lambda: summed(colluders=1)),
    InOut("Gaussian histogram, summed", COUNTS, counts),
)
BROKEN = (
    InOut("local, no noise", LOCAL, lambda: local(noise_of=scaled(0))),
    InOut("local, half the noise", LOCAL, lambda: local(noise_of=scaled(0.5))),
    InOut("local, clipping off", LOCAL, lambda: local(running=unclipped(LOCAL))),
    InOut("local, one seed for all banks", LOCAL, lambda: local(noise_of=same_everywhere)),
    InOut("local, 30 sampled rounds, half the noise", SAMPLED, lambda: local(SAMPLED, noise_of=scaled(0.5))),
    InOut(
        "local, 30 rounds sampled at three times the rate",
        SAMPLED,
        lambda: local(SAMPLED, running=replace(SAMPLED, sampling_rate=0.3)),
    ),
    InOut(
        "local, rows clipped one by one, not accounts",
        ACCOUNT,
        lambda: local(ACCOUNT, running=replace(ACCOUNT, unit="transaction")),
    ),
    InOut("distributed sum, no noise", SHARED, lambda: summed(noise_of=scaled(0))),
    InOut("distributed sum, half the noise", SHARED, lambda: summed(noise_of=scaled(0.5))),
    InOut(
        "distributed sum, shares of deviation σC/m", SHARED, lambda: summed(running=replace(SHARED, parties=BANKS**2))
    ),
    InOut("distributed sum, clipping off", SHARED, lambda: summed(running=unclipped(SHARED))),
    InOut(
        "distributed sum, one seed for all banks, against a colluding bank",
        COLLUDED,
        lambda: summed(colluders=1, noise_of=same_everywhere),
    ),
    InOut("Gaussian histogram, no noise", COUNTS, lambda: counts(noise_of=scaled(0))),
    InOut("Gaussian histogram, half the noise", COUNTS, lambda: counts(noise_of=scaled(0.5))),
    InOut("Gaussian histogram, a unit counted twice", COUNTS, lambda: counts(louder=2)),
)


def real_rows(rows: int, seed: int) -> LocalData:
    """Rows whose label depends on a few of nine features."""
    generator = np.random.default_rng(seed)
    features = generator.standard_normal((rows, 9), dtype=np.float32)
    hidden = 2 * features[:, 0] - features[:, 1] + 1.5 * features[:, 2] * features[:, 3]
    return LocalData(features, (hidden + generator.standard_normal(rows) > 4).astype(np.float32))


def one_run(parties: int) -> Audit:
    """One training of 100 rounds over five banks, 1,000 canaries at one of them."""

    def run(_trials: int, seed: int) -> AuditResult:
        claimed = replace(TRAINED, parties=parties, expected_batch=TRAINED.expected_batch * parties)
        setting = Setting(
            model=ModelConfig(hidden=(16,)),
            training=TrainingConfig(learning_rate=0.5),
            claimed=claimed,
            real=tuple(real_rows(2_000, bank) for bank in range(BANKS)),
            canaries=1_000,
        )
        training = CanaryTraining(setting, seed)
        if parties == 1:
            scores = training.scores(LocalRounds(setting, training.data))
        else:
            scores = training.scores(SummedRounds(setting, training.data, circle(claimed, BOUND), BOUND))
        name = "one run, local" if parties == 1 else "one run, distributed"
        return audit_one_run(name, scores, training.included, claimed, DELTA)

    return run


def membership(private: bool) -> AuditResult:
    """Train a model on few rows for long, with or without privacy, and attack it."""
    model = ModelConfig(hidden=(128,))
    plain = TrainingConfig(learning_rate=0.02, local_epochs=60, batch_size=50)
    noisy = replace(_ALWAYS, sampling_rate=0.1, steps=100).calibrate(EPSILON, DELTA)
    pool = real_rows(2_000, 11)
    # Labels that nothing explains are what a model can only know by heart.
    flipped = np.random.default_rng(4).random(2_000) < 0.2
    labels = np.where(flipped, 1 - pool.labels, pool.labels).astype(np.float32)
    members, outsiders = (LocalData(pool.features[part], labels[part]) for part in (slice(1_000), slice(1_000, None)))

    def train(rows: LocalData, seed: int) -> FloatVector:
        start = initial_vector(model, 9, prior=0.2, seed=seed)
        if private:
            return train_dp(model, start, rows, plain, noisy, learning_rate=0.02, noise=NoiseSource()).vector
        return train_plain(model, start, rows, plain, learning_rate=0.02, seed=seed).vector

    suspects = Suspects(model=model, vector=train(members, 99), members=members, outsiders=outsiders)
    return audit_membership("private" if private else "not private", suspects, train, shadows=8)


def line(result: AuditResult, bound: float, holds: bool) -> str:
    verdict = "as it should" if holds else "NOT AS IT SHOULD"
    return f"{result.name:<68}{result.claimed or 0:>9.3f}{bound:>13.3f}  {verdict}"


def main() -> None:
    """Run, print the tables, print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="two runs of fewer trials")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=UserWarning)  # Opacus' hooks warn
    runs, trials = (2, 6_000) if quick else (10, 12_000)
    began = time.perf_counter()
    figures: dict[str, list[dict[str, object]]] = {"sound": [], "broken": []}

    sound = [*SOUND_IN_OUT, one_run(1), one_run(BANKS)]
    for kind, audits, pick in (("sound", sound, max), ("broken", list(BROKEN), min)):
        print(f"{kind}: {'largest' if pick is max else 'smallest'} lower bound of {runs} runs, {trials:,} trials each")
        print(f"{'mechanism':<68}{'claimed':>9}{'lower bound':>13}")
        for audit in audits:
            results = [audit(trials, seed) for seed in range(runs)]
            bound = pick(float(result.lower_bound or 0) for result in results)
            claimed = float(results[0].claimed or 0)
            print(line(results[0], bound, (bound <= claimed) == (kind == "sound")), flush=True)
            figures[kind].append(
                {"mechanism": results[0].name, "claimed": round(claimed, 4), "lower_bound": round(bound, 4)}
            )
        print()
    print("membership inference on the final model (no bound of ε)")
    for private in (False, True):
        result = membership(private)
        print(f"{result.name:<14}{result.detail}")
    print(f"\n{time.perf_counter() - began:.0f} s")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
