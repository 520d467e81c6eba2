"""How our commands begin and end: no library talks to the world, and every error ends in a message and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from rich.console import Console
from rich.markup import escape

from fraudfl.errors import ConfigError, FraudflError

EXIT_FAILED, EXIT_USAGE, EXIT_GATED, EXIT_INTERRUPTED = 1, 2, 3, 130
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
"""Environment that keeps Flower and MLflow from talking to the world."""
_WIDE = 200
_shown = {"traceback": False}


def console(*, stderr: bool = False, highlight: bool = True) -> Console:
    """Prints for people: as wide as their terminal, and wide enough for our tables where a file or a pipe takes it."""
    width = None if (sys.stderr if stderr else sys.stdout).isatty() or "COLUMNS" in os.environ else _WIDE
    return Console(stderr=stderr, emoji=False, highlight=highlight, width=width)


_errors = console(stderr=True)


def keep_quiet() -> None:
    """Let no library of this process, or of its children, talk to the world."""
    os.environ.update(QUIET)


def show_tracebacks(wanted: bool) -> None:
    """Whether errors of this process show where they came from."""
    _shown["traceback"] = wanted


def run_command(command: Callable[[], object], interrupted: str = "") -> None:
    """Run a command to its end; an error never shows a traceback unless asked for.

    Args:
        interrupted: What to say after Ctrl-C.
    """
    try:
        command()
    except KeyboardInterrupt:
        if interrupted:
            _errors.print(interrupted)
        sys.exit(EXIT_INTERRUPTED)
    except FraudflError as error:
        _errors.print(f"[red]{type(error).__name__}:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        _fail(EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED)
    except Exception as error:
        _errors.print(f"[red]unforeseen {type(error).__name__}:[/] {escape(str(error))}. Add --debug for details.")
        _fail(EXIT_FAILED)


def _fail(code: int) -> NoReturn:
    if _shown["traceback"]:
        traceback.print_exc()
    sys.exit(code)
