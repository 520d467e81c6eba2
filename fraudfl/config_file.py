"""YAML files as frozen models: read, checked, and every error told with its line and key path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from fraudfl.config import FraudflConfig, Frozen
from fraudfl.config_phases import TAGS
from fraudfl.errors import ConfigError

Model = TypeVar("Model", bound=Frozen)

_EXPECTED = {
    "missing": "this key is required",
    "extra_forbidden": "no such key; look for a spelling mistake",
}


class _NoDuplicates(yaml.SafeLoader):
    """A YAML loader that refuses a key given twice instead of taking the last."""


def _mapping(loader: _NoDuplicates, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(None, None, "a key must be plain text", key_node.start_mark)
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.MarkedYAMLError(None, None, f"key {key!r} is given twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_NoDuplicates.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load_config(path: Path, data: str | None = None) -> FraudflConfig:
    """Read and check a consortium's file.

    Args:
        path: The YAML file.
        data: `NAME:PATH` as given to `--data`; sets `data.path` when the file's source has that name.

    Raises:
        ConfigError: naming file, line and key path of everything that is wrong.
    """
    return load_yaml(path, FraudflConfig, lambda facts: _set_data(facts, data))


def load_yaml(path: Path, model: type[Model], prepare: Callable[[dict[str, Any]], None] | None = None) -> Model:
    """Read one file into a frozen model.

    Args:
        path: The YAML file: a mapping of the model's fields.
        model: What it must be.
        prepare: May change what was read, before it is checked.

    Raises:
        ConfigError: naming file, line and key path of everything that is wrong.
    """
    facts, root = _parse(path)
    if not isinstance(facts, dict):
        raise ConfigError(f"{path}: expected {_sections(model)}, found {type(facts).__name__}")
    if prepare is not None:
        prepare(facts)
    try:
        return model.model_validate(facts)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(path, root, problem) for problem in _causes(error))) from error


def _parse(path: Path) -> tuple[Any, yaml.Node | None]:
    """What the file says, and where."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}). Give the path of a YAML file.") from error
    try:
        return yaml.load(text, Loader=_NoDuplicates), yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}, line {line}: not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: looks like a date and is none, such as 2025-13-01
        raise ConfigError(f"{path}: not valid YAML: {error}") from error


def _sections(model: type[Frozen]) -> str:
    fields = list(model.model_fields)
    return "sections such as " + " and ".join(f"`{name}:`" for name in dict.fromkeys((fields[0], fields[-1])))


def _set_data(facts: dict[str, Any], data: str | None) -> None:
    if data is None:
        return
    name, colon, path = data.partition(":")
    section = facts["data"] = facts.get("data") or {}
    source = section.get("source", "generated") if isinstance(section, dict) else None
    if not colon or not path or name != source:
        raise ConfigError(f"--data {data}: expected {source}:PATH, since the configuration's data.source is {source!r}")
    section["path"] = str(Path(path).expanduser().resolve())


def _causes(error: ValidationError) -> list[Any]:
    """What is wrong; not that a list became too short because its entries are."""
    problems = error.errors()
    inner = {problem["loc"][:depth] for problem in problems for depth in range(len(problem["loc"]))}
    return [problem for problem in problems if problem["type"] != "too_short" or problem["loc"] not in inner]


def _explain(path: Path, root: yaml.Node | None, problem: Any) -> str:
    location = [part for part in _keys(problem["loc"]) if not (isinstance(part, str) and part.startswith("function-"))]
    line = _line(root, location)
    key = ".".join(str(part) for part in location) or "(top level)"
    expected = _EXPECTED.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    if problem["type"] == "missing" or isinstance(problem["input"], dict | list | tuple):
        return f"{path}, line {line}: {key}: {expected}"
    return f"{path}, line {line}: {key}: found {problem['input']!r}; {expected}"


def _keys(location: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """A place as the file has it: the kind of a phase is no key of its own."""
    if location[:1] == ("phases",) and location[2:3] and location[2] in TAGS:
        return (*location[:2], *location[3:])
    return location


def _line(node: yaml.Node | None, location: list[str | int]) -> int:
    """Line of the deepest node on the way that the file has, counted from 1."""
    if node is None:
        return 1
    line: int = node.start_mark.line + 1
    for part in location:
        found: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    line, found = key.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = node.value[part]
            line = found.start_mark.line + 1
        if found is None:
            return line
        node = found
    return line
