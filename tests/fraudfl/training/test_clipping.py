"""Clipped sums against stock Opacus, plain autograd and vmap, for rows and accounts; and their sensitivity."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import nn
from torch.nn import functional

from fraudfl.config import ModelConfig
from fraudfl.errors import TrainingError
from fraudfl.models.mlp import build_model, initial_vector, set_vector
from fraudfl.privacy.noise import NoiseSource
from fraudfl.training import clipping
from fraudfl.training.clipping import GhostClipper, clipped_gradient_sum
from fraudfl.training.units import Accounts

MODEL = ModelConfig(hidden=(16, 8))
LOGISTIC = ModelConfig(kind="logistic")


def make_model(config=MODEL, dtype=torch.float32):
    model = build_model(config, 5)
    vector = initial_vector(config, 5, prior=0.2, seed=1)
    set_vector(model, vector + np.random.default_rng(4).normal(0, 0.3, vector.shape).astype(np.float32))
    return model.to(dtype)


def make_batch(rows=64, dtype=torch.float32, seed=0):
    generator = np.random.default_rng(seed)
    features = torch.tensor(generator.standard_normal((rows, 5)) * 3, dtype=dtype)
    return features, torch.tensor(generator.random(rows) < 0.3, dtype=dtype)


def make_picks(rows=64, accounts=17, most=4, seed=0):
    numbers = np.random.default_rng(seed).integers(0, accounts, rows)
    return Accounts(numbers, most).draw(NoiseSource.for_tests(seed), 1.0)


def lines(picks):
    """Each unit's row numbers."""
    return [line[line >= 0] for line in picks.reshape(len(picks), -1)]


def autograd_clipped_sum(model, features, labels, clip_norm, units, positive_weight=1.0):
    """One backward pass per unit: the definition."""
    total = 0
    for rows in units:
        loss = functional.binary_cross_entropy_with_logits(
            model(features[rows]),
            labels[rows],
            pos_weight=torch.tensor(positive_weight, dtype=labels.dtype),
            reduction="sum",
        )
        gradient = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(model.parameters()))])
        total = total + gradient * min(1.0, clip_norm / float(gradient.norm()))
    return total


def stock_clipped_sum(model, features, labels, clip_norm, mask=None):
    """Opacus' documented way: per-sample gradients by hooks, over a sequence axis if any, clipped by its optimiser."""
    wrapped = GradSampleModule(model, loss_reduction="sum")
    optimizer = DPOptimizer(
        torch.optim.SGD(wrapped.parameters(), lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=clip_norm,
        expected_batch_size=None,
        loss_reduction="sum",
    )
    features = features.clone().requires_grad_()  # torch warns about hooks where no input needs a gradient
    losses = functional.binary_cross_entropy_with_logits(wrapped(features), labels, reduction="none")
    (losses if mask is None else losses * mask).sum().backward()
    optimizer.clip_and_accumulate()
    return torch.cat([p.summed_grad.reshape(-1) for p in wrapped.parameters()])


def vmap_clipped_sum(model, features, labels, clip_norm, mask):
    """Per-account gradients by torch's function transforms, clipped by hand."""
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def loss(weights, rows, answers, there):
        logits = torch.func.functional_call(model, weights, (rows,))
        return (functional.binary_cross_entropy_with_logits(logits, answers, reduction="none") * there).sum()

    gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0, 0))(weights, features, labels, mask)
    flat = torch.cat([gradient.flatten(1) for gradient in gradients.values()], dim=1)
    return (flat * (clip_norm / flat.norm(dim=1)).clamp(max=1)[:, None]).sum(0)


