"""A bank's phase secret: its file, and what is signed of it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fraudfl.errors import TrustError
from fraudfl.secagg.errors import SecureAggregationError
from fraudfl.secagg.phase_keys import PhaseSecret
from fraudfl.trust.keys import new_key, public_text

PLAN = "ab" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secagg" / "phase.json"


def test_a_secret_is_a_private_file_that_reads_back(path: Path) -> None:
    made = PhaseSecret.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    loaded = PhaseSecret.load(path)
    assert (loaded.agreement, loaded.own_key()) == (made.agreement, made.own_key())
    private = X25519PrivateKey.from_private_bytes(bytes.fromhex(json.loads(path.read_text())["agreement"]))
    assert private.public_key().public_bytes_raw().hex() == made.agreement


def test_a_secret_is_never_overwritten(path: Path) -> None:
    before = PhaseSecret.create(path).agreement
    with pytest.raises(TrustError, match="never overwritten"):
        PhaseSecret.create(path)
    assert PhaseSecret.load(path).agreement == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_secret_that_others_may_reach_is_refused(path: Path, mode: int) -> None:
    PhaseSecret.create(path)
    path.chmod(mode)
    with pytest.raises(TrustError, match=f"mode {mode:04o} lets other users"):
        PhaseSecret.load(path)


@pytest.mark.parametrize("field", ["agreement", "own", "version"])
def test_a_damaged_secret_is_refused_without_being_quoted(path: Path, field: str) -> None:
    PhaseSecret.create(path)
    kept = json.loads(path.read_text())
    path.write_text(json.dumps(kept | {field: kept["own"][:-2]}))
    with pytest.raises(TrustError, match=f"{path}: {field}") as caught:
        PhaseSecret.load(path)
    assert kept["own"][:16] not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_empty_secret_is_refused(path: Path) -> None:
    PhaseSecret.create(path)
    path.write_bytes(b"")
    with pytest.raises(TrustError, match="not a phase secret"):
        PhaseSecret.load(path)


def test_two_secrets_share_nothing_and_their_spelling_hides_them(tmp_path: Path) -> None:
    one, other = PhaseSecret.create(tmp_path / "one"), PhaseSecret.create(tmp_path / "other")
    assert one.agreement != other.agreement
    assert one.own_key() != other.own_key()
    assert repr(one) == f"PhaseSecret({one.agreement[:12]}…)"


def test_a_phase_key_is_signed_by_the_banks_long_term_key(path: Path) -> None:
    long_term = new_key()
    secret = PhaseSecret.create(path)
    key = secret.sign("north", PLAN, "pilot-1", long_term)
    key.verify()
    assert (key.bank, key.agreement, key.public_key) == ("north", secret.agreement, public_text(long_term))


@pytest.mark.parametrize(
    "fields", [("North", PLAN, "p"), ("north", "ab", "p"), ("north", PLAN, "a/b"), ("n", PLAN, "")]
)
def test_a_phase_key_for_something_malformed_is_not_signed(path: Path, fields: tuple[str, str, str]) -> None:
    with pytest.raises(SecureAggregationError, match=r"phase key: (bank|plan_hash|instance): found"):
        PhaseSecret.create(path).sign(*fields, new_key())
