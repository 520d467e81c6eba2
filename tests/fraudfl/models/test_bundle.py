"""A bundle scores the same after it was stored, and says which file was changed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load_file, save_file

from fraudfl.config import ModelConfig
from fraudfl.errors import BundleError, TrustError
from fraudfl.features.encoder import fit_encoder
from fraudfl.features.sketch import EncoderSpec, sketch_table
from fraudfl.models.bundle import Bundle, checked_digest
from fraudfl.trust.bundle_signature import find_signature, sign_bundle
from fraudfl.trust.keys import new_key, public_text

CARD = "# Demo\n\nGrüezi.\n"
FILES = ("bundle.json", "encoder.json", "weights.safetensors", "MODEL_CARD.md")


def transactions(rows=500, seed=0):
    rng = np.random.default_rng(seed)
    amount = rng.lognormal(3, 1, rows).astype(np.float32)
    amount[::17] = np.nan
    return pa.table({"amount": amount, "channel": rng.choice(["web", "shop", "post"], rows)})


@pytest.fixture
def bundle():
    spec = EncoderSpec(
        numeric=("amount",),
        categorical={"channel": ("shop", "web")},
        bins_per_decade=12,
        smallest=1e-3,
        largest=1e9,
        scaling="quantile",
        min_category_count=5,
    )
    table = transactions()
    encoder = fit_encoder(spec, sketch_table(table, np.arange(500) % 50 == 0, spec))
    model = ModelConfig(hidden=(8, 4), activation="tanh")
    weights = (encoder.width + 1) * 8 + 9 * 4 + 5
    return Bundle(
        encoder=encoder,
        model=model,
        weights=np.random.default_rng(1).normal(0, 1, weights).astype(np.float32),
        thresholds={"balanced_accuracy": -1.25, "budget": 0.1 + 0.2},
        metadata={"consortium": "demo", "rounds": 3, "figures": {"auprc": 0.5}, "notes": ["Zürich", None]},
    )


def test_a_loaded_bundle_scores_bit_for_bit_as_the_saved_one(bundle, tmp_path):
    digest = bundle.save(tmp_path / "model", card=CARD)
    loaded = Bundle.load(tmp_path / "model")
    rows = transactions(1000, seed=9)
    assert loaded.score(rows).tobytes() == bundle.score(rows).tobytes()
    assert np.unique(bundle.score(rows)).size > 100
    assert (loaded.thresholds, loaded.metadata) == (bundle.thresholds, bundle.metadata)
    assert loaded.save(tmp_path / "again", card=CARD) == digest
    assert (tmp_path / "model" / "MODEL_CARD.md").read_text(encoding="utf-8") == CARD


def test_saving_twice_gives_the_same_bytes_and_replaces_what_was_there(bundle, tmp_path):
    first, second = bundle.save(tmp_path / "a"), bundle.save(tmp_path / "b")
    assert first == second == bundle.save(tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(FILES)
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_digest_depends_on_everything(bundle, tmp_path):
    others = [
        replace(bundle, weights=bundle.weights + np.float32(1e-3)),
        replace(bundle, thresholds={"balanced_accuracy": -1.0}),
        replace(bundle, metadata={}),
    ]
    digests = {other.save(tmp_path, card=CARD) for other in (bundle, *others)} | {bundle.save(tmp_path, card="other")}
    assert len(digests) == 5


def test_the_stated_file_digests_are_plain_sha256(bundle, tmp_path):
    bundle.save(tmp_path, card=CARD)
    for name, stated in json.loads((tmp_path / "bundle.json").read_text())["files"].items():
        assert stated == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


def test_weights_are_ordinary_safetensors_by_layer(bundle, tmp_path):
    bundle.save(tmp_path, card=CARD)
    tensors = load_file(tmp_path / "weights.safetensors")
    assert sum(tensor.size for tensor in tensors.values()) == bundle.weights.size
    assert {tensor.dtype.name for tensor in tensors.values()} == {"float32"}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_a_damaged_file_is_named(bundle, tmp_path, name, damage):
    bundle.save(tmp_path, card=CARD)
    path = tmp_path / name
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    with pytest.raises(BundleError, match=name):
        Bundle.load(tmp_path)


def test_a_changed_threshold_is_noticed(bundle, tmp_path):
    bundle.save(tmp_path, card=CARD)
    text = (tmp_path / "bundle.json").read_text()
    (tmp_path / "bundle.json").write_text(text.replace("-1.25", "-9.25"))
    with pytest.raises(BundleError, match="it was changed"):
        Bundle.load(tmp_path)


def redescribe(folder):
    """Make the description fit the files again, as somebody with bad intent would."""
    facts = json.loads((folder / "bundle.json").read_text())
    facts.pop("digest")
    facts["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in facts["files"]}
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    facts["digest"] = hashlib.sha256(text.encode()).hexdigest()
    (folder / "bundle.json").write_text(json.dumps(facts))


@pytest.mark.parametrize("change", ["shape", "missing", "nan", "dtype"])
def test_weights_that_do_not_fit_the_model_are_refused_even_with_fitting_digests(bundle, tmp_path, change):
    bundle.save(tmp_path, card=CARD)
    tensors = load_file(tmp_path / "weights.safetensors")
    name = next(iter(tensors))
    if change == "shape":
        tensors[name] = np.zeros((3, 3), dtype=np.float32)
    elif change == "missing":
        del tensors[name]
    elif change == "nan":
        tensors[name] = np.full_like(tensors[name], np.nan)
    else:
        tensors[name] = tensors[name].astype(np.float64)
    save_file(tensors, tmp_path / "weights.safetensors")
    redescribe(tmp_path)
    with pytest.raises(BundleError, match=r"weights\.safetensors"):
        Bundle.load(tmp_path)


def test_a_bundle_of_a_later_format_is_refused_by_number(bundle, tmp_path):
    bundle.save(tmp_path, card=CARD)
    path = tmp_path / "bundle.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(BundleError, match="format 2; this software reads 1"):
        Bundle.load(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"digest": 1, "format": 1}'])
def test_what_is_no_description_is_refused(tmp_path, text):
    (tmp_path / "bundle.json").write_text(text)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        Bundle.load(tmp_path)


def test_a_bundle_that_names_files_outside_its_folder_reads_none(bundle, tmp_path):
    bundle.save(tmp_path / "model")
    facts = json.loads((tmp_path / "model" / "bundle.json").read_text())
    facts.pop("digest")
    facts["files"]["../secret"] = "0" * 64
    facts["digest"] = hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    (tmp_path / "model" / "bundle.json").write_text(json.dumps(facts))
    with pytest.raises(BundleError, match="names the files"):
        Bundle.load(tmp_path / "model")


def test_a_bundle_of_which_a_signature_is_demanded_is_loaded_only_with_it(bundle, tmp_path):
    key = new_key()
    digest = bundle.save(tmp_path)
    assert checked_digest(tmp_path) == digest
    with pytest.raises(TrustError, match="nobody vouches for this bundle"):
        Bundle.load(tmp_path, signed_by=public_text(key))
    sign_bundle(tmp_path, key, consortium="demo", number=1, digest=digest, plan_hash="ab" * 32)
    assert Bundle.load(tmp_path, signed_by=public_text(key)).thresholds == bundle.thresholds
    with pytest.raises(TrustError, match="another key"):
        Bundle.load(tmp_path, signed_by=public_text(new_key()))


def test_a_bundle_that_is_saved_over_a_signed_one_is_not_signed(bundle, tmp_path):
    key = new_key()
    sign_bundle(tmp_path, key, consortium="demo", number=1, digest=bundle.save(tmp_path), plan_hash="ab" * 32)
    digest = replace(bundle, metadata={}).save(tmp_path)
    assert find_signature(tmp_path, digest) is None
