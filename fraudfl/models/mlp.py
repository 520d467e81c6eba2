"""The classifier: an MLP, with logistic regression as its smallest case, and its weights as one flat vector."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fraudfl.config import ModelConfig
from fraudfl.errors import TrainingError

Layout = tuple[tuple[str, tuple[int, ...]], ...]
FloatVector = npt.NDArray[np.float32]

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}
# A fixed number of rows at a time, so that scores do not depend on how much memory there is.
_SCORE_ROWS = 65_536
BLOCK_ROWS = 16
"""Matrix products of a multiple of so many rows give each row the same bits, wherever it stands and whatever the
others are. With other numbers the rows at the end are rounded in another order, and one row more or less would move
the figures of others. Gradients need hidden widths that are multiples of 8 as well: with others they move by an ulp."""


class Classifier(nn.Module):
    """Linear layers with an activation between them; one logit per row."""

    def __init__(self, widths: tuple[int, ...], activation: type[nn.Module]) -> None:
        """Stack layers of the given widths, inputs first; the last width is 1."""
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [_linear(inputs, outputs), activation()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map float32 features, shape (n, width), to logits, shape (n,)."""
        logits: torch.Tensor = self.layers(features)
        return logits.squeeze(-1)


def build_model(config: ModelConfig, width: int) -> Classifier:
    """Make the network with all weights zero; no random number generator is touched.

    Args:
        width: Number of encoded inputs, at least 1.
    """
    model = Classifier(config.widths(width), _ACTIVATIONS[config.activation])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model


def layout(model: nn.Module) -> Layout:
    """Return name and shape of each parameter, in the order of the flat vector."""
    return tuple((name, tuple(parameter.shape)) for name, parameter in model.named_parameters())


def get_vector(model: nn.Module) -> FloatVector:
    """Copy all parameters into one float32 vector, shape (size,), in `torch` parameter order."""
    with torch.no_grad():
        vector = torch.cat([parameter.reshape(-1) for parameter in model.parameters()])
    return vector.numpy().astype(np.float32, copy=True)


def set_vector(model: nn.Module, vector: FloatVector) -> None:
    """Copy a flat vector, shape (size,), into the model's parameters.

    Raises:
        TrainingError: if the vector does not fit the model.
    """
    size = sum(parameter.numel() for parameter in model.parameters())
    if vector.shape != (size,):
        raise TrainingError(
            f"weights have shape {vector.shape}; this model expects ({size},). "
            "Use weights that were made for the same `model:` section and the same encoder"
        )
    values = torch.from_numpy(np.array(vector, dtype=np.float32))
    with torch.no_grad():
        start = 0
        for parameter in model.parameters():
            parameter.copy_(values[start : start + parameter.numel()].view_as(parameter))
            start += parameter.numel()


def initial_vector(config: ModelConfig, width: int, *, prior: float, seed: int) -> FloatVector:
    """Draw the first weights: the same bytes for the same arguments, whatever else has drawn random numbers.

    Hidden layers follow He et al. 2015 (Glorot and Bengio 2010 for tanh); the output layer starts at a tenth of
    Glorot's scale, so that the first scores stay near the prior; logistic regression starts at zero.

    Args:
        prior: Expected fraud rate in (0, 1); the output bias is its log-odds.
        seed: Seed of the draw.

    Returns:
        float32, shape (size,).
    """
    if not 0 < prior < 1:
        raise TrainingError(f"prior is {prior}; expected a fraud rate between 0 and 1. Set `training.prior`")
    generator = np.random.default_rng(seed)
    shapes = list(pairwise(config.widths(width)))
    parts: list[npt.NDArray[np.float64]] = []
    for index, (inputs, outputs) in enumerate(shapes):
        if index < len(shapes) - 1:
            scale = math.sqrt(1 / inputs) if config.activation == "tanh" else math.sqrt(2 / inputs)
        else:
            scale = 0.1 / math.sqrt(inputs) if len(shapes) > 1 else 0.0
        parts += [scale * generator.standard_normal(outputs * inputs), np.zeros(outputs)]
    parts[-1][:] = math.log(prior) - math.log1p(-prior)
    return np.concatenate(parts).astype(np.float32)


def score_logits(model: nn.Module, features: npt.NDArray[np.float32]) -> FloatVector:
    """Score rows; a row gets the same bits whatever other rows stand in the table.

    Args:
        features: float32, shape (n, width); n may be zero.

    Returns:
        Logits, float32, shape (n,); not finite where the features or the weights make them so.
    """
    out = np.empty(len(features), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(features), _SCORE_ROWS):
            part = features[start : start + _SCORE_ROWS]
            rows = np.zeros((len(part) + -len(part) % BLOCK_ROWS, features.shape[1]), dtype=np.float32)
            rows[: len(part)] = part
            out[start : start + len(part)] = model(torch.from_numpy(rows))[: len(part)].numpy()
    return out


def _linear(inputs: int, outputs: int) -> nn.Module:
    # So that torch's global generator is not advanced; `skip_init` would load 30 MB of its compiler.
    with torch.random.fork_rng(devices=[]):
        return nn.Linear(inputs, outputs)
