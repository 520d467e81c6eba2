"""A bank's models: only what the operator signed is taken or used, and there is a way back."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
from memory_fleet import tiny_config

from bank_nodes.commands.models import model_app
from bank_nodes.folder.home import Home
from bank_nodes.folder.models import TakenModels
from fraudfl.command import run_command
from fraudfl.data.simulate import GENERATED_CONTRACT, generate
from fraudfl.errors import BundleError, TrustError
from fraudfl.features.encoder import fit_encoder
from fraudfl.folder import BankFolder
from fraudfl.models.bundle import Bundle
from fraudfl.models.mlp import build_model, get_vector
from fraudfl.models.personal import PersonalFacts, PersonalModel
from fraudfl.planning import make_plan
from fraudfl.privacy.ledger import Ledger
from fraudfl.transfer.model import vector_digest
from fraudfl.trust.bundle_signature import SIGNATURE_FILE, sign_bundle
from fraudfl.trust.keys import PrivateKey, fingerprint, load_key, new_key
from server.trust.certificates import Hosts
from server.trust.pki import Pki

CONFIG = tiny_config()


class Said(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


class Town(NamedTuple):
    """A bank with data and kit, two bundles by the operator, and the operator's key."""

    home: Home
    first: Path
    second: Path
    key: PrivateKey


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that; copied for each test."""
    place = tmp_path_factory.mktemp("town")
    pki = Pki.create(place / "pki", "tiny", Hosts(("localhost",)))
    home = Home.create(place / "north", "north")
    pki.add(home.enrolment)
    pki.write_kit(place / "kit")
    home.take_kit(place / "kit", fingerprint(pki.operator))
    rows = generate(CONFIG.data.generator.model_copy(update={"transactions": 1000}), 1)
    folder = BankFolder.fill(home.path, "north", rows, GENERATED_CONTRACT)
    for number in (1, 2):
        digest = bundle_for(folder, seed=number).save(place / f"bundle-{number}", card="# Demo\n")
        facts = {"consortium": "tiny", "number": number, "digest": digest, "plan_hash": "ab" * 32}
        sign_bundle(place / f"bundle-{number}", load_key(pki.operator_key), **facts)  # type: ignore[arg-type]
    return place


@pytest.fixture
def town(made: Path, tmp_path: Path) -> Town:
    place = tmp_path / "town"
    shutil.copytree(made, place)
    home = Home(place / "north")
    return Town(home, place / "bundle-1", place / "bundle-2", load_key(place / "pki" / "operator.key"))


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run `bank-node model …` as the process would, with its own ending of errors."""

    def run(*words: str | Path) -> Said:
        monkeypatch.setattr(sys, "argv", ["model", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            run_command(model_app)
        said = capsys.readouterr()
        return Said(int(ended.value.code or 0), said.out, said.err)

    return run


def bundle_for(folder: BankFolder, seed: int) -> Bundle:
    """A bundle for this bank's contract with weights of its own."""
    plan = make_plan(CONFIG, CONFIG.phases[0], GENERATED_CONTRACT)
    encoder = fit_encoder(plan.encoder, folder.sketch(plan.features, plan.split, plan.encoder))
    size = get_vector(build_model(plan.model, encoder.width)).size
    return Bundle(
        encoder=encoder,
        model=plan.model,
        weights=np.random.default_rng(seed).normal(0, 1, size).astype(np.float32),
        thresholds={"budget": 0.5, "f1": 0.0, "balanced_accuracy": 0.0},
        metadata={
            "consortium": "tiny",
            "contract": plan.contract.model_dump(mode="json"),
            "features": plan.features.model_dump(mode="json"),
        },
    )


def test_a_signed_bundle_is_taken_and_not_used_unasked(town: Town, node: Callable[..., Said]) -> None:
    said = node("take", town.home.path, town.second)
    assert said.code == 0
    assert said.out.startswith("taken   2-")
    assert node("score", town.home.path).code == 1
    (model,) = TakenModels(town.home).all()
    assert (model.signature.number, model.in_use) == (2, False)


@pytest.mark.parametrize("name", ["bundle.json", "encoder.json", "weights.safetensors", "MODEL_CARD.md"])
def test_a_bundle_with_a_changed_file_is_not_taken(town: Town, name: str) -> None:
    data = (town.first / name).read_bytes()
    (town.first / name).write_bytes(data.replace(data[-40:-38], b"zz"))
    with pytest.raises(BundleError, match=name):
        TakenModels(town.home).take(town.first)
    assert list((town.home.path / "models").iterdir()) == []


def test_an_unsigned_bundle_or_one_signed_by_somebody_else_is_not_taken(town: Town) -> None:
    models = TakenModels(town.home)
    digest = json.loads((town.first / "bundle.json").read_bytes())["digest"]
    sign_bundle(town.first, new_key(), consortium="tiny", number=1, digest=digest, plan_hash="ab" * 32)
    with pytest.raises(TrustError, match="another key than this consortium's operator"):
        models.take(town.first)
    shutil.copyfile(town.second / SIGNATURE_FILE, town.first / SIGNATURE_FILE)
    with pytest.raises(TrustError, match="is the signature of bundle"):
        models.take(town.first)
    (town.first / SIGNATURE_FILE).unlink()
    with pytest.raises(TrustError, match="nobody vouches for this bundle"):
        models.take(town.first)
    assert models.all() == []


def test_another_consortiums_model_is_not_taken(town: Town) -> None:
    digest = json.loads((town.first / "bundle.json").read_bytes())["digest"]
    sign_bundle(town.first, town.key, consortium="other", number=1, digest=digest, plan_hash="ab" * 32)
    with pytest.raises(TrustError, match="is a model of consortium other; expected tiny"):
        TakenModels(town.home).take(town.first)


def test_only_a_bundles_own_files_are_copied(town: Town) -> None:
    (town.first / "extra.sh").write_text("echo no")
    model = TakenModels(town.home).take(town.first)
    assert not (town.home.path / "models" / model.name / "extra.sh").exists()


def test_using_a_model_and_going_back_is_noted_in_the_ledger_by_name(town: Town, node: Callable[..., Said]) -> None:
    folder = town.home.path
    node("take", folder, town.first)
    node("take", folder, town.second)
    assert node("use", folder, "1", "--by", "Ada").out.startswith("in use  1-")
    assert node("use", folder, "2", "--by", "Ada", "--reason", "champion").out.startswith("in use  2-")
    assert [one["number"] for one in json.loads(node("show", folder, "--json").out) if one["in_use"]] == [2]
    assert node("back", folder, "--by", "Bo", "--reason", "alerts doubled").out.startswith("in use  1-")
    again = node("back", folder, "--by", "Bo")
    assert (again.code, "there is no way back" in again.err) == (1, True)
    ledger = Ledger(folder / "ledger.db")
    ledger.verify()
    notes = [entry.note for entry in ledger.entries()]
    assert [note.split(" in use, ")[1] for note in notes] == [
        "decided by Ada",
        "decided by Ada: champion",
        "decided by Bo: alerts doubled",
    ]


def test_scores_at_the_bank_are_those_of_the_bundle(town: Town, node: Callable[..., Said], tmp_path: Path) -> None:
    folder = town.home.path
    node("take", folder, town.second)
    node("use", folder, "2", "--by", "Ada")
    said = node("score", folder, "--out", tmp_path / "scores.parquet")
    assert (said.code, said.out.startswith("1,000 transactions scored, ")) == (0, True)
    expected = Bundle.load(town.second).score(BankFolder(folder).features(CONFIG.features))
    assert pq.read_table(tmp_path / "scores.parquet")["logit"].to_numpy().tolist() == expected.tolist()


def test_the_banks_own_layer_scores_on_the_model_that_it_was_made_on_and_on_no_other(
    town: Town, node: Callable[..., Said], tmp_path: Path
) -> None:
    folder, bundle = town.home.path, Bundle.load(town.second)
    facts = {"base": vector_digest(bundle.weights), "encoder": bundle.encoder.digest, "choice": "fine-tuned"}
    own = PersonalModel(
        PersonalFacts(**facts, thresholds={"budget": 1e9}, phase="pilot", instance="abc"),
        np.arange(9, dtype=np.float32),
    )
    own.save(folder)
    for number, source in (("2", town.second), ("1", town.first)):
        node("take", folder, source)
        node("use", folder, number, "--by", "Ada")
        said = node("score", folder, "--out", tmp_path / f"{number}.parquet", "--personalised")
        assert said.code == (0 if number == "2" else 1)
    assert "no model of the bank's own on top of this bundle" in said.err.replace("\n", " ")
    scored = pq.read_table(tmp_path / "2.parquet")
    expected = own.on(bundle).score(BankFolder(folder).features(CONFIG.features))
    assert (
        scored["logit"].to_numpy().tolist()
        == expected.tolist()
        != bundle.score(BankFolder(folder).features(CONFIG.features)).tolist()
    )
    assert not any(scored["alert"].to_pylist())


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda model: (model / SIGNATURE_FILE).unlink(), "nobody vouches for this bundle"),
        (lambda model: (model / "weights.safetensors").write_bytes(b"other"), "weights.safetensors: SHA-256 is"),
        (lambda model: shutil.rmtree(model), "bundle.json: cannot be read"),
    ],
)
def test_a_model_that_was_altered_after_it_was_put_in_use_does_not_score(
    town: Town, node: Callable[..., Said], tmp_path: Path, spoil: Callable[[Path], None], told: str
) -> None:
    folder = town.home.path
    node("take", folder, town.second)
    node("use", folder, "2", "--by", "Ada")
    (model,) = (folder / "models").glob("2-*")
    spoil(model)
    said = node("score", folder, "--out", tmp_path / "scores.parquet")
    assert said.code == 1
    assert told in said.err
    assert not (tmp_path / "scores.parquet").exists()


def test_a_model_altered_after_it_was_taken_is_not_put_in_use_and_taking_it_again_mends_it(town: Town) -> None:
    models = TakenModels(town.home)
    model = models.take(town.first)
    (town.home.path / "models" / model.name / "encoder.json").write_bytes(b"{}")
    with pytest.raises(BundleError, match=r"encoder\.json"):
        models.use("1", "Ada")
    models.take(town.first)
    assert models.use("1", "Ada").in_use


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("use", "9", "--by", "Ada"), "no model '9' here; name one of 1-"),
        (("back", "--by", "Ada"), "there is no way back"),
        (("score",), "no model is in use"),
    ],
)
def test_mistakes_are_told(town: Town, node: Callable[..., Said], words: tuple[str, ...], told: str) -> None:
    TakenModels(town.home).take(town.first)
    said = node(words[0], town.home.path, *words[1:])
    assert (said.code, told in said.err) == (1, True)
