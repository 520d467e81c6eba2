"""Aggregation against Flower's own FedAvg and against NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.app.message import make_message
from flwr.app.metadata import Metadata
from flwr.serverapp.strategy import FedAvg
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_fleet import DISTRIBUTED, SECURE, plan_of

from fraudfl.config import StrategyConfig
from fraudfl.errors import NonFiniteError, RoundError
from fraudfl.protocols import Aggregator, Vector
from server.rounds.aggregation import StreamedMean, aggregator_of, build_aggregator
from server.rounds.noisy_step import NoisyStep

NAMES = ("fedavg", "fedprox", "fedavgm", "fedadam", "fedtrimmedavg", "fedmedian", "krum")
SIZE = 37


def draws(banks: int, seed: int = 0) -> tuple[Vector, dict[str, Vector], dict[str, float]]:
    """A current model, updates and weights."""
    random = np.random.default_rng(seed)
    updates = {f"bank-{n:02d}": random.normal(0, 0.3, SIZE).astype(np.float32) for n in range(banks)}
    weights = {bank: float(random.integers(1, 100_000)) for bank in updates}
    return random.normal(size=SIZE).astype(np.float32), updates, weights


def step(aggregator: Aggregator, number: int, current: Vector, updates: dict[str, Vector], weights: dict) -> Vector:
    aggregator.start(number, current)
    for bank, update in updates.items():
        aggregator.add(bank, update, weights[bank])
    return aggregator.finish()


def flower_reply(model: Vector, weight: float) -> Message:
    metadata = Metadata(0, "", 1, 1, "", "", 0.0, 1.0, "train")
    content = RecordDict(
        {"arrays": ArrayRecord({"w": Array(model)}), "metrics": MetricRecord({"num-examples": weight})}
    )
    return make_message(metadata=metadata, content=content)


@pytest.mark.parametrize("banks", [1, 2, 10, 200])
def test_the_streamed_mean_equals_flowers_fedavg(banks: int) -> None:
    current, updates, weights = draws(banks)
    replies = [flower_reply(current + updates[bank], weights[bank]) for bank in updates]
    arrays, _ = FedAvg().aggregate_train(1, replies)
    assert arrays is not None
    ours = step(build_aggregator(StrategyConfig(name="fedavg")), 1, current, updates, weights)
    np.testing.assert_allclose(ours, arrays["w"].numpy(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("banks", [1, 2, 10, 200])
def test_a_cap_that_does_not_bind_gives_flowers_fedavg(banks: int) -> None:
    current, updates, weights = draws(banks)
    arrays, _ = FedAvg().aggregate_train(1, [flower_reply(current + updates[bank], weights[bank]) for bank in updates])
    assert arrays is not None
    share = min(0.999, 1.01 * max(weights.values()) / sum(weights.values()))
    found = step(build_aggregator(StrategyConfig(largest_weight=share)), 1, current, updates, weights)
    np.testing.assert_allclose(found, arrays["w"].numpy(), atol=1e-6, rtol=0)
    plain = step(build_aggregator(StrategyConfig()), 1, current, updates, weights)
    assert found.tobytes() == plain.tobytes()


def test_a_cap_that_binds_gives_flowers_fedavg_of_capped_example_counts() -> None:
    current, updates, weights = draws(9)
    weights["bank-03"] = 10 * sum(weights.values())
    # 0.3 of all is 3/7 of what the others have together.
    lower = weights | {"bank-03": 3 / 7 * (sum(weights.values()) - weights["bank-03"])}
    assert max(lower.values()) == lower["bank-03"]
    arrays, _ = FedAvg().aggregate_train(1, [flower_reply(current + updates[bank], lower[bank]) for bank in updates])
    assert arrays is not None
    found = step(build_aggregator(StrategyConfig(largest_weight=0.3)), 1, current, updates, weights)
    np.testing.assert_allclose(found, arrays["w"].numpy(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES[:4])
def test_with_a_cap_the_order_of_arrival_does_not_change_a_bit(name: str) -> None:
    current, updates, weights = draws(8)
    weights["bank-05"] *= 1000
    config, results = StrategyConfig.model_validate({"name": name, "largest_weight": 0.3}), set()
    for turn in range(8):
        order = [*updates][turn:] + [*updates][:turn]
        aggregator = build_aggregator(config)
        results.add(step(aggregator, 1, current, {bank: updates[bank] for bank in order}, weights).tobytes())
    assert len(results) == 1
    assert results != {step(build_aggregator(StrategyConfig(name=config.name)), 1, current, updates, weights).tobytes()}


def test_an_attempt_that_is_begun_again_forgets_what_was_kept_back() -> None:
    current, updates, weights = draws(6)
    aggregator = build_aggregator(StrategyConfig(largest_weight=0.2))
    aggregator.start(1, current)
    aggregator.add("bank-77", np.ones(SIZE, dtype=np.float32), 1e9)
    again = step(aggregator, 1, current, updates, weights)
    assert (
        again.tobytes()
        == step(build_aggregator(StrategyConfig(largest_weight=0.2)), 1, current, updates, weights).tobytes()
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_arrival_does_not_change_a_bit(name: str) -> None:
    current, updates, weights = draws(5)
    orders = itertools.islice(itertools.permutations(updates), 0, 120, 17)
    results = set()
    for order in orders:
        aggregator = build_aggregator(StrategyConfig(name=name))
        shuffled = {bank: updates[bank] for bank in order}
        results.add(step(aggregator, 1, current, shuffled, weights).tobytes())
    assert len(results) == 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_the_streamed_mean_is_exact_to_float32_whatever_the_order(values: list[float], random) -> None:
    order = list(enumerate(values))
    random.shuffle(order)
    mean = StreamedMean()
    mean.start(1, np.zeros(1, dtype=np.float32))
    for number, value in order:
        mean.add(f"{number}", np.array([value], dtype=np.float32), 1.0)
    assert mean.finish()[0] == pytest.approx(np.mean(np.array(values, dtype=np.float64)), abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_round_without_updates_is_an_error_of_ours(name: str) -> None:
    aggregator = build_aggregator(StrategyConfig(name=name))
    aggregator.start(1, np.zeros(SIZE, dtype=np.float32))
    with pytest.raises(RoundError, match="no update came in"):
        aggregator.finish()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_an_update_that_is_not_a_number_is_refused_and_leaves_the_sum_alone(value: float) -> None:
    current, updates, weights = draws(3)
    mean = StreamedMean()
    mean.start(1, current)
    for bank, update in updates.items():
        mean.add(bank, update, weights[bank])
    with pytest.raises(NonFiniteError, match="bank-99"):
        mean.add("bank-99", np.full(SIZE, value, dtype=np.float32), 1.0)
    assert mean.finish().tobytes() == step(StreamedMean(), 1, current, updates, weights).tobytes()


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_that_is_not_positive_is_refused(weight: float) -> None:
    mean = StreamedMean()
    mean.start(1, np.zeros(SIZE, dtype=np.float32))
    with pytest.raises(NonFiniteError):
        mean.add("bank-01", np.ones(SIZE, dtype=np.float32), weight)


def test_fedadam_moves_by_flowers_published_rule() -> None:
    """Reddi et al. 2021, algorithm 2: m and v of the mean update, no bias correction in Flower's."""
    aggregator = build_aggregator(StrategyConfig(name="fedadam", server_learning_rate=0.05))
    current, updates, weights = draws(4)
    m, v = np.zeros(SIZE), np.zeros(SIZE)
    expected = current.astype(np.float64)
    for number in range(1, 4):
        mean = np.average([updates[bank] for bank in updates], axis=0, weights=list(weights.values()))
        m = 0.9 * m + 0.1 * mean
        v = 0.99 * v + 0.01 * mean**2
        rate = 0.05 * np.sqrt(1 - 0.99 ** (number + 1)) / (1 - 0.9 ** (number + 1))
        expected = expected + rate * m / (np.sqrt(v) + 1e-3)
        current = step(aggregator, number, current, updates, weights)
        np.testing.assert_allclose(current, expected, atol=2e-6)


