"""The deliberately broken mechanisms of `benchmarks/audit.py`: each is caught, and none is installed anywhere."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from fraudfl.privacy.noise import NoiseSource

ROOT = Path(__file__).parents[4]


def load_benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit_benchmark", ROOT / "benchmarks" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


BENCHMARK = load_benchmark()
ONE_STEP = [audit for audit in BENCHMARK.BROKEN if audit.claimed.times == 1]


def test_no_noise_half_the_noise_and_clipping_off_are_among_the_broken() -> None:
    names = " ".join(audit.name for audit in BENCHMARK.BROKEN)
    for what in ("no noise", "half the noise", "clipping off", "one seed for all banks"):
        assert what in names


@pytest.mark.parametrize("audit", ONE_STEP, ids=lambda audit: audit.name)
def test_a_broken_mechanism_is_caught(audit: BENCHMARK.InOut) -> None:
    result = audit(5_000, 1)
    assert result.verdict == "violated"
    assert result.lower_bound > result.claimed


@pytest.mark.parametrize("audit", BENCHMARK.SOUND_IN_OUT, ids=lambda audit: audit.name)
def test_a_sound_mechanism_passes(audit: BENCHMARK.InOut) -> None:
    result = audit(2_000, 1)
    assert result.verdict == "sound"
    assert result.lower_bound <= result.claimed


def test_half_the_noise_is_caught_through_sampling_and_composition_too() -> None:
    sampled = next(audit for audit in BENCHMARK.BROKEN if "sampled rounds, half" in audit.name)
    assert sampled(8_000, 1).verdict == "violated"


def test_nothing_that_is_installed_makes_noise_from_a_seed_or_less_noise() -> None:
    installed = [
        path for room in ("fraudfl", "bank_nodes", "server", "pipelines") for path in (ROOT / room).rglob("*.py")
    ]
    assert len(installed) > 50
    for path in installed:
        text = path.read_text(encoding="utf-8")
        if path.name != "noise.py":
            assert "for_tests(" not in text, path
            assert "(NoiseSource)" not in text, path
        assert "benchmarks" not in text or "import benchmarks" not in text, path
    assert NoiseSource.__subclasses__()  # the search above looks for what such a class has to say
