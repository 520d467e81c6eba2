"""What identifies the program that wrote a report."""

from __future__ import annotations

import importlib.metadata
import subprocess
from pathlib import Path

import pytest

import fraudfl
from fraudfl.errors import RuntimeFailure
from fraudfl.report.software import program_digest, software

RECIPE = "find $PACKAGES -type f -not -path '*/__pycache__/*' | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum"


def test_the_digest_is_what_sha256sum_says_of_the_installed_files() -> None:
    root = Path(fraudfl.__file__).parent.parent
    found = subprocess.run(
        ["sh", "-c", RECIPE.replace("$PACKAGES", "bank_nodes fraudfl")], cwd=root, capture_output=True, check=True
    )
    assert program_digest(("fraudfl", "bank_nodes")) == found.stdout.decode().split()[0]
    assert program_digest(("fraudfl",)) != program_digest(("fraudfl", "bank_nodes"))


def test_the_digest_follows_every_byte_of_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "somewhere_else"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "inner" / "data.txt").write_text("one")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = program_digest(("somewhere_else",))
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "x.pyc").write_text("compiled")
    assert program_digest(("somewhere_else",)) == before
    (package / "inner" / "data.txt").write_text("two")
    assert program_digest(("somewhere_else",)) != before


def test_versions_are_those_that_are_installed() -> None:
    found = software(("fraudfl",))
    assert found.version == importlib.metadata.version("fraudfl")
    assert found.libraries["torch"] == importlib.metadata.version("torch")


def test_a_package_that_is_not_there_cannot_be_identified() -> None:
    with pytest.raises(RuntimeFailure, match="'not_installed_here'"):
        program_digest(("not_installed_here",))
