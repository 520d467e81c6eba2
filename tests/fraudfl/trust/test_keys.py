"""Keys: their files, their spelling, and signatures that hold for one purpose only."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudfl.errors import TrustError
from fraudfl.trust.keys import (
    fingerprint,
    load_key,
    make_key,
    new_key,
    now_text,
    public_from_text,
    public_text,
    sign,
    verify,
    write_secret,
)

KEY, OTHER = new_key(), new_key()
PUBLIC = public_text(KEY)
SIGNATURE = sign(KEY, "approval", b"yes")


def pem_of(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, password: bytes | None = None) -> bytes:
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)


def test_a_key_comes_back_from_its_file(tmp_path: Path) -> None:
    made = make_key(tmp_path / "keys" / "bank.key")
    loaded = load_key(tmp_path / "keys" / "bank.key")
    assert loaded.private_numbers() == made.private_numbers()
    assert isinstance(loaded.curve, ec.SECP384R1)
    stored = (tmp_path / "keys" / "bank.key").read_bytes()
    assert stored.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert serialization.load_pem_private_key(stored, None).private_numbers() == made.private_numbers()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_key_file_is_its_owners_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        make_key(tmp_path / "keys" / "bank.key")
    finally:
        os.umask(before)
    assert (tmp_path / "keys" / "bank.key").stat().st_mode & 0o7777 == 0o600
    assert (tmp_path / "keys").stat().st_mode & 0o077 == 0
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["bank.key"]


def test_a_key_is_never_open_to_others_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = os.fsync

    def watch(handle: int) -> None:
        seen.extend(path.stat().st_mode & 0o777 for path in tmp_path.iterdir())
        real(handle)

    monkeypatch.setattr(os, "fsync", watch)
    before = os.umask(0)
    try:
        make_key(tmp_path / "bank.key")
    finally:
        os.umask(before)
    assert set(seen) == {0o600}


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "bank.key"
    make_key(path)
    kept = path.read_bytes()
    with pytest.raises(TrustError, match=r"bank\.key: exists already"):
        make_key(path)
    assert path.read_bytes() == kept
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TrustError, match="exists already"):
        make_key(path)
    assert not (tmp_path / "elsewhere").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["bank.key"]


def test_a_secret_is_replaced_only_when_asked_to(tmp_path: Path) -> None:
    path = tmp_path / "token"
    write_secret(path, b"one")
    with pytest.raises(TrustError, match="exists already"):
        write_secret(path, b"two")
    assert path.read_bytes() == b"one"
    path.chmod(0o644)
    write_secret(path, b"two", replace=True)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"two", 0o600)


def test_a_key_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrustError, match=r"cannot be written \((File exists|Not a directory)\)"):
        make_key(tmp_path / "file" / "bank.key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o777])
def test_a_key_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "bank.key"
    make_key(path)
    path.chmod(mode)
    with pytest.raises(TrustError, match=rf"mode {mode:04o} .* expected 0600\. Run `chmod 600 "):
        load_key(path)
    path.chmod(0o400)
    load_key(path)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not a private key in PEM"),
        (pem_of(KEY)[:120], "not a private key in PEM"),
        (pem_of(KEY, b"secret"), "encrypted"),
        (pem_of(ec.generate_private_key(ec.SECP256R1())), "secp256r1 key; expected ECDSA on P-384"),
        (pem_of(ed25519.Ed25519PrivateKey.generate()), "Ed25519PrivateKey key; expected ECDSA on P-384"),
    ],
)
def test_what_is_not_such_a_key_is_refused_with_its_file(tmp_path: Path, data: bytes, problem: str) -> None:
    write_secret(tmp_path / "bank.key", data)
    with pytest.raises(TrustError, match=rf"bank\.key: .*{problem}"):
        load_key(tmp_path / "bank.key")


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match=r"bank\.key: cannot be read \(No such file"):
        load_key(tmp_path / "bank.key")


def test_a_public_key_is_one_line_and_comes_back() -> None:
    assert PUBLIC.startswith("ecdsa-sha2-nistp384 AAAA")
    assert "\n" not in PUBLIC
    assert public_from_text(PUBLIC) == KEY.public_key()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ecdsa-sha2-nistp384",
        PUBLIC + "\n",
        PUBLIC + " bank@north",
        " " + PUBLIC,
        PUBLIC.replace(" ", "  "),
        PUBLIC[:-8],
        PUBLIC + "\n" + public_text(OTHER),
        "ecdsa-sha2-nistp384 \ud800",
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        .decode(),
        ed25519.Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        .decode(),
    ],
    # The keys are other ones each time; tests keep their names.
    ids=lambda text: text.split(" ")[0] or "nothing",
)
def test_another_spelling_or_kind_of_public_key_is_refused(text: str) -> None:
    with pytest.raises(TrustError, match="public key"):
        public_from_text(text)


def test_a_compressed_point_is_refused() -> None:
    point = KEY.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    fields = [b"ecdsa-sha2-nistp384", b"nistp384", point]
    blob = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    with pytest.raises(TrustError, match="not a public key"):
        public_from_text(f"ecdsa-sha2-nistp384 {base64.b64encode(blob).decode()}")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, len(PUBLIC) - 1), st.characters())
def test_no_changed_character_of_a_public_key_is_overlooked(position: int, character: str) -> None:
    changed = PUBLIC[:position] + character + PUBLIC[position + 1 :]
    if changed != PUBLIC:
        with pytest.raises(TrustError, match="public key"):
            public_from_text(changed)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
def test_the_fingerprint_is_the_one_that_ssh_keygen_prints(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text(PUBLIC + "\n")
    printed = subprocess.run(
        ["ssh-keygen", "-l", "-f", tmp_path / "key.pub"], capture_output=True, text=True, check=True
    ).stdout
    assert printed.split()[1] == fingerprint(PUBLIC)


def test_a_signature_is_ecdsa_over_the_separated_data() -> None:
    raw = base64.b64decode(SIGNATURE)
    KEY.public_key().verify(raw, b"fraudfl/approval\0yes", ec.ECDSA(hashes.SHA384()))
    with pytest.raises(InvalidSignature):
        KEY.public_key().verify(raw, b"yes", ec.ECDSA(hashes.SHA384()))


def test_a_signature_holds_for_its_key_purpose_and_data_only() -> None:
    verify(PUBLIC, "approval", b"yes", SIGNATURE)
    for public, purpose, data in (
        (public_text(OTHER), "approval", b"yes"),
        (PUBLIC, "roster", b"yes"),
        (PUBLIC, "approval", b"no"),
        (PUBLIC, "approval", b""),
    ):
        with pytest.raises(TrustError, match="signature is not by SHA256:"):
            verify(public, purpose, data, SIGNATURE)


@pytest.mark.parametrize("signature", ["", "?", SIGNATURE + "\n", SIGNATURE + "=", "QUJD", "é"])
def test_a_malformed_signature_is_refused(signature: str) -> None:
    with pytest.raises(TrustError, match="signature"):
        verify(PUBLIC, "approval", b"yes", signature)


@settings(deadline=None, derandomize=True)
@given(st.integers(0, len(SIGNATURE) - 1), st.integers(1, 255))
def test_no_changed_byte_of_a_signature_is_overlooked(position: int, mask: int) -> None:
    changed = bytearray(SIGNATURE.encode())
    changed[position] ^= mask
    with pytest.raises(TrustError, match="signature"):
        verify(PUBLIC, "approval", b"yes", changed.decode("latin-1"))


def test_stray_bits_at_the_end_of_a_signature_are_not_overlooked() -> None:
    signature = next(text for text in (sign(KEY, "approval", b"yes") for _ in range(1000)) if text.endswith("="))
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    text = signature.rstrip("=")
    other = text[:-1] + letters[letters.index(text[-1]) + 1] + signature[len(text) :]
    assert base64.b64decode(other, validate=True) == base64.b64decode(signature), "the same bytes, spelled otherwise"
    verify(PUBLIC, "approval", b"yes", signature)
    with pytest.raises(TrustError, match="signature"):
        verify(PUBLIC, "approval", b"yes", other)


@pytest.mark.parametrize("purpose", ["", "a b", "a\0b", "A", "a/b", "a\n"])
def test_a_purpose_cannot_run_into_the_data(purpose: str) -> None:
    with pytest.raises(TrustError, match="purpose"):
        sign(KEY, purpose, b"yes")


@settings(deadline=None, derandomize=True)
@given(st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.timezones()))
def test_a_moment_is_spelled_in_whole_seconds_of_utc(moment: datetime) -> None:
    text = now_text(moment)
    assert (text[-6:], len(text)) == ("+00:00", 25)
    assert timedelta(0) <= moment - datetime.fromisoformat(text) < timedelta(seconds=1)
