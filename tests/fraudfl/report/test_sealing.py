"""The signature over a report: what it finds, and what it names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fraudfl.errors import TrustError
from fraudfl.report.facts import Report
from fraudfl.report.sealing import SEAL_FILE, Seal, read_public, verify_report, write_report
from fraudfl.trust.keys import PrivateKey, fingerprint, new_key, public_text

Make = Callable[..., Report]
FILES = ("report.pdf", "report.html", "report.json")
KEY, OTHER = new_key(), new_key()


def signed_by(key: PrivateKey) -> dict[str, str]:
    return {"signer": fingerprint(public_text(key))}


@pytest.fixture
def folder(tmp_path: Path, report: Make) -> Path:
    """A report that was written and signed."""
    write_report(report(**signed_by(KEY)), tmp_path / "out", KEY)
    return tmp_path / "out"


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_what_was_signed_verifies_with_and_without_the_key_at_hand(folder: Path, report: Make) -> None:
    seal = verify_report(folder, {public_text(KEY): "north"})
    assert (seal.report, seal.subject) == (report(**signed_by(KEY)).id, "north")
    assert verify_report(folder, {}) == seal
    assert sorted(path.name for path in folder.iterdir()) == sorted((*FILES, SEAL_FILE))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0, 1000, -1])
def test_one_changed_byte_is_found_and_its_file_is_named(folder: Path, name: str, place: int) -> None:
    flip(folder / name, place)
    with pytest.raises(TrustError, match=f"{name}: was changed after it was signed"):
        verify_report(folder, {})


def test_one_changed_byte_anywhere_in_the_signature_is_found(folder: Path) -> None:
    path = folder / SEAL_FILE
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        flip(path, place)
        with pytest.raises(TrustError, match=SEAL_FILE):
            verify_report(folder, {})
        path.write_bytes(whole)
    verify_report(folder, {})


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(TrustError, match=f"{name}: cannot be read"):
        verify_report(folder, {})


def test_a_report_without_a_signature_does_not_verify(folder: Path) -> None:
    (folder / SEAL_FILE).unlink()
    with pytest.raises(TrustError, match="there is no signature"):
        verify_report(folder, {})


def test_an_unknown_key_is_refused_and_both_are_named(folder: Path) -> None:
    with pytest.raises(TrustError) as refused:
        verify_report(folder, {public_text(OTHER): "operator.pub"})
    assert f"unknown key {fingerprint(public_text(KEY))}" in str(refused.value)
    assert f"operator.pub ({fingerprint(public_text(OTHER))})" in str(refused.value)


def test_a_seal_by_another_key_over_the_same_files_does_not_hold(folder: Path) -> None:
    seal = Seal.model_validate_json((folder / SEAL_FILE).read_bytes())
    forged = seal.model_copy(update={"public_key": public_text(OTHER)}).signed_by(OTHER)
    (folder / SEAL_FILE).write_bytes(forged.to_bytes())
    with pytest.raises(TrustError, match=r"report\.json: names report"):
        verify_report(folder, {})


def test_a_seal_about_somebody_else_does_not_hold(folder: Path) -> None:
    seal = Seal.model_validate_json((folder / SEAL_FILE).read_bytes())
    (folder / SEAL_FILE).write_bytes(seal.model_copy(update={"subject": "south"}).signed_by(KEY).to_bytes())
    with pytest.raises(TrustError, match="the signature is for"):
        verify_report(folder, {})


def test_a_seal_must_name_all_three_files_and_no_other(folder: Path) -> None:
    seal = Seal.model_validate_json((folder / SEAL_FILE).read_bytes())
    for files in ({name: seal.files[name] for name in FILES[:2]}, seal.files | {"extra.txt": "0" * 64}):
        (folder / SEAL_FILE).write_bytes(seal.model_copy(update={"files": files}).signed_by(KEY).to_bytes())
        with pytest.raises(TrustError, match="a digest of each of"):
            verify_report(folder, {})


def test_a_report_that_names_another_signer_is_not_written(tmp_path: Path, report: Make) -> None:
    with pytest.raises(TrustError, match=r"names .* as its signer"):
        write_report(report(**signed_by(OTHER)), tmp_path / "out", KEY)
    assert not (tmp_path / "out").exists()


def test_an_older_signature_never_stands_beside_newer_unsigned_files(folder: Path, report: Make) -> None:
    written = write_report(report(signer=""), folder, None)
    assert {path.name for path in written} == set(FILES)
    assert not (folder / SEAL_FILE).exists()
    assert json.loads((folder / "report.json").read_bytes())["signer"] == ""


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path, report: Make) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TrustError, match="the report cannot be written"):
        write_report(report(signer=""), tmp_path / "file" / "out", None)


def test_a_public_key_file_is_checked_before_anything_is_compared_with_it(tmp_path: Path) -> None:
    path = tmp_path / "some.pub"
    path.write_text(public_text(KEY) + "\n")
    assert read_public(path) == public_text(KEY)
    path.write_text("no key")
    with pytest.raises(TrustError, match=r"some\.pub: not a public key"):
        read_public(path)
    with pytest.raises(TrustError, match=r"other\.pub: cannot be read"):
        read_public(tmp_path / "other.pub")
