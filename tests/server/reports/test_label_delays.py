"""How long labels take, as an assessment left it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from memory_fleet import tiny_config

from fraudfl.errors import CheckpointError
from server.reports.label_delays import label_delays
from server.store.workspace import Workspace


def assessed(tmp_path: Path, text: str) -> Workspace:
    workspace = Workspace(tmp_path)
    workspace.open(tiny_config(), resume=False)
    [phase] = workspace.phases()
    folder = workspace.coordinator / "phases" / phase.name
    folder.mkdir(parents=True)
    (folder / "readiness.json").write_text(text)
    return workspace


def test_shares_are_by_rising_days(tmp_path: Path) -> None:
    facts = {"7": {"value": 0.5, "low": 0.4, "high": 0.6}, "0.0416667": {"value": 0.1, "low": 0.1, "high": 0.1}}
    found = label_delays(assessed(tmp_path, json.dumps({"labels_within_days": facts})))
    assert found is not None
    assert found.phase == "pilot"
    assert [*found.within] == [0.0416667, 7.0]
    assert (found.within[7.0].low, found.within[7.0].value, found.within[7.0].high) == (0.4, 0.5, 0.6)


@pytest.mark.parametrize("text", ["{}", '{"labels_within_days": {}}'])
def test_an_assessment_that_counted_no_label_times_says_nothing(tmp_path: Path, text: str) -> None:
    assert label_delays(assessed(tmp_path, text)) is None


@pytest.mark.parametrize("text", ['{"labels_within_days": {"x": 1}}', '{"labels_within_days": {"7": {}}}', "{"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(CheckpointError, match=r"readiness\.json"):
        label_delays(assessed(tmp_path, text))