def test_fedavgm_adds_what_is_left_of_earlier_updates() -> None:
    """Hsu et al. 2019: v = beta v + mean update; the model moves by v."""
    aggregator = build_aggregator(StrategyConfig(name="fedavgm", server_momentum=0.6))
    current, updates, weights = draws(4)
    velocity = np.zeros(SIZE)
    expected = current.astype(np.float64)
    for number in range(1, 4):
        mean = np.average([updates[bank] for bank in updates], axis=0, weights=list(weights.values()))
        velocity = 0.6 * velocity + mean
        expected = expected + velocity
        current = step(aggregator, number, current, updates, weights)
        np.testing.assert_allclose(current, expected, atol=2e-6)


@pytest.mark.parametrize("name", ["fedadam", "fedavgm"])
def test_what_a_server_optimiser_remembers_survives_a_checkpoint(name: str) -> None:
    current, updates, weights = draws(4)
    config = StrategyConfig(name=name)
    whole, first, second = (build_aggregator(config) for _ in range(3))
    for number in (1, 2):
        step(whole, number, current, updates, weights)
        step(first, number, current, updates, weights)
    second.restore({name: np.array(array) for name, array in first.state().items()})
    fresh = build_aggregator(config)
    expected = step(whole, 3, current, updates, weights)
    assert step(second, 3, current, updates, weights).tobytes() == expected.tobytes()
    assert step(fresh, 3, current, updates, weights).tobytes() != expected.tobytes()


