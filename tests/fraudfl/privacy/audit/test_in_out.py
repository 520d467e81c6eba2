from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import norm

from fraudfl.errors import PrivacyError
from fraudfl.privacy.accounting import epsilon
from fraudfl.privacy.audit.in_out import CONFIDENCE, Trials, audit_in_out, choose_test, evidence, run_trials
from fraudfl.privacy.mechanisms import DpSgd, GaussianSum

DELTA = 1e-5


@dataclass
class Simulated:
    """Exact Gaussians, from numpy: what a release looks like along each canary's direction."""

    deviation: float
    rate: float = 1.0
    count: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        self.generator = np.random.default_rng(self.seed)
        self.releases = 0

    def observe(self, present: np.ndarray) -> np.ndarray:
        self.releases += 1
        drawn = present & (self.generator.random(self.count) < self.rate)
        return (drawn + self.deviation * self.generator.standard_normal(self.count))[None]


def three(delta: float = DELTA) -> GaussianSum:
    return GaussianSum(noise_multiplier=1.0, sensitivity=1.0).calibrate(3.0, delta)


def test_a_sound_gaussian_is_never_refuted_and_the_bound_comes_near_its_claim() -> None:
    claimed = three()
    results = [
        audit_in_out("exact", Simulated(claimed.noise_multiplier, seed=run), claimed, DELTA, seed=run)
        for run in range(10)
    ]
    assert all(result.verdict == "sound" and result.lower_bound <= result.claimed for result in results)
    assert np.median([result.lower_bound for result in results]) > 2.0
    assert results[0].claimed == epsilon([claimed], DELTA)
    assert results[0].confidence == CONFIDENCE
    assert results[0].trials == 6_000


def test_half_the_noise_is_caught_every_time() -> None:
    claimed = three()
    results = [
        audit_in_out("half", Simulated(claimed.noise_multiplier / 2, seed=run), claimed, DELTA, seed=run)
        for run in range(10)
    ]
    bounds = [result.lower_bound for result in results]
    assert all(result.verdict == "violated" for result in results)
    assert min(bounds) > 4.5
    truth = epsilon([GaussianSum(noise_multiplier=claimed.noise_multiplier / 2, sensitivity=1)], DELTA)
    assert max(bounds) <= truth


def test_a_sampled_mechanism_of_several_steps_is_sound_and_half_its_noise_is_not() -> None:
    claimed = DpSgd(sampling_rate=0.2, noise_multiplier=1, clip_norm=1, steps=15, expected_batch=1).calibrate(
        3.0, DELTA
    )
    honest = Simulated(claimed.noise_multiplier, rate=0.2)
    assert audit_in_out("honest", honest, claimed, DELTA).verdict == "sound"
    assert honest.releases == 15 * 6
    half = Simulated(claimed.noise_multiplier / 2, rate=0.2)
    assert audit_in_out("half", half, claimed, DELTA).verdict == "violated"
    often = Simulated(claimed.noise_multiplier, rate=0.6)
    assert audit_in_out("sampled three times as often", often, claimed, DELTA).verdict == "violated"


def test_the_bound_holds_with_the_confidence_that_it_names() -> None:
    # A mechanism a little worse than its claim of sigma = 1 would be refuted too often if errors were undercounted.
    claimed = GaussianSum(noise_multiplier=1.0, sensitivity=1.0)
    refuted = sum(
        audit_in_out("exact", Simulated(1.0, seed=run), claimed, DELTA, trials=500, seed=run).verdict == "violated"
        for run in range(200)
    )
    assert refuted == 0


def test_as_many_trials_have_the_canary_as_have_not() -> None:
    seen = run_trials(Simulated(1.0, count=400), three(), 1_000, seed=4)
    assert seen.present.size == 2_000
    assert seen.present.sum() == 1_000
    assert seen.scores.shape == (1, 2_000)


def test_trials_are_needed() -> None:
    with pytest.raises(PrivacyError, match="trials is 0"):
        run_trials(Simulated(1.0), three(), 0, seed=1)


def test_evidence_is_the_likelihood_ratio_of_the_sampled_gaussian() -> None:
    claimed = DpSgd(sampling_rate=0.3, noise_multiplier=0.8, clip_norm=2, steps=1, expected_batch=1)
    seen = np.array([-2.0, 0.0, 0.4, 1.0, 3.0])
    inside = 0.7 * norm.pdf(seen, 0, 0.8) + 0.3 * norm.pdf(seen, 1, 0.8)
    assert evidence(seen, claimed) == pytest.approx(np.log(inside / norm.pdf(seen, 0, 0.8)))


def test_the_observer_picks_the_view_that_tells_more() -> None:
    generator = np.random.default_rng(3)
    present = np.arange(2_000) % 2 == 0
    blind = generator.standard_normal(2_000)
    clear = present + 0.3 * generator.standard_normal(2_000)
    view, threshold = choose_test(Trials(present, np.stack([blind, clear])))
    assert view == 1
    assert 0 < threshold < 1
