"""What privacy and secure aggregation may be configured to: every refusal names file, line, key and the way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from fraudfl.config_file import load_config
from fraudfl.config_privacy import PrivacyConfig, SecureAggregationConfig
from fraudfl.errors import ConfigError

DISTRIBUTED: dict[str, Any] = {
    "privacy": {"mode": "distributed", "epsilon": 3.0, "units": 1000, "delta": 1e-6, "expected_units": 5000},
    "secure_aggregation": {"min_cohort": 4, "colluding": 1},
    "strategy": {"name": "dpadam", "weighting": "equal"},
}
LOCAL: dict[str, Any] = {
    "privacy": {"mode": "local", "epsilon": 3.0, "units": 1000, "delta": 1e-6},
    "strategy": {"weighting": "equal"},
}
SECURE: dict[str, Any] = {"secure_aggregation": {"min_cohort": 4}, "strategy": {"weighting": "equal"}}
HEAD = """\
consortium:
  name: north
split:
  origin: 2025-01-01
  train_days: [0, 20]
  test_days: [28, 40]
phases:
"""
PHASE_LINE = 8


def merged(phase: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    changed = dict(phase)
    for name, value in change.items():
        changed[name] = {**changed.get(name, {}), **value} if isinstance(value, dict) else value
    return changed


def written(folder: Path, phase: dict[str, Any]) -> Path:
    path = folder / "north.yaml"
    path.write_text(HEAD + yaml.safe_dump([{"name": "pilot", **phase}], sort_keys=False))
    return path


@pytest.mark.parametrize("phase", [DISTRIBUTED, LOCAL, SECURE], ids=["distributed", "local", "secure"])
def test_what_fits_together_is_read(tmp_path: Path, phase: dict[str, Any]) -> None:
    assert load_config(written(tmp_path, phase)).phases[0].name == "pilot"


REFUSALS: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("no epsilon", LOCAL, {"privacy": {"epsilon": None}}, "privacy mode `local` needs `epsilon`"),
    (
        "delta",
        LOCAL,
        {"privacy": {"delta": 1e-3}},
        "delta 0.001 is above 1/(10*units) = 0.0001; lower delta",
    ),
    (
        "shares",
        LOCAL,
        {"privacy": {"encoder_share": 0.5, "evaluation_share": 0.5}},
        "`encoder_share`, `evaluation_share` and `look_share` leave nothing of epsilon for training",
    ),
    (
        "local steps",
        DISTRIBUTED,
        {"privacy": {"steps_per_round": 4}},
        "steps_per_round is 4: several local steps between two releases have no proof when banks share the noise, "
        "since each bank would walk on with too little of it. Set `steps_per_round: 1`, or use mode `local`",
    ),
    (
        "expected units",
        DISTRIBUTED,
        {"privacy": {"expected_units": None}},
        "mode `distributed` needs `privacy.expected_units`: a public estimate of all banks' units together",
    ),
    (
        "colluding",
        SECURE,
        {"secure_aggregation": {"min_cohort": 4, "colluding": 3}},
        "with min_cohort 4 at most 2 banks may be taken to collude; the sum of a single honest bank would be that "
        "bank's own figures",
    ),
    ("cohort of one", SECURE, {"secure_aggregation": {"min_cohort": 1}}, "greater than or equal to 2"),
    ("coordinator", SECURE, {"secure_aggregation": {"coordinator": "honest"}}, "'malicious' or 'honest-but-curious'"),
    (
        "weights",
        LOCAL,
        {"strategy": {"weighting": "examples"}},
        "with differential privacy banks weigh by a public constant; set strategy.weighting: equal",
    ),
    (
        "open noise",
        DISTRIBUTED,
        {"secure_aggregation": None},
        "privacy mode `distributed` needs a `secure_aggregation` section: each bank adds only a share of the noise, "
        "which protects nothing but the sum",
    ),
    (
        "strategy of sums",
        DISTRIBUTED,
        {"strategy": {"name": "fedavg"}},
        "strategy 'fedavg' does not go with privacy mode 'distributed'; `dpsgd` and `dpadam` take one step on the sum "
        "of mode `distributed`, and nothing else does",
    ),
    (
        "sums of nothing",
        LOCAL,
        {"strategy": {"name": "dpsgd"}},
        "strategy 'dpsgd' does not go with privacy mode 'local'",
    ),
    (
        "single updates",
        SECURE,
        {"strategy": {"name": "krum"}},
        "strategy 'krum' looks at each bank's update, which secure aggregation hides; use one that needs their sum "
        "alone, such as fedavg",
    ),
    (
        "secure weights",
        SECURE,
        {"strategy": {"weighting": "examples"}},
        "under secure aggregation banks weigh the same; set strategy.weighting: equal",
    ),
    (
        "codec",
        SECURE,
        {"codec": {"up": "int8"}},
        "codec.up is 'int8', but masked vectors have an encoding of their own; leave codec.up out",
    ),
    (
        "stragglers",
        SECURE,
        {"stragglers": "fold"},
        "a masked update that comes late cannot be used by itself; set stragglers: drop",
    ),
    ("small cohort", SECURE, {"cohort": 3}, "cohort 3 is smaller than min_cohort 4"),
    (
        "rounds of a bank without turns",
        LOCAL,
        {"privacy": {"rounds_per_bank": 2}},
        "`privacy.rounds_per_bank` bounds how often a bank is asked, and without `cohort` every round asks all",
    ),
    (
        "too small a clip",
        LOCAL,
        {"privacy": {"clip_norm": 1e-3}},
        "clip_norm is 0.001; expected 0.01 to 10000: gradients are float32, where far smaller or larger norms lose "
        "their digits, and the bound that noise is scaled to would not hold",
    ),
    ("too large a clip", DISTRIBUTED, {"privacy": {"clip_norm": 10001.0}}, "clip_norm is 10001; expected 0.01 to"),
    ("account rows", LOCAL, {"privacy": {"account_rows": 0}}, "greater than or equal to 1"),
    ("bound", DISTRIBUTED, {"privacy": {"sum_bound": 0}}, "greater than 0"),
    ("another name", LOCAL, {"privacy": {"training_share": 0.5}}, "no such key"),
]


@pytest.mark.parametrize(
    ("phase", "change", "told"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS]
)
def test_what_does_not_is_refused_with_file_line_key_and_the_way_out(
    tmp_path: Path, phase: dict[str, Any], change: dict[str, Any], told: str
) -> None:
    path = written(tmp_path, merged(phase, change))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    said = str(caught.value)
    assert told in said
    line = int(said.split("line ")[1].split(":")[0])
    lines = path.read_text().splitlines()
    assert PHASE_LINE <= line <= len(lines)
    assert f"{path}, line {line}: phases.0" in said


def test_a_line_is_that_of_the_section_that_is_wrong(tmp_path: Path) -> None:
    path = written(tmp_path, merged(DISTRIBUTED, {"secure_aggregation": {"colluding": 3}}))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    line = 1 + path.read_text().splitlines().index("  secure_aggregation:")
    assert f"line {line}: phases.0.secure_aggregation:" in str(caught.value)


@pytest.mark.parametrize("norm", [0.01, 1e4])
def test_clip_norms_reach_from_a_hundredth_to_ten_thousand(norm: float) -> None:
    assert PrivacyConfig(clip_norm=norm).clip_norm == norm


def test_promises_are_off_unless_asked_for_and_settings_do_not_change() -> None:
    assert (PrivacyConfig().mode, SecureAggregationConfig().coordinator) == ("none", "malicious")
    with pytest.raises(ValidationError):
        PrivacyConfig().mode = "local"  # type: ignore[misc]
