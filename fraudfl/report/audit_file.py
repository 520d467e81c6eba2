"""Reads what an audit wrote, for the report's section 3."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from fraudfl.errors import SourceError
from fraudfl.report.facts import AuditResult

_RESULTS = TypeAdapter(tuple[AuditResult, ...])


def read_audit(path: Path) -> tuple[AuditResult, ...]:
    """Read a JSON list of audit results.

    Raises:
        SourceError: naming the file and the field that is wrong.
    """
    try:
        return _RESULTS.validate_json(path.read_bytes())
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); expected the results of an audit") from error
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"]) or "the file"
        raise SourceError(
            f"{path}: {field}: {problem['msg']}; expected a JSON list of audit results, as `fraudfl privacy audit` "
            "writes it"
        ) from error
