"""For all tests: tables as wide as they want to be, whichever module made its console first."""

from __future__ import annotations

import os

# Read once, when a console is made: no test can set it for a module that another test imported before.
os.environ["COLUMNS"] = "200"
