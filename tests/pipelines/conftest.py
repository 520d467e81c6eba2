"""Tiny banks, made once and copied for each test, so that every test spoils its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from memory_fleet import Consortium, copy_banks, make_banks, tiny_config

from pipelines.phase import run_phase


@pytest.fixture(scope="session")
def tiny_banks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_banks(tmp_path_factory.mktemp("tiny"), tiny_config())
    place = tmp_path_factory.mktemp("warm")
    warm = Consortium(copy_banks(made, place / "banks"), tiny_config(), place / "coordinator")
    run_phase(warm.phase(), ())
    for bank in warm.fleet.banks():
        # Features and encoded rows depend on data and plan alone; with them every test saves seconds.
        shutil.copytree(warm.folders / bank / "cache", made / bank / "cache")
    return made


@pytest.fixture
def consortium(tiny_banks: Path, tmp_path: Path) -> Callable[..., Consortium]:
    """Make a consortium over fresh copies of the tiny banks: `consortium(name, **phase)`."""

    return lambda name="one", **phase: make_consortium(tiny_banks, tmp_path / name, phase)


@pytest.fixture(scope="module")
def shared(tiny_banks: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Consortium]:
    """The same, for runs that all tests of a module only look at, or copy."""
    return lambda name="one", **phase: make_consortium(tiny_banks, tmp_path_factory.mktemp(name), phase)


def make_consortium(banks: Path, place: Path, phase: dict[str, Any]) -> Consortium:
    return Consortium(copy_banks(banks, place / "banks"), tiny_config(phase), place / "coordinator")