def test_trimmed_mean_cuts_the_extremes_of_each_weight() -> None:
    current, updates, weights = draws(10)
    models = np.sort(np.stack([current + update for update in updates.values()]), axis=0)
    ours = step(build_aggregator(StrategyConfig(name="fedtrimmedavg", trim=0.2)), 1, current, updates, weights)
    np.testing.assert_allclose(ours, models[2:-2].mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("banks", [4, 5])
def test_median_is_the_median_of_each_weight(banks: int) -> None:
    current, updates, weights = draws(banks)
    models = np.stack([current + update for update in updates.values()])
    ours = step(build_aggregator(StrategyConfig(name="fedmedian")), 1, current, updates, weights)
    np.testing.assert_allclose(ours, np.median(models, axis=0), atol=1e-6)


def test_krum_chooses_the_model_nearest_to_its_neighbours() -> None:
    current, updates, weights = draws(7)
    updates["bank-03"] = updates["bank-03"] * 100
    models = np.stack([current + update for update in updates.values()]).astype(np.float64)
    distances = ((models[:, None] - models[None]) ** 2).sum(axis=2)
    nearest = np.sort(distances, axis=1)[:, 1 : 7 - 1 - 2 + 1].sum(axis=1)
    ours = step(build_aggregator(StrategyConfig(name="krum", byzantine=1)), 1, current, updates, weights)
    np.testing.assert_allclose(ours, models[np.argmin(nearest)], atol=1e-6)


def test_robust_strategies_are_not_moved_by_one_bank_that_lies() -> None:
    current, updates, weights = draws(9)
    honest = np.mean([current + update for update in updates.values()], axis=0)
    updates["bank-00"] = np.full(SIZE, 1e6, dtype=np.float32)
    for name in ("fedtrimmedavg", "fedmedian", "krum"):
        ours = step(build_aggregator(StrategyConfig(name=name, trim=0.15)), 1, current, updates, weights)
        assert np.abs(ours - honest).max() < 2


def test_a_plan_says_whether_updates_are_combined_or_one_step_follows_each_sum() -> None:
    assert isinstance(aggregator_of(plan_of(**SECURE)), StreamedMean)
    assert isinstance(aggregator_of(plan_of(**DISTRIBUTED)), NoisyStep)


def test_the_mean_of_a_cohort_under_its_own_name_moves_the_model_by_it_whatever_the_cohorts_size() -> None:
    current, updates, _ = draws(5)
    mean = np.mean(list(updates.values()), axis=0).astype(np.float32)
    for banks in (2.0, 5.0):
        whole = step(build_aggregator(StrategyConfig(name="fedavg")), 1, current, {"cohort": mean}, {"cohort": banks})
        np.testing.assert_allclose(whole, current + mean, atol=1e-6)
