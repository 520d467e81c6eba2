"""The consortium's YAML: every error names file, line, key path, what was found and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from fraudfl.config import ConsortiumConfig, Frozen
from fraudfl.config_file import load_config, load_yaml
from fraudfl.errors import ConfigError

GOOD = """\
consortium:
  name: north
split:
  origin: 2025-01-01
  train_days: [0, 20]
  test_days: [28, 40]
phases:
  - name: pilot
    rounds: 5
"""
CONFIGS = Path(__file__).parents[2] / "configs"


def write(folder: Path, text: str) -> Path:
    path = folder / "north.yaml"
    path.write_text(text)
    return path


def refusal(folder: Path, text: str, data: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(write(folder, text), data)
    return str(caught.value).removeprefix(f"{folder}/")


def test_a_good_file_is_read(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, GOOD))
    assert (config.consortium.name, config.phases[0].rounds) == ("north", 5)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_that_we_ship_is_good(path: Path) -> None:
    assert load_config(path).phases


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("rounds: 5", "rounds: five", 9, ["phases.0.rounds", "'five'", "integer"]),
        ("rounds: 5", "rounds: 0", 9, ["phases.0.rounds", "found 0", "greater than or equal to 1"]),
        ("rounds: 5", "runds: 5", 9, ["phases.0.runds", "no such key"]),
        ("name: north", "name: North Bank", 2, ["consortium.name", "'North Bank'", "pattern"]),
        ("  name: north", "  seed: 3", 1, ["consortium.name", "required"]),
        ("train_days: [0, 20]", "train_days: [0, twenty]", 5, ["split.train_days.1", "'twenty'", "integer"]),
        ("test_days: [28, 40]", "test_days: [22, 40]", 3, ["split:", "labels take 7 days"]),
        ("origin: 2025-01-01", "origin: yesterday", 4, ["split.origin", "'yesterday'", "date"]),
        ("phases:", "phases: {}\nphase:", 7, ["phases", "tuple"]),
    ],
)
def test_an_error_names_file_line_key_path_finding_and_expectation(
    tmp_path: Path, old: str, new: str, line: int, told: list[str]
) -> None:
    said = refusal(tmp_path, GOOD.replace(old, new))
    assert any(row.startswith(f"north.yaml, line {line}: ") for row in said.replace(f"{tmp_path}/", "").splitlines())
    assert [part for part in told if part not in said] == []


def test_all_errors_are_told_at_once(tmp_path: Path) -> None:
    said = refusal(tmp_path, GOOD.replace("rounds: 5", "rounds: 0").replace("north", "North"))
    assert len(said.splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GOOD + "consortium:\n  name: south\n", "line 10: not valid YAML: key 'consortium' is given twice"),
        (GOOD.replace("    rounds: 5", "    rounds: 5\n    rounds: 6"), "line 10: not valid YAML: key 'rounds' is gi"),
        (GOOD.replace("[0, 20]", "[0, 20"), "line 6: not valid YAML"),
        ("", "expected sections such as `consortium:`"),
        ("- a\n- b\n", "found list"),
        ("just text", "found str"),
        ("a: !!python/object/apply:os.system ['true']", "line 1: not valid YAML"),
        ("{[]: 1}", "not valid YAML"),
        ("a: \x00", "not valid YAML"),
        ("a: 2025-13-01", "not valid YAML: month must be in 1..12"),
    ],
)
def test_what_is_not_a_configuration_at_all_is_said_so(tmp_path: Path, text: str, told: str) -> None:
    assert told in refusal(tmp_path, text)


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.yaml: cannot be read"):
        load_config(tmp_path / "binary.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


def test_data_names_the_source_and_sets_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = GOOD + "data:\n  source: handbook\n"
    monkeypatch.chdir(tmp_path)
    assert load_config(write(tmp_path, text), "handbook:sets/h").data.path == str(tmp_path / "sets" / "h")
    for wrong in ("fsi5:x", "handbook", "handbook:", ":x"):
        assert f"--data {wrong}: expected handbook:PATH" in refusal(tmp_path, text, wrong)


@pytest.mark.parametrize("section", ["data: 5\n", "data: [a]\n", "data: text\n"])
def test_data_beside_a_section_that_is_none_is_an_error_of_ours(tmp_path: Path, section: str) -> None:
    refusal(tmp_path, GOOD + section, "handbook:x")


def test_data_beside_an_empty_section_means_the_default_source(tmp_path: Path) -> None:
    assert "expected generated:PATH" in refusal(tmp_path, GOOD + "data:\n", "handbook:x")


def test_any_frozen_model_can_be_read_with_the_same_care(tmp_path: Path) -> None:
    path = write(tmp_path, "# ours\nname: north\nseed: 3\n")
    assert load_yaml(path, ConsortiumConfig) == ConsortiumConfig(name="north", seed=3)
    write(tmp_path, "# ours\nname: north\nsead: 3\n")
    with pytest.raises(ConfigError, match=r"north\.yaml, line 3: sead: found 3; no such key"):
        load_yaml(path, ConsortiumConfig)


def test_what_is_read_can_be_prepared_before_it_is_checked(tmp_path: Path) -> None:
    path = write(tmp_path, "name: north\n")
    assert load_yaml(path, ConsortiumConfig, lambda facts: facts.update(seed=9)).seed == 9


def test_what_should_have_been_there_is_told_in_the_models_own_words(tmp_path: Path) -> None:
    class Single(Frozen):
        only: int

    path = write(tmp_path, "# nothing yet\n")
    with pytest.raises(ConfigError, match="such as `name:` and `seed:`, found NoneType"):
        load_yaml(path, ConsortiumConfig)
    with pytest.raises(ConfigError, match="such as `only:`, found NoneType"):
        load_yaml(path, Single)
