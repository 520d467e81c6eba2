"""How wide commands print."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PRINT = "from fraudfl.command import console; console().print('word ' * 30)"


@pytest.mark.parametrize(("columns", "lines"), [(None, 1), ("60", 3)])
def test_where_no_terminal_sets_a_width_lines_are_as_long_as_tables_need(columns: str | None, lines: int) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    environment |= {} if columns is None else {"COLUMNS": columns}
    said = subprocess.run([sys.executable, "-c", PRINT], check=True, capture_output=True, text=True, env=environment)
    assert len(said.stdout.splitlines()) == lines
