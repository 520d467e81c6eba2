"""The flat optimisers take the very steps that torch's own take."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from fraudfl.config import TrainingConfig
from fraudfl.training.optimisers import build_optimiser


@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_every_step_is_torchs_step_to_the_last_bit(name, decay):
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(5000, generator=generator)
    ours, theirs = start.clone(), start.clone()
    ours.grad, theirs.grad = torch.zeros_like(ours), torch.zeros_like(theirs)
    kind = torch.optim.AdamW if name == "adam" else torch.optim.SGD
    reference = kind([theirs], lr=0.01, weight_decay=decay)
    optimiser = build_optimiser(TrainingConfig(optimizer=name, weight_decay=decay), ours, 0.01)
    for _ in range(50):
        gradient = torch.randn(5000, generator=generator) * torch.rand(1, generator=generator) ** 4
        ours.grad.copy_(gradient)
        theirs.grad.copy_(gradient)
        optimiser.step()
        reference.step()
        assert torch.equal(ours, theirs)


def test_training_loads_no_compiler():
    code = (
        "import sys, numpy as np\n"
        "from fraudfl.config import ModelConfig, TrainingConfig\n"
        "from fraudfl.training.plain import LocalData, train_plain\n"
        "from fraudfl.models.mlp import initial_vector\n"
        "model = ModelConfig(hidden=(4,))\n"
        "data = LocalData(np.ones((8, 3), np.float32), np.zeros(8, np.float32))\n"
        "train_plain(model, initial_vector(model, 3, prior=0.1, seed=1), data, TrainingConfig(), learning_rate=0.1,"
        " seed=1)\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