@pytest.mark.parametrize("config", [MODEL, LOGISTIC, ModelConfig(hidden=(8,), activation="gelu")])
@pytest.mark.parametrize("clip_norm", [0.01, 1.0, 1e4])
def test_the_clipped_sum_equals_stock_opacus_on_the_same_batch(config, clip_norm):
    features, labels = make_batch()
    got = clipped_gradient_sum(make_model(config), features, labels, clip_norm)
    expected = stock_clipped_sum(make_model(config), features, labels, clip_norm)
    assert float((got - expected).norm()) <= 1e-5 * max(1.0, float(expected.norm()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("config", [MODEL, LOGISTIC, ModelConfig(hidden=(8,), activation="gelu")])
@pytest.mark.parametrize("clip_norm", [0.01, 1.0, 1e4])
def test_a_sum_over_accounts_equals_stock_opacus_over_sequences_and_vmap(config, clip_norm, dtype):
    features, labels = make_batch(dtype=dtype)
    picks = make_picks()
    mask = torch.from_numpy(picks >= 0).to(dtype)
    padded = features[picks.clip(0)], labels[picks.clip(0)]
    assert 0 < mask.mean() < 1
    got = clipped_gradient_sum(make_model(config, dtype), features, labels, clip_norm, picks=picks)
    for expected in (
        stock_clipped_sum(make_model(config, dtype), *padded, clip_norm, mask),
        vmap_clipped_sum(make_model(config, dtype), *padded, clip_norm, mask),
    ):
        assert float((got - expected).norm()) <= 1e-5 * max(1.0, float(expected.norm()))


@pytest.mark.parametrize("positive_weight", [1.0, 4.0])
@pytest.mark.parametrize("picks", [np.arange(64), make_picks(), make_picks(most=1), make_picks(most=50)])
def test_the_clipped_sum_equals_one_backward_pass_per_unit(positive_weight, picks):
    features, labels = make_batch(dtype=torch.float64)
    model = make_model(dtype=torch.float64)
    got = clipped_gradient_sum(model, features, labels, 0.7, positive_weight, picks)
    expected = autograd_clipped_sum(model, features, labels, 0.7, lines(picks), positive_weight)
    assert float((got - expected).norm()) <= 1e-7 * float(expected.norm())


@st.composite
def batches(draw, most_rows=12):
    """Units of any number of rows, each row at a scale of its own, some rows at odds with others of their unit."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    sizes = draw(st.lists(st.integers(1, most_rows), min_size=2, max_size=12))
    exponents = draw(st.lists(st.integers(-8, 12), min_size=sum(sizes), max_size=sum(sizes)))
    features = generator.standard_normal((sum(sizes), 5)) * 10.0 ** np.array(exponents)[:, None]
    twins = draw(st.lists(st.integers(1, sum(sizes) - 1), max_size=4))
    labels = generator.random(len(features)) < 0.5
    for row in twins:
        features[row], labels[row] = features[row - 1], not labels[row - 1]
    return torch.tensor(features), torch.tensor(labels, dtype=torch.float64), np.repeat(np.arange(len(sizes)), sizes)


def largest_move(features, labels, picks, clip_norm, model):
    """The largest distance that the sum moves when one unit is left out."""
    whole = clipped_gradient_sum(model, features, labels, clip_norm, picks=picks)
    without = [
        clipped_gradient_sum(model, features, labels, clip_norm, picks=np.delete(picks, unit, axis=0))
        for unit in range(len(picks))
    ]
    return max(float((whole - rest).norm()) for rest in without)


@settings(max_examples=25, deadline=None)
@given(batches(most_rows=3))
def test_adding_or_removing_one_transaction_moves_the_sum_by_no_more_than_the_clip_norm(batch):
    features, labels, _ = batch
    picks = np.arange(len(labels))
    assert largest_move(features, labels, picks, 0.5, make_model(dtype=torch.float64)) <= 0.5 * (1 + 1e-6)


@settings(max_examples=40, deadline=None)
@given(batches(), st.integers(1, 8), st.sampled_from([MODEL, LOGISTIC]))
def test_adding_or_removing_one_account_with_any_number_of_rows_moves_the_sum_by_no_more(batch, most, config):
    features, labels, accounts = batch
    picks = Accounts(accounts, most).draw(NoiseSource.for_tests(0), 1.0)
    assert len(picks) == accounts[-1] + 1
    assert largest_move(features, labels, picks, 0.5, make_model(config, torch.float64)) <= 0.5 * (1 + 1e-6)


@pytest.mark.parametrize("picks", [np.arange(64), make_picks()])
def test_without_its_clipping_factors_the_sum_moves_further(monkeypatch, picks):
    features, labels = make_batch(dtype=torch.float64)
    model = make_model(dtype=torch.float64)
    assert largest_move(features, labels, picks, 0.5, model) <= 0.5 * (1 + 1e-6)
    factors = GhostClipper.get_clipping_coef
    monkeypatch.setattr(GhostClipper, "get_clipping_coef", lambda self: torch.ones_like(factors(self)))
    assert largest_move(features, labels, picks, 0.5, model) > 1.0


@pytest.mark.parametrize("scale", [1e3, 1e6, 1e8, 1e12])
def test_rows_whose_gradients_cancel_cannot_hide_an_account_from_the_clipper(scale):
    """Two rows a few ulp apart with opposite labels: in float32 their norm is what rounding leaves of them."""
    features, labels = make_batch(40)
    model = build_model(LOGISTIC, 5)  # weights of zero: every output gradient is ±1/2
    features[1::2] = features[::2]
    features[:2] *= scale
    labels[::2], labels[1::2] = 0, 1
    near = features[0].numpy()
    features[1] = torch.from_numpy(np.nextafter(np.nextafter(near, np.float32(np.inf)), np.float32(np.inf)))
    picks = np.arange(40).reshape(20, 2)
    assert largest_move(features, labels, picks, 0.5, model) <= 0.5 * (1 + 2**-10)


def test_in_float32_rounding_over_thousands_of_rows_stays_within_the_noise_margin():
    features, labels = make_batch(12_000)
    features[3] *= 1000
    whole = clipped_gradient_sum(make_model(), features, labels, 0.5)
    without = clipped_gradient_sum(make_model(), features[4:], labels[4:], 0.5)
    first = clipped_gradient_sum(make_model(), features[:3], labels[:3], 0.5)
    assert float((whole - without - first).norm()) <= 0.5 * (1 + 2**-10)


@pytest.mark.parametrize("picks", [np.arange(100), make_picks(100)])
def test_batches_larger_than_a_chunk_give_the_same_sum(monkeypatch, picks):
    features, labels = make_batch(100)
    whole = clipped_gradient_sum(make_model(), features, labels, 0.5, picks=picks)
    monkeypatch.setattr(clipping, "_CHUNK_ROWS", 7)
    got = clipped_gradient_sum(make_model(), features, labels, 0.5, picks=picks)
    torch.testing.assert_close(got, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("picks", [np.zeros(0, dtype=np.int64), np.zeros((0, 3), dtype=np.int64)])
def test_an_empty_draw_sums_to_zero_and_leaves_the_model_usable(picks):
    model = make_model()
    features, labels = make_batch(4)
    nothing = clipped_gradient_sum(model, features, labels, 1.0, picks=picks)
    assert torch.equal(nothing, torch.zeros(5 * 16 + 16 + 128 + 8 + 9))
    assert torch.equal(clipped_gradient_sum(model, *make_batch(0), 1.0), nothing)
    first = clipped_gradient_sum(model, features, labels, 1.0)
    assert torch.equal(clipped_gradient_sum(model, features, labels, 1.0), first)


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan, 3e38])
def test_a_unit_whose_gradient_is_not_finite_contributes_nothing(value):
    features, labels = make_batch()
    features[2] = value
    model = make_model()
    with torch.no_grad():
        model.layers[0].weight *= 10
    rows = np.arange(64)
    got = clipped_gradient_sum(model, features, labels, 1.0, picks=rows)
    assert torch.equal(got, clipped_gradient_sum(model, features, labels, 1.0, picks=np.delete(rows, 2)))
    accounts = rows.reshape(16, 4)
    got = clipped_gradient_sum(model, features, labels, 1.0, picks=accounts)
    assert torch.equal(got, clipped_gradient_sum(model, features, labels, 1.0, picks=accounts[1:]))
    assert got.norm() > 0


def test_weights_that_overflow_even_in_empty_places_take_nothing_from_an_accounts_rows():
    """An account's contribution must not depend on whether a longer one stands beside it."""
    features, labels = make_batch(5)
    model = build_model(ModelConfig(hidden=(2, 1)), 5)
    first, second, last = (model.layers[place] for place in (0, 2, 4))
    with torch.no_grad():
        first.weight[0, 0], first.bias[0] = -1.0, 3e38
        second.weight[0, 0], last.weight[0, 0] = 10.0, 1.0
        features[:, 0] = 3e38
    alone = clipped_gradient_sum(model, features, labels, 1.0, picks=np.array([[0], [1]]))
    beside = clipped_gradient_sum(model, features, labels, 1.0, picks=np.array([[0, -1], [1, -1]]))
    assert alone.norm() > 0
    assert torch.equal(alone, beside)


HOSTILE = [
    *[("bias", wo, w1) for wo in (0.03, 0.06, 0.1, 0.12) for w1 in (3e17, 1e18, 1.5e18)],
    *[("plain", wo, w1) for wo in (1e-30, 1e-20, 1.0, 1e10) for w1 in (1e-30, 1e-20, 1.0, 1e20)],
]


@pytest.mark.parametrize("clip_norm", [1.0, 1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("picks", [np.arange(1), np.arange(3).reshape(1, 3)])
def test_no_weights_let_one_unit_contribute_more_than_the_clip_norm(clip_norm, picks):
    """Weights whose gradients are of sizes that float32 cannot square, and yet not too small to count."""
    model = build_model(ModelConfig(hidden=(8, 64)), 4)
    clipper = GhostClipper(model.train(), clip_norm)
    largest = 0.0
    for kind, outer, inner in HOSTILE:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
            model.layers[0].weight[:], model.layers[4].weight[:] = inner, outer
            model.layers[2].bias[:] = 1e-6
            model.layers[4].bias[:] = -50.0 if kind == "bias" else 0.0
            if kind == "plain":
                model.layers[2].weight[:] = 1.0
        got = clipper.gradient_sum(torch.ones(3, 4), torch.zeros(3), 1.0, picks)
        largest = max(largest, float(got.norm()))
    assert 0.99 * clip_norm <= largest <= clip_norm * (1 + 1e-6)


def test_a_gradient_shorter_than_the_clip_norm_is_left_as_it_is_and_a_longer_one_gets_that_length():
    features, labels = torch.full((1, 5), 1e-9), torch.zeros(1)
    gradient = np.sqrt(5 * 1e-18 + 1) / 2
    for clip_norm, expected in ((1e-6, 1e-6), (0.1, 0.1), (gradient * 1.0001, gradient)):
        got = GhostClipper(build_model(LOGISTIC, 5).train(), clip_norm).gradient_sum(features, labels, 1.0)
        assert float(got.norm()) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("hidden", [(32, 16), (64, 32), (16, 8), (24, 8)])
@pytest.mark.parametrize("rows", [16, 17, 1000])
def test_a_rows_gradient_has_the_same_bits_whatever_other_rows_are_there(hidden, rows):
    """Rows that each add the same bits: the sum of n of them is n times one's, but for float64's rounding."""
    model = build_model(ModelConfig(hidden=hidden), 9)
    vector = initial_vector(ModelConfig(hidden=hidden), 9, prior=0.2, seed=1)
    set_vector(model, vector)
    clipper = GhostClipper(model.train(), 0.3)
    features = torch.from_numpy(np.random.default_rng(5).standard_normal((1, 9)).astype(np.float32))
    one = clipper.gradient_sum(features, torch.zeros(1), 1.0)
    many = clipper.gradient_sum(features.repeat(rows, 1), torch.zeros(rows), 1.0)
    torch.testing.assert_close(many / rows, one, rtol=1e-12, atol=1e-15)


def test_rows_that_were_not_picked_do_not_count_even_where_they_are_not_finite():
    features, labels = make_batch(5)
    features[0], features[4] = torch.inf, torch.nan
    picks = np.array([[1, 2], [3, -1]])
    expected = clipped_gradient_sum(make_model(), features[1:4], labels[1:4], 1.0, picks=np.array([[0, 1], [2, -1]]))
    assert torch.equal(clipped_gradient_sum(make_model(), features, labels, 1.0, picks=picks), expected)


def test_a_layer_that_mixes_rows_or_has_other_parameters_is_refused():
    with pytest.raises(TrainingError, match="LayerNorm"):
        clipped_gradient_sum(nn.Sequential(nn.Linear(5, 1), nn.LayerNorm(1), nn.Flatten(0)), *make_batch(), 1.0)
