from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fraudfl.errors import PrivacyError
from fraudfl.privacy.audit.circle import Circle
from fraudfl.privacy.audit.in_out import Canaries
from fraudfl.privacy.audit.releases import LocalSteps, NoisyCounts, SummedSteps, canaries_that_fit
from fraudfl.privacy.mechanisms import DpSgd, GaussianSum
from fraudfl.privacy.noise import NoiseSource
from fraudfl.secagg.fixed_point import FixedPoint

STEP = DpSgd(sampling_rate=1, noise_multiplier=1.3, clip_norm=2.5, steps=1, expected_batch=40)
SUMMED = replace(STEP, parties=4, colluding=1)
COUNTS = GaussianSum(noise_multiplier=1.3, sensitivity=3, parties=4)
GRID = FixedPoint.for_sums(bound=2.0**20, parties=4, deviation=10, entries=2**30, step=2.0**-10)
PRESENT = np.random.default_rng(1).random(300) < 0.5


class Silent(NoiseSource):
    """Draws as ever, and no noise, so that a release shows what noise has to cover."""

    def gaussian(self, shape: int | tuple[int, ...]) -> np.ndarray:
        return np.zeros(shape)


def silent(_bank: int, _release: int) -> NoiseSource:
    return Silent()


def releases(**settings: Any) -> dict[str, Canaries]:
    accounts = replace(STEP, unit="account")
    return {
        "local": LocalSteps(count=300, claimed=STEP, **settings),
        "account": LocalSteps(count=300, claimed=accounts, account_rows=3, **settings),
        "summed": SummedSteps(count=300, claimed=SUMMED, circle=Circle(4, GRID), bound=300.0, **settings),
        "counts": NoisyCounts(count=300, claimed=COUNTS, circle=Circle(4, GRID), **settings),
    }


@pytest.mark.parametrize("name", ["local", "account", "summed", "counts"])
def test_a_canary_that_is_in_adds_its_whole_norm_and_one_that_is_out_nothing(name: str) -> None:
    seen = releases(noise_of=silent)[name].observe(PRESENT)
    assert seen[0] == pytest.approx(PRESENT.astype(float), abs=2e-3)


@pytest.mark.parametrize("name", ["local", "account", "summed", "counts"])
def test_what_is_seen_has_the_claimed_noise_and_no_more(name: str) -> None:
    made = releases()[name]
    left = np.concatenate([made.observe(PRESENT)[0] - PRESENT for _ in range(20)])
    assert left.std() == pytest.approx(1.3, rel=0.04)
    assert left.mean() == pytest.approx(0, abs=0.1)


def test_canaries_are_drawn_at_the_sampling_rate() -> None:
    everyone = np.ones(1000, dtype=bool)
    made = LocalSteps(count=1000, claimed=replace(STEP, sampling_rate=0.3), noise_of=silent)
    assert made.observe(everyone)[0].mean() == pytest.approx(0.3, abs=0.06)


def test_a_colluding_bank_takes_its_own_noise_off_the_sum() -> None:
    made = SummedSteps(count=300, claimed=SUMMED, circle=Circle(4, GRID), bound=300.0, colluders=1)
    left = np.concatenate([made.observe(PRESENT)[0] - PRESENT for _ in range(20)])
    assert left.std() == pytest.approx(1.3 * np.sqrt(3 / 4), rel=0.04)
    assert left.std() == pytest.approx(SUMMED.against_colluders().noise_multiplier, rel=0.04)


def test_a_bank_with_everybody_s_noise_sees_through_the_sum() -> None:
    made = SummedSteps(
        count=300,
        claimed=SUMMED,
        circle=Circle(4, GRID),
        bound=300.0,
        colluders=1,
        noise_of=lambda _bank, release: NoiseSource.for_tests(release),
    )
    assert made.observe(PRESENT)[1] == pytest.approx(PRESENT.astype(float), abs=0.01)


def test_masks_cancel_and_change_no_sum() -> None:
    vectors = [np.random.default_rng(bank).standard_normal(50) for bank in range(3)]
    grid = FixedPoint(2.0**-12, 24)
    sums = []
    for masked in (True, False):
        sources = [NoiseSource.for_tests(bank) for bank in range(3)]
        total, own = Circle(3, grid, masked=masked).open(vectors, sources)
        assert total == pytest.approx(own.sum(axis=0))
        sums.append(total)
    assert (sums[0] == sums[1]).all()
    assert sums[0] == pytest.approx(np.sum(vectors, axis=0), abs=3 * 2.0**-12)


def test_a_circle_of_fewer_banks_than_share_the_noise_is_refused() -> None:
    for make in (
        lambda circle: SummedSteps(claimed=SUMMED, circle=circle, bound=1.0),
        lambda circle: NoisyCounts(claimed=COUNTS, circle=circle),
    ):
        with pytest.raises(PrivacyError, match="shared by 4 banks, and the circle has 3"):
            make(Circle(3, GRID))


def test_accounts_of_many_rows_leave_room_for_fewer_canaries() -> None:
    assert canaries_that_fit(None) == canaries_that_fit(16) == 500
    assert canaries_that_fit(1024) ** 2 * 2048 <= 2**23


def test_two_releases_of_the_same_data_differ() -> None:
    made = releases()["summed"]
    first, second = made.observe(PRESENT), made.observe(PRESENT)
    # On a grid one figure of many may come out twice; a whole release never does.
    assert first.ndim == 2
    assert (first != second).any(axis=1).all()
