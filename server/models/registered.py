"""Every registered version, for those who only read: a workspace's own registry is read without opening MLflow.

MLflow keeps a workspace's registry in an SQLite file. On opening it, MLflow makes tables that are missing and moves
those of an older version, so whoever only looks reads the three tables himself, on a connection that cannot write.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from fraudfl.errors import CheckpointError, RuntimeFailure
from server.models.versions import Version, read_version
from server.store.workspace import Workspace

_DELETED = "Deleted_Internal"
"""The stage by which MLflow marks a version that was deleted."""


@dataclass(frozen=True)
class _Row:
    """One version as the registry's tables have it."""

    name: str
    version: int
    run_id: str
    tags: Mapping[str, str]


def registered(workspace: Workspace) -> list[Version]:
    """Every version of a workspace's model, oldest first; none where no phase has registered anything yet.

    Raises:
        RuntimeFailure: when the registry cannot be read.
        BundleError: when a version's tags do not describe it.
    """
    config = workspace.config()
    if config.mlflow.tracking_uri is None:
        return _in_file(workspace.path / "mlflow.db", config.consortium.name)
    # Only a registry on a server needs MLflow, which takes a second and 100 MB to import.
    from server.models.bundles import Models

    try:
        return Models(workspace).all()
    except CheckpointError:
        return []


def _in_file(database: Path, consortium: str) -> list[Version]:
    if not database.exists():
        return []
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("BEGIN")
            if not _has_tables(connection):
                return []
            rows, aliases = _rows(connection, consortium), _aliases(connection, consortium)
    except sqlite3.Error as error:
        raise RuntimeFailure(f"{database}: MLflow's registry cannot be read ({error}); restore the file") from error
    return [read_version(row, tuple(sorted(aliases[row.version]))) for row in rows]


def _has_tables(connection: sqlite3.Connection) -> bool:
    """Whether MLflow has made its tables: a run may be making them just now."""
    query = "SELECT count(*) FROM sqlite_master WHERE name IN ('model_versions', 'model_version_tags', ?)"
    (found,) = connection.execute(query, ("registered_model_aliases",)).fetchone()
    return int(found) == 3


def _rows(connection: sqlite3.Connection, consortium: str) -> list[_Row]:
    tags: defaultdict[int, dict[str, str]] = defaultdict(dict)
    query = "SELECT version, key, value FROM model_version_tags WHERE name = ?"
    for version, key, value in connection.execute(query, (consortium,)):
        tags[version][key] = value
    query = "SELECT version, run_id FROM model_versions WHERE name = ? AND current_stage IS NOT ? ORDER BY version"
    found = connection.execute(query, (consortium, _DELETED)).fetchall()
    return [_Row(consortium, version, run_id, tags[version]) for version, run_id in found]


def _aliases(connection: sqlite3.Connection, consortium: str) -> defaultdict[int, list[str]]:
    aliases: defaultdict[int, list[str]] = defaultdict(list)
    query = "SELECT alias, version FROM registered_model_aliases WHERE name = ?"
    for alias, version in connection.execute(query, (consortium,)):
        aliases[version].append(alias)
    return aliases
