"""Server steps against torch's optimisers and the papers' formulas, and going on where a checkpoint was taken."""

import io
import math

import numpy as np
import pytest
import torch

from fraudfl.errors import CheckpointError, NonFiniteError, TrainingError
from fraudfl.privacy.mechanisms import DpSgd
from fraudfl.training.server_step import DpAdam, MomentumSgd, noise_of_mean

SIZE = 40
STEPS = {
    "sgd": lambda: MomentumSgd(SIZE, averaging=0.9),
    "momentum": lambda: MomentumSgd(SIZE, momentum=0.8, averaging=0.97, weight_decay=0.01),
    "adam": lambda: DpAdam(SIZE, noise_deviation=0.3, averaging=0.9, weight_decay=0.01),
}


def gradients(count, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.standard_normal(SIZE) * generator.random() ** 4 for _ in range(count)]


def run(step, weights, many, first=0):
    """Take one step per gradient, at a falling rate, and list the iterates."""
    iterates = []
    for index, gradient in enumerate(many, first):
        weights = step.step(weights, gradient, 0.1 / (1 + index))
        iterates.append(weights)
    return iterates


def run_torch(kind, many, **options):
    weights = torch.ones(SIZE, dtype=torch.float64)
    optimiser = kind([weights], lr=1.0, **options)
    iterates = []
    for index, gradient in enumerate(many):
        optimiser.param_groups[0]["lr"] = 0.1 / (1 + index)
        weights.grad = torch.from_numpy(gradient)
        optimiser.step()
        iterates.append(weights.numpy().copy())
    return iterates


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_momentum_takes_the_steps_of_torchs_sgd(momentum):
    many = gradients(60)
    got = run(MomentumSgd(SIZE, momentum=momentum), np.ones(SIZE), many)
    np.testing.assert_allclose(got, run_torch(torch.optim.SGD, many, momentum=momentum), rtol=1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_without_noise_dp_adam_takes_the_steps_of_torchs_adamw(decay):
    many = gradients(60)
    got = run(DpAdam(SIZE, noise_deviation=0.0, weight_decay=decay), np.ones(SIZE), many)
    np.testing.assert_allclose(got, run_torch(torch.optim.AdamW, many, weight_decay=decay), rtol=1e-10, atol=1e-13)


def test_decay_is_decoupled_from_gradient_and_velocity():
    step = MomentumSgd(SIZE, momentum=0.8, weight_decay=0.1)
    weights = step.step(np.full(SIZE, 2.0), np.zeros(SIZE), 0.5)
    np.testing.assert_allclose(step.step(weights, np.zeros(SIZE), 0.5), 2.0 * 0.95**2)


def test_dp_adam_subtracts_the_noises_variance_as_the_paper_says():
    """Algorithm 1 of Tang et al. 2024, for one weight at a time."""
    deviation, floor, many = 0.3, 0.2, gradients(50)
    got = run(DpAdam(SIZE, noise_deviation=deviation, floor=floor), np.zeros(SIZE), many)
    floored = 0
    for entry in range(SIZE):
        m = v = theta = 0.0
        for t, gradient in enumerate(many, 1):
            m = 0.9 * m + 0.1 * gradient[entry]
            v = 0.999 * v + 0.001 * gradient[entry] ** 2
            corrected = v / (1 - 0.999**t) - deviation**2
            floored += corrected < floor * deviation**2
            root = math.sqrt(max(corrected, floor * deviation**2))
            theta -= 0.1 / t * (m / (1 - 0.9**t)) / (root + 1e-8)
            assert got[t - 1][entry] == pytest.approx(theta, rel=1e-10, abs=1e-12)
    assert 0 < floored < SIZE * 50


def test_noise_that_changes_from_step_to_step_is_averaged_like_the_squared_gradients():
    step = DpAdam(SIZE, noise_deviation=9.0, floor=1e-9)
    many, deviations = gradients(20), np.linspace(0.01, 0.1, 20)
    weights, m, v, phi = np.zeros(SIZE), 0.0, 0.0, 0.0
    for t, (gradient, deviation) in enumerate(zip(many, deviations, strict=True), 1):
        new = step.step(weights, gradient, 1.0, noise_deviation=deviation)
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        phi = 0.999 * phi + 0.001 * deviation**2
        left = np.maximum(v - phi, 1e-9 * phi) / (1 - 0.999**t)
        np.testing.assert_allclose(new, weights - m / (1 - 0.9**t) / (np.sqrt(left) + 1e-8), rtol=1e-9)
        weights = new


@pytest.mark.parametrize(("known", "expected"), [(0.5, 1.0), (0.0, 2 / math.sqrt(5))])
def test_the_correction_gives_weak_signals_the_unit_steps_of_adam(known, expected):
    """A signal of twice the noise: steps are of the learning rate's size only where the noise is known."""
    generator = np.random.default_rng(1)
    step, weights, path = DpAdam(SIZE, noise_deviation=known), np.zeros(SIZE), []
    for _ in range(4000):
        weights = step.step(weights, 1.0 + 0.5 * generator.standard_normal(SIZE), 1.0)
        path.append(weights.mean())
    assert (path[1000] - path[-1]) / 2999 == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("averaging", [0.0, 0.5, 0.95])
def test_the_average_weighs_iterates_by_decay_and_forgets_the_beginning(averaging):
    step = MomentumSgd(SIZE, averaging=averaging)
    iterates = run(step, np.ones(SIZE), gradients(300))
    average = 0.0
    for index, iterate in enumerate(iterates):
        kept = min(averaging, index / (9 + index))
        average = kept * average + (1 - kept) * iterate
    np.testing.assert_allclose(step.average, average, rtol=1e-12)
    if averaging == 0:
        np.testing.assert_array_equal(step.average, iterates[-1])


def test_an_average_over_noise_is_nearer_to_the_truth_than_the_last_iterate():
    generator = np.random.default_rng(2)
    step, weights = MomentumSgd(SIZE, averaging=0.99), np.ones(SIZE)
    for _ in range(1000):
        weights = step.step(weights, weights - 3.0 + generator.standard_normal(SIZE), 0.3)
    assert np.abs(step.average - 3).mean() < 0.5 * np.abs(weights - 3).mean()


@pytest.mark.parametrize("make", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("stop", [0, 1, 17])
def test_a_restored_step_goes_on_to_the_last_bit(make, stop):
    many = gradients(30)
    whole = make()
    expected = run(whole, np.ones(SIZE), many)
    first = make()
    before = run(first, np.ones(SIZE), many[:stop])
    file = io.BytesIO()
    np.savez(file, **first.state())
    file.seek(0)
    second = make()
    run(second, np.ones(SIZE), gradients(3, seed=9))  # what it did before is forgotten
    second.restore(np.load(file))
    after = run(second, before[-1] if stop else np.ones(SIZE), many[stop:], first=stop)
    np.testing.assert_array_equal(before + after, expected)
    np.testing.assert_array_equal(second.average, whole.average)


def test_a_state_that_was_copied_out_does_not_change_with_later_steps():
    step = STEPS["adam"]()
    run(step, np.ones(SIZE), gradients(3))
    state = step.state()
    copies = {name: array.copy() for name, array in state.items()}
    run(step, np.ones(SIZE), gradients(3))
    assert all(np.array_equal(state[name], copies[name]) for name in state)


@pytest.mark.parametrize(
    "change",
    [lambda s: s.pop("average"), lambda s: s.update(more=np.zeros(1)), lambda s: s.update(velocity=np.ones(3))],
)
def test_a_state_of_another_optimiser_is_refused(change):
    state = MomentumSgd(SIZE).state()
    change(state)
    with pytest.raises(CheckpointError, match="server optimiser"):
        MomentumSgd(SIZE).restore(state)
    with pytest.raises(CheckpointError, match="server optimiser"):
        DpAdam(SIZE, noise_deviation=1.0).restore(MomentumSgd(SIZE).state())


def test_weights_and_gradient_stay_as_they_were():
    weights, gradient = np.ones(SIZE), np.ones(SIZE)
    STEPS["adam"]().step(weights, gradient, 0.1)
    assert (weights == 1).all()
    assert (gradient == 1).all()


def test_float32_weights_and_gradients_are_continued_in_float64():
    step = DpAdam(SIZE, noise_deviation=0.1)
    new = step.step(np.ones(SIZE, np.float32), np.full(SIZE, 1e-30, np.float32), 0.1)
    assert new.dtype == np.float64
    assert step.state()["second"].max() > 0  # 1e-60 would be zero in float32


def test_there_is_no_average_before_the_first_step():
    with pytest.raises(TrainingError, match="before the first"):
        _ = MomentumSgd(SIZE, averaging=0.9).average


def test_a_gradient_of_another_size_is_refused():
    with pytest.raises(TrainingError, match=r"expected both \(40,\)"):
        MomentumSgd(SIZE).step(np.ones(SIZE), np.ones(1), 0.1)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_step_to_weights_that_are_not_finite_is_an_error(value):
    with pytest.raises(NonFiniteError, match="not finite"):
        MomentumSgd(SIZE).step(np.ones(SIZE), np.full(SIZE, value), 0.1)


@pytest.mark.parametrize("averaging", [-0.1, 1.0])
def test_a_decay_outside_zero_to_one_is_refused(averaging):
    with pytest.raises(TrainingError, match="average of iterates"):
        MomentumSgd(SIZE, averaging=averaging)


@pytest.mark.parametrize("options", [{"noise_deviation": -1.0}, {"noise_deviation": 1.0, "floor": 0.0}])
def test_noise_or_a_floor_out_of_range_is_refused(options):
    with pytest.raises(TrainingError, match="DP-Adam"):
        DpAdam(SIZE, **options)


@pytest.mark.parametrize("banks", [4, 9])
def test_the_noise_of_a_mean_is_that_of_all_shares_in_it(banks):
    mechanism = DpSgd(sampling_rate=0.1, noise_multiplier=2.0, clip_norm=0.5, steps=1, expected_batch=50.0, parties=4)
    generator = np.random.default_rng(0)
    shares = generator.normal(0, mechanism.share_deviation, (banks, 200_000))
    assert noise_of_mean(mechanism, banks) == pytest.approx(shares.sum(0).std() / 50, rel=0.01)
