"""The operator's signature on a bundle: what it says, and that nothing else is taken for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fraudfl.errors import TrustError
from fraudfl.trust.bundle_signature import SIGNATURE_FILE, check_signature, find_signature, sign_bundle
from fraudfl.trust.keys import new_key, public_text

OPERATOR = new_key()
DIGEST = "ab" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sign_bundle(tmp_path, OPERATOR, consortium="small", number=3, digest=DIGEST, plan_hash="cd" * 32)
    return tmp_path


def test_a_signature_names_version_consortium_and_plan(folder: Path) -> None:
    found = check_signature(folder, DIGEST, public_text(OPERATOR))
    assert (found.number, found.consortium, found.plan_hash, found.digest) == (3, "small", "cd" * 32, DIGEST)


def test_an_unsigned_bundle_is_found_to_be_so_and_refused_where_a_signature_is_demanded(tmp_path: Path) -> None:
    assert find_signature(tmp_path, DIGEST) is None
    with pytest.raises(TrustError, match="is missing, so nobody vouches for this bundle"):
        check_signature(tmp_path, DIGEST, public_text(OPERATOR))


@pytest.mark.parametrize("field", ["number", "consortium", "digest", "plan_hash", "at", "signature", "operator"])
def test_a_signature_with_one_altered_field_is_refused(folder: Path, field: str) -> None:
    path = folder / SIGNATURE_FILE
    facts = json.loads(path.read_bytes())
    other = {"number": 4, "at": "2025-01-31T09:00:00+00:00", "consortium": "other", "operator": public_text(new_key())}
    facts[field] = other.get(field, "ef" * 32)
    path.write_bytes(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode())
    with pytest.raises(TrustError, match="signature is not by"):
        find_signature(folder, facts["digest"])


def test_another_bundles_signature_or_another_operators_is_refused(folder: Path) -> None:
    with pytest.raises(TrustError, match=r"is the signature of bundle abababababab…, found 0123456789ab…"):
        find_signature(folder, "0123456789ab" + "0" * 52)
    with pytest.raises(TrustError, match="another key than this consortium's operator"):
        check_signature(folder, DIGEST, public_text(new_key()))
