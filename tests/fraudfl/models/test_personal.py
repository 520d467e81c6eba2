"""A bank's own last layer on disk: it scores on its own bundle, and on nothing else."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save_file

from fraudfl.config import ModelConfig
from fraudfl.errors import BundleError
from fraudfl.features.encoder import Encoder, fit_encoder
from fraudfl.features.sketch import EncoderSpec, sketch_table
from fraudfl.models.bundle import Bundle
from fraudfl.models.mlp import initial_vector
from fraudfl.models.personal import PersonalFacts, PersonalModel, personal_for, read_personal
from fraudfl.transfer.model import vector_digest

TABLE = pa.table({"amount": np.random.default_rng(1).lognormal(3, 1, 60), "count": np.arange(60.0)})


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    spec = EncoderSpec(numeric=("amount", "count"))
    return fit_encoder(spec, sketch_table(TABLE, np.zeros(60, dtype=np.int8), spec))


@pytest.fixture
def bundle(encoder: Encoder) -> Bundle:
    model = ModelConfig(hidden=(6,))
    weights = initial_vector(model, encoder.width, prior=0.1, seed=1)
    return Bundle(encoder=encoder, model=model, weights=weights, thresholds={"budget": 1.0, "f1": 0.5})


def own(bundle: Bundle, layer: np.ndarray | None = None) -> PersonalModel:
    facts = PersonalFacts(
        base=vector_digest(bundle.weights),
        encoder=bundle.encoder.digest,
        choice="fine-tuned",
        thresholds={"budget": -3.25},
        phase="pilot",
        instance="abc",
    )
    return PersonalModel(facts, np.arange(7, dtype=np.float32) if layer is None else layer)


def test_it_comes_back_as_it_was_kept_and_is_for_its_owner_alone(bundle: Bundle, tmp_path: Path) -> None:
    model = own(bundle)
    path = model.save(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.parent == tmp_path / "personal"
    again = personal_for(tmp_path, bundle)
    assert again.facts == model.facts
    assert again.layer.tobytes() == model.layer.tobytes()
    assert (again.layer.dtype, again.layer.shape) == (np.float32, (7,))


def test_it_scores_with_its_own_layer_and_thresholds_and_leaves_the_bundle_as_it_was(bundle: Bundle) -> None:
    before = bundle.weights.copy()
    scoring = own(bundle).on(bundle)
    assert scoring.weights[:-7].tobytes() == before[:-7].tobytes()
    assert scoring.weights[-7:].tolist() == list(range(7))
    assert bundle.weights.tobytes() == before.tobytes()
    assert dict(scoring.thresholds) == {"budget": -3.25, "f1": 0.5}
    hidden = np.maximum(
        bundle.encoder.transform(TABLE) @ before[: 6 * bundle.encoder.width].reshape(6, -1).T + before[-13:-7], 0
    )
    assert scoring.score(TABLE) == pytest.approx(hidden @ np.arange(6) + 6, rel=1e-5)


def test_saved_again_it_takes_the_place_of_the_older_one(bundle: Bundle, tmp_path: Path) -> None:
    own(bundle).save(tmp_path)
    own(bundle, np.ones(7, np.float32)).save(tmp_path)
    assert personal_for(tmp_path, bundle).layer.tolist() == [1.0] * 7
    assert len(list((tmp_path / "personal").iterdir())) == 1


def test_on_another_global_model_it_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    own(bundle).save(tmp_path)
    other = replace(bundle, weights=bundle.weights + np.float32(1e-3))
    with pytest.raises(BundleError, match="no model of the bank's own on top of this bundle"):
        personal_for(tmp_path, other)
    with pytest.raises(BundleError, match="made on weights"):
        own(bundle).on(other)


def test_a_layer_of_another_size_is_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="3 entries; expected 7"):
        own(bundle, np.zeros(3, np.float32)).on(bundle)


@pytest.mark.parametrize("damage", ["cut", "text", "no facts", "another format", "not finite", "two rows"])
def test_a_damaged_file_is_refused_by_name(bundle: Bundle, tmp_path: Path, damage: str) -> None:
    path = own(bundle, np.full(7, np.nan, np.float32) if damage == "not finite" else None).save(tmp_path)
    facts = own(bundle).facts
    tensors = {"weight": np.zeros((1, 6), np.float32), "bias": np.zeros(1, np.float32)}
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-5])
    elif damage == "text":
        path.write_text("weights")
    elif damage == "no facts":
        save_file(tensors, path)
    elif damage == "another format":
        save_file(tensors, path, metadata={"fraudfl": facts.model_copy(update={"format": 9}).model_dump_json()})
    elif damage == "two rows":
        tensors["weight"] = np.zeros((2, 3), np.float32)
        save_file(tensors, path, metadata={"fraudfl": facts.model_dump_json()})
    with pytest.raises(BundleError, match=path.name):
        read_personal(path)
