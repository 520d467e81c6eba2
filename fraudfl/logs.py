"""Structured logs: one JSON object a line, for journald and whoever collects them."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime


class JsonLines(logging.Formatter):
    """Time, level, logger and message; an exception's type and traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        facts = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            facts["error"] = record.exc_info[0].__name__
            facts["traceback"] = self.formatException(record.exc_info)
        return json.dumps(facts, ensure_ascii=False)


def log_as_json(level: int) -> None:
    """Send every logger's lines to stderr, once, as JSON; chatty libraries from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("httpx", "httpcore", "alembic", "mlflow", "uvicorn", "flwr", "sqlalchemy"):
        _speak_through_root(logging.getLogger(name), max(level, logging.WARNING))
        # Flower and Streamlit give loggers below these handlers of their own.
        for below in [known for known in logging.root.manager.loggerDict if known.startswith(f"{name}.")]:
            _speak_through_root(logging.getLogger(below), logging.NOTSET)


def _speak_through_root(logger: logging.Logger, level: int) -> None:
    logger.handlers[:] = []
    logger.propagate = True
    logger.setLevel(level)
