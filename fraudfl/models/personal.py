"""A bank's own last layer as a file, and the bundle that it belongs on.

`personal/<first letters of the global weights' digest>.safetensors` holds the layer's weight and bias, and beside them,
in the file's metadata, which global model and encoder it was made on. It is the bank's own: nobody signs it, and
nobody else gets it. It scores only on top of the very bundle that it was made for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fraudfl.config import Frozen
from fraudfl.errors import BundleError
from fraudfl.models.bundle import Bundle
from fraudfl.transfer.model import vector_digest
from fraudfl.trust.keys import write_secret

FOLDER: Final = "personal"
FORMAT: Final = 1
_FACTS = "fraudfl"


class PersonalFacts(Frozen):
    """What a bank's own last layer says of itself.

    Attributes:
        base: Digest (hex) of the global weights that it was made on.
        encoder: Digest (hex) of the encoder that they belong to.
        choice: What was done: see `fraudfl.training.personalise`.
        thresholds: Logit at or above which a transaction is an alert, by what the bank chose it for.
        phase, instance: Where the global model came from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    format: int = FORMAT
    base: str
    encoder: str
    choice: str
    thresholds: dict[str, float]
    phase: str
    instance: str


@dataclass(frozen=True, eq=False)
class PersonalModel:
    """A bank's own last layer.

    Attributes:
        layer: Weights, then the bias; float32, shape (k + 1,).
    """

    facts: PersonalFacts
    layer: npt.NDArray[np.float32]

    def save(self, bank_folder: Path) -> Path:
        """Write it into a bank's folder with mode 0600, in place of an older one for the same global model.

        Raises:
            TrustError: when it cannot be written.
        """
        path = _path(bank_folder, self.facts.base)
        tensors = {"weight": self.layer[None, :-1].copy(), "bias": self.layer[-1:].copy()}
        data = save(tensors, metadata={_FACTS: self.facts.model_dump_json()})
        write_secret(path, data, replace=True)
        return path

    def on(self, bundle: Bundle) -> Bundle:
        """The bundle with this last layer and the bank's own thresholds; for scoring at the bank.

        Raises:
            BundleError: when it was made on another global model.
        """
        self._refuse_other(bundle)
        weights = bundle.weights.copy()
        weights[-len(self.layer) :] = self.layer
        thresholds: Mapping[str, float] = {**bundle.thresholds, **self.facts.thresholds}
        metadata = {**bundle.metadata, "personalised": self.facts.choice}
        return replace(bundle, weights=weights, thresholds=thresholds, metadata=metadata)

    def _refuse_other(self, bundle: Bundle) -> None:
        size = bundle.model.widths(bundle.encoder.width)[-2] + 1
        if (self.facts.base, self.facts.encoder) != (vector_digest(bundle.weights), bundle.encoder.digest):
            raise BundleError(
                f"this bank's own model was made on weights {self.facts.base[:12]}; expected "
                f"{vector_digest(bundle.weights)[:12]}, those of the bundle, and its encoder"
            )
        if len(self.layer) != size:
            raise BundleError(f"this bank's own last layer has {len(self.layer)} entries; expected {size}")


def personal_for(bank_folder: Path, bundle: Bundle) -> PersonalModel:
    """The bank's own model on top of a bundle.

    Raises:
        BundleError: when there is none for these weights, or its file was damaged.
    """
    path = _path(bank_folder, vector_digest(bundle.weights))
    if not path.exists():
        raise BundleError(
            f"{path}: there is no model of the bank's own on top of this bundle; one is made when the phase that "
            "trained it asks for the bank's gain. Score without it, or put that phase's model in use"
        )
    return read_personal(path)


def read_personal(path: Path) -> PersonalModel:
    """Read what `PersonalModel.save` wrote; raises BundleError naming the file when it cannot be that."""
    try:
        with safe_open(path, framework="np") as file:
            stated = json.loads((file.metadata() or {})[_FACTS])
            weight, bias = file.get_tensor("weight"), file.get_tensor("bias")
        if stated.get("format") != FORMAT:
            raise BundleError(f"{path}: format {stated.get('format')!r}; this software reads {FORMAT}. Update it")
        facts = PersonalFacts.model_validate(stated)
    except (OSError, SafetensorError, KeyError, ValueError, AttributeError, ValidationError) as error:
        raise BundleError(
            f"{path}: is not a bank's own last layer ({error}); delete it, and score without it"
        ) from error
    layer = np.concatenate((weight.reshape(-1), bias))
    if layer.dtype != np.float32 or weight.shape != (1, len(layer) - 1) or not np.isfinite(layer).all():
        raise BundleError(
            f"{path}: holds {weight.dtype} of shape {weight.shape}, or numbers that are not finite; expected one row "
            "of finite float32. Delete it, and score without it"
        )
    return PersonalModel(facts, layer)


def _path(bank_folder: Path, base: str) -> Path:
    return bank_folder / FOLDER / f"{base[:16]}.safetensors"
