"""Figures read back from sums: exact without noise, and inside their intervals with it."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from bank_tables import CONTRACT, LISTS, SPLIT, bank_table

from fraudfl.assessment.counting import count_profile
from fraudfl.assessment.profile import Figure, Profile
from fraudfl.assessment.spec import FRAUDS, profile_spec
from fraudfl.errors import WireError

SPEC = profile_spec(CONTRACT, SPLIT, LISTS)
TABLES = [bank_table(seed=1), bank_table(800, seed=2, score=[None] * 800), bank_table(60, seed=3)]
FRAMES = [table.to_pandas() for table in TABLES]
COUNTED = [count_profile(table, SPEC, SPLIT) for table in TABLES]
WHOLE = Profile(SPEC, np.sum(COUNTED, axis=0).astype(np.float64), banks=3)


def test_without_noise_figures_are_the_counts_themselves():
    assert WHOLE.rows == Figure(1260, 1260, 1260)
    assert not WHOLE.rows.noisy
    missing = sum(int(frame.score.isna().sum()) for frame in FRAMES)
    assert WHOLE.present("score").value == pytest.approx(1 - missing / 1260)
    assert WHOLE.present("amount").value == 1
    assert WHOLE.banks_with("score").value == 2
    assert WHOLE.banks_with("amount").value == 3
    euros = sum(int((frame.currency == "EUR").sum()) for frame in FRAMES)
    assert WHOLE.categories("currency")["EUR"].value == euros
    assert WHOLE.unlisted("currency").value == sum(int((frame.currency == "CHF").sum()) for frame in FRAMES)
    parts = [WHOLE.rows_in(part).value for part in ("train", "test", "unused")]
    assert sum(parts) == 1260
    test = [frame[(frame.time >= "2025-03-08") & (frame.time < "2025-03-31")] for frame in FRAMES]
    assert WHOLE.frauds_in("test").value == sum(int(part.label.sum()) for part in test)


def test_months_and_delays_and_banks_by_frauds():
    january = sum(int((frame.time.dt.month == 1).sum()) for frame in FRAMES)
    assert list(WHOLE.months()) == [date(2025, 1, 1), date(2025, 2, 1), date(2025, 3, 1)]
    assert WHOLE.months()[date(2025, 1, 1)].value == january
    assert WHOLE.outside_months().value == 0
    within = sum(int((frame.label_time - frame.time < np.timedelta64(3, "D")).sum()) for frame in FRAMES)
    assert WHOLE.labels_within()[3.0].value == pytest.approx(within / 1260)
    assert WHOLE.labels_within()[7.0].value == 1
    frauds = [
        int(frame[(frame.time < "2025-03-01") & (frame.label_time <= "2025-03-08")].label.sum()) for frame in FRAMES
    ]
    for least, figure in WHOLE.banks_with_frauds().items():
        assert figure.value == figure.low == figure.high == sum(count >= least for count in frauds)
    assert {month.month: figure.value for month, figure in WHOLE.banks_with_months().items()} == {1: 3, 2: 3}


def test_the_spread_of_a_column_encloses_its_quantiles():
    amounts = np.concatenate([frame.amount.to_numpy() for frame in FRAMES])
    spread = WHOLE.spread("amount")
    assert spread.median[0] <= np.median(amounts) <= spread.median[1]
    assert spread.median[1] / spread.median[0] == pytest.approx(10**0.25, rel=1e-5)
    assert spread.middle[0] <= np.quantile(amounts, 0.25) < np.quantile(amounts, 0.75) <= spread.middle[1]
    assert spread.ends[0] <= amounts.min() < amounts.max() <= spread.ends[1]
    scores = np.concatenate([frame.score.dropna().to_numpy(dtype=float) for frame in FRAMES])
    assert WHOLE.spread("score").ends[0] <= scores.min() < 0
    assert Profile(SPEC, COUNTED[1].astype(np.float64)).spread("score") is None


def test_the_median_magnitude_is_that_of_values_on_both_sides_of_zero():
    scores = np.concatenate([frame.score.dropna().to_numpy(dtype=float) for frame in FRAMES])
    low, high = WHOLE.magnitude("score")
    assert low <= np.median(np.abs(scores)) <= high
    assert high / low == pytest.approx(10**0.25, rel=1e-5)
    low, high = WHOLE.magnitude("amount")
    assert low <= np.median(np.concatenate([frame.amount for frame in FRAMES])) <= high
    assert Profile(SPEC, COUNTED[1].astype(np.float64)).magnitude("score") is None


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    deviation, draw = 8.0, np.random.default_rng(5)
    hits: list[bool] = []
    for _ in range(200):
        noisy = Profile(SPEC, WHOLE.vector + deviation * draw.normal(size=SPEC.size), 3, deviation)
        pairs = [
            (noisy.rows, 1260.0),
            (noisy.frauds_in("test"), WHOLE.frauds_in("test").value),
            (noisy.present("score"), WHOLE.present("score").value),
            (noisy.categories("currency")["USD"], WHOLE.categories("currency")["USD"].value),
            (noisy.labels_within()[3.0], WHOLE.labels_within()[3.0].value),
        ]
        hits += [figure.low <= truth <= figure.high for figure, truth in pairs]
    assert 0.92 <= np.mean(hits) <= 0.985


def test_the_median_under_noise_is_bracketed_all_the_same():
    deviation, draw = 8.0, np.random.default_rng(6)
    truth = float(np.median(np.concatenate([frame.amount.to_numpy() for frame in FRAMES])))
    found = [
        Profile(SPEC, WHOLE.vector + deviation * draw.normal(size=SPEC.size), 3, deviation).spread("amount").median
        for _ in range(100)
    ]
    assert np.mean([low <= truth <= high for low, high in found]) >= 0.95
    assert np.median([high / low for low, high in found]) < 10  # and still says something


def test_numbers_of_banks_survive_noise_that_would_drown_a_single_one():
    spec, draw = profile_spec(CONTRACT, SPLIT, LISTS, private=True), np.random.default_rng(7)
    # Forty banks, of which thirty have a score; each has forty frauds, most of them in the training window.
    kinds = [count_profile(table, spec, SPLIT) for table in (TABLES[0], bank_table(400, seed=4, score=[None] * 400))]
    total = (30 * kinds[0] + 10 * kinds[1]).astype(np.float64)
    frauds = [int(kind[spec.blocks["banks: frauds"]].sum()) for kind in kinds]
    assert all(10 < count < 30 for count in frauds)
    for _ in range(20):
        found = Profile(spec, total + 30.0 * draw.normal(size=spec.size), 40, 30.0)
        assert abs(found.banks_with("score").value - 30) < 1.5
        assert found.banks_with("score").high - found.banks_with("score").low < 1.5
        assert all(abs(figure.value - 40) < 1.5 for figure in found.banks_with_months().values())
        at_least = found.banks_with_frauds()
        assert at_least[10].high > 30
        assert at_least[100].high < 3
        assert at_least[10].low < 40  # nobody can tell how far above 10 they are


@pytest.mark.parametrize("seed", range(5))
def test_layers_bracket_the_number_of_banks_with_at_least_so_many_frauds(seed):
    spec, draw = profile_spec(CONTRACT, SPLIT, LISTS, private=True), np.random.default_rng(seed)
    frauds = np.exp(draw.uniform(0, 9, 30)).astype(int)
    edges = np.array(FRAUDS)
    vector = np.zeros(spec.size)
    for count in frauds:
        vector[spec.blocks["banks: frauds"]] += np.append(np.clip(count, edges[:-1], edges[1:]) - edges[:-1], 0)
    for least, figure in Profile(spec, vector, 30).banks_with_frauds().items():
        assert figure.low - 1e-9 <= (frauds >= least).sum() <= figure.high + 1e-9


def test_a_share_of_nothing_says_that_it_could_be_anything():
    assert Figure(5, 0, 12).over(Figure(3, 0, 30)) == Figure(0.0, 0.0, 1.0)
    assert Figure(0, 0, 0).over(Figure(0, 0, 0)) == Figure(0.0, 0.0, 0.0)


def test_the_others_are_the_sum_without_ones_own():
    others = WHOLE.without(COUNTED[0].astype(np.float64))
    assert (others.banks, others.rows.value) == (2, 860)


@pytest.mark.parametrize(
    "facts",
    [
        {"vector": np.zeros(3)},
        {"vector": np.full(SPEC.size, np.nan)},
        {"vector": np.zeros(SPEC.size), "banks": 0},
        {"vector": np.zeros(SPEC.size), "deviation": -1.0},
    ],
)
def test_what_cannot_be_a_profile_is_refused(facts):
    with pytest.raises(WireError):
        Profile(SPEC, **facts)
