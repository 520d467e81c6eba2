"""A report as PDF (typst), HTML (self-contained) and JSON (the facts themselves)."""

from __future__ import annotations

import json
from datetime import datetime
from importlib import resources
from typing import Any, Final

from fraudfl.errors import RuntimeFailure
from fraudfl.frozen import Frozen
from fraudfl.report.document import Document, document
from fraudfl.report.facts import Report

PDF, HTML, JSON = FILES = ("report.pdf", "report.html", "report.json")
SCHEMA_FILE = "report.schema.json"
# For filing: PDF/A embeds all fonts and links to nothing; 2a also carries the structure that screen readers need.
_STANDARD: Final = "a-2a"


def render(report: Report) -> dict[str, bytes]:
    """Render a privacy report; otherwise as `render_document`."""
    return render_document(document(report), report, report.made_at)


def render_document(laid_out: Document, facts: Frozen, made_at: str) -> dict[str, bytes]:
    """Render a document and the facts that it was laid out from; the same facts give the same bytes.

    Args:
        made_at: When the report was made, ISO 8601.

    Returns:
        The files by name: `report.pdf`, `report.html`, `report.json`.

    Raises:
        RuntimeFailure: when the pages cannot be set in type.
    """
    return {PDF: _pdf(laid_out, made_at), HTML: _html(laid_out), JSON: to_json(facts)}


def to_json(report: Frozen) -> bytes:
    """The report's JSON: sorted keys, indented for people."""
    facts = report.model_dump(mode="json")
    return (json.dumps(facts, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def json_schema() -> dict[str, Any]:
    """The JSON schema of `report.json`, as published in the package."""
    schema: dict[str, Any] = json.loads(_packaged(SCHEMA_FILE))
    return schema


def made_schema() -> dict[str, Any]:
    """The JSON schema as it follows from the report's values; what is published must be equal to it."""
    schema = Report.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema


def _pdf(laid_out: Document, made_at: str) -> bytes:
    # Imported on use: the compiler is 40 MB, and only this needs it.
    import typst

    try:
        made = typst.compile(
            _packaged("report.typ"),
            format="pdf",
            ignore_system_fonts=True,
            # As data, so that no name and no reason from elsewhere is ever read as markup.
            sys_inputs={"document": json.dumps(laid_out.as_data())},
            pdf_standards=_STANDARD,
            timestamp=int(datetime.fromisoformat(made_at).timestamp()),
        )
    except typst.TypstError as error:
        raise RuntimeFailure(f"the report's pages cannot be set in type: {error.message}") from error
    if not isinstance(made, bytes):
        raise RuntimeFailure("the report's pages cannot be set in type: the compiler gave no document")
    return made


def _html(laid_out: Document) -> bytes:
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    template = environment.from_string(_packaged("report.html.j2").decode())
    return template.render(doc=laid_out.as_data()).encode()


def _packaged(name: str) -> bytes:
    folder = resources.files("fraudfl.report")
    return (folder / name if name == SCHEMA_FILE else folder / "templates" / name).read_bytes()
