"""The bundle: everything that scoring needs, as files that are checked by digest when they are read.

bundle.json           format, model, width, thresholds, metadata, digest of each file, digest of all that
encoder.json          the encoder, canonical JSON
weights.safetensors   the network's tensors by name
MODEL_CARD.md         for people
bundle.sig.json       the operator's signature over the digest, once the bundle is registered

torch is imported where a network is made: who only checks a digest does without.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from fraudfl.config import Frozen, ModelConfig
from fraudfl.errors import BundleError, FraudflError
from fraudfl.features.encoder import Encoder
from fraudfl.trust.bundle_signature import SIGNATURE_FILE, check_signature

if TYPE_CHECKING:
    from fraudfl.models.mlp import Classifier

FORMAT: Final = 1

_DESCRIPTION = "bundle.json"
_ENCODER = "encoder.json"
_WEIGHTS = "weights.safetensors"
_CARD = "MODEL_CARD.md"
FILES: Final = (_CARD, _DESCRIPTION, _ENCODER, _WEIGHTS)
"""Names of a bundle's files, without its signature."""


class _Description(Frozen):
    """What `bundle.json` holds, its own digest apart."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    format: int
    model: dict[str, Any]
    width: int
    thresholds: dict[str, float]
    metadata: dict[str, Any]
    files: dict[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the canonical JSON."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """A deployable model.

    Attributes:
        encoder: Turns features into inputs.
        model: The network's shape.
        weights: float32, shape (size,), in `torch` parameter order.
        thresholds: Logit at or above which a transaction is an alert, by what the threshold was chosen for.
        metadata: JSON values: consortium, phase, plan hash, figures, whatever a reader may want.
    """

    encoder: Encoder
    model: ModelConfig
    weights: npt.NDArray[np.float32]
    thresholds: Mapping[str, float] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def score(self, table: pa.Table) -> npt.NDArray[np.float32]:
        """Score transactions.

        Args:
            table: Features as the bank computes them (`fraudfl.features.windows`), n rows.

        Returns:
            Logits, float32, shape (n,); bit for bit the same before `save` and after `load`.
        """
        from fraudfl.models.mlp import score_logits

        return score_logits(self._network, self.encoder.transform(table))

    def save(self, folder: Path, *, card: str = "") -> str:
        """Write the files; `bundle.json` comes last, so a bundle that was cut short is not taken for whole.

        Args:
            folder: Made when absent; files of an older bundle in it are replaced, and its signature is taken away.
            card: The model card, Markdown.

        Returns:
            The digest: SHA-256 (hex) over what `bundle.json` says, with the digest of every other file in it.
        """
        files = {_CARD: card.encode("utf-8"), _ENCODER: self.encoder.to_bytes(), _WEIGHTS: self._tensors()}
        described = self._describe(files)
        folder.mkdir(parents=True, exist_ok=True)
        for stale in (_DESCRIPTION, SIGNATURE_FILE):
            (folder / stale).unlink(missing_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
        text = json.dumps(described.model_dump(mode="json") | {"digest": described.digest}, indent=2, sort_keys=True)
        part = folder / f".{_DESCRIPTION}.part"
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(folder / _DESCRIPTION)
        return described.digest

    @classmethod
    def load(cls, folder: Path, *, signed_by: str | None = None) -> Bundle:
        """Read a bundle and check every digest.

        Args:
            folder: Where its files are.
            signed_by: Public key of the operator who must have signed it; None takes unsigned ones, too.

        Raises:
            BundleError: if a file is missing, changed or does not fit; the text names it.
            TrustError: if the signature that was asked for is missing, altered, or another's.
        """
        described, files = _read_whole(folder)
        if signed_by is not None:
            check_signature(folder, described.digest, signed_by)
        try:
            model = ModelConfig.model_validate_json(json.dumps(described.model))
            encoder = Encoder.from_bytes(files[_ENCODER])
        except ValidationError as error:
            raise BundleError(f"{folder / _DESCRIPTION}: `model` is not a model's configuration: {error}") from error
        except FraudflError as error:
            raise BundleError(f"{folder / _ENCODER}: {error}") from error
        if encoder.width != described.width:
            raise BundleError(f"{folder / _ENCODER}: gives {encoder.width} inputs; expected {described.width}")
        return cls(
            encoder=encoder,
            model=model,
            weights=_read_weights(files[_WEIGHTS], model, encoder.width, folder / _WEIGHTS),
            thresholds=described.thresholds,
            metadata=described.metadata,
        )

    def _describe(self, files: Mapping[str, bytes]) -> _Description:
        return _Description(
            format=FORMAT,
            model=self.model.model_dump(mode="json"),
            width=self.encoder.width,
            thresholds=dict(self.thresholds),
            metadata=json.loads(json.dumps(dict(self.metadata), allow_nan=False)),
            files={name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())},
        )

    def _tensors(self) -> bytes:
        from fraudfl.models.mlp import layout

        start, tensors = 0, {}
        for name, shape in layout(self._network):
            size = int(np.prod(shape))
            tensors[name] = self.weights[start : start + size].reshape(shape)
            start += size
        return safetensors.save(tensors)

    @cached_property
    def _network(self) -> Classifier:
        from fraudfl.models.mlp import build_model, set_vector

        network = build_model(self.model, self.encoder.width)
        set_vector(network, self.weights)
        return network


def checked_digest(folder: Path) -> str:
    """A bundle's digest, after each of its files was checked; raises BundleError naming the file that is wrong."""
    return _read_whole(folder)[0].digest


def _read_whole(folder: Path) -> tuple[_Description, dict[str, bytes]]:
    described = _read_description(folder / _DESCRIPTION)
    return described, {name: _read_file(folder / name, digest) for name, digest in described.files.items()}


def _read_description(path: Path) -> _Description:
    try:
        facts = json.loads(path.read_bytes())
        stated = facts.pop("digest")
        if facts.get("format") != FORMAT:
            raise BundleError(f"{path}: bundle format {facts.get('format')!r}; this software reads {FORMAT}. Update it")
        described = _Description.model_validate(facts)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error}); name a folder that holds a whole bundle") from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise BundleError(f"{path}: is not a bundle's description: {error}") from error
    if described.digest != stated:
        raise BundleError(
            f"{path}: digest is {described.digest}, the file says {stated!r}; it was changed. Fetch it again"
        )
    if set(described.files) != {_ENCODER, _WEIGHTS, _CARD}:
        raise BundleError(f"{path}: names the files {sorted(described.files)}; expected {[_CARD, _ENCODER, _WEIGHTS]}")
    return described


def _read_file(path: Path, digest: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error}); fetch the bundle again") from error
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise BundleError(f"{path}: SHA-256 is {found}; {_DESCRIPTION} says {digest}. Fetch the bundle again")
    return data


def _read_weights(data: bytes, model: ModelConfig, width: int, path: Path) -> npt.NDArray[np.float32]:
    from fraudfl.models.mlp import build_model, layout

    try:
        tensors = safetensors.load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise BundleError(f"{path}: is not a safetensors file: {error}") from error
    expected = layout(build_model(model, width))
    found = {name: (tuple(tensor.shape), tensor.dtype.name) for name, tensor in tensors.items()}
    if found != {name: (shape, "float32") for name, shape in expected}:
        raise BundleError(f"{path}: holds {found}; expected float32 tensors {dict(expected)}")
    vector = np.concatenate([tensors[name].reshape(-1) for name, _ in expected])
    if not np.all(np.isfinite(vector)):
        raise BundleError(f"{path}: holds weights that are not finite")
    return vector.astype(np.float32)
