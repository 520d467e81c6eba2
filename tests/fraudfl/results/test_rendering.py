"""The report of results as files: deterministic, self-contained, with its pictures, and signed as what it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from fraudfl.errors import TrustError
from fraudfl.report.rendering import render_document
from fraudfl.report.sealing import SEAL_FILE, ResultsSeal, Seal, verify_report, write_sealed
from fraudfl.results.document import document
from fraudfl.results.drawn import pictures
from fraudfl.results.facts import Gate, PhaseResult, Results
from fraudfl.results.schema import made_results_schema, results_schema
from fraudfl.trust.keys import fingerprint, new_key, parse_signed, public_text

Make = Callable[..., Results]
KEY = new_key()
HOSTILE = '</svg><script>alert(1)</script> & "quoted" {{ 7*7 }} #panic("read")'
CONTROL = "two\nlines \x1b[31m and \u202e back"


def render(results: Results) -> dict[str, bytes]:
    return render_document(document(results), results, results.made_at)


@pytest.fixture
def folder(tmp_path: Path, results: Make) -> Path:
    """A report that was written and signed."""
    signed = results(signer=fingerprint(public_text(KEY)))
    write_sealed(signed, render(signed), tmp_path, KEY, ResultsSeal)
    return tmp_path


def test_the_same_results_give_the_same_bytes(results: Make) -> None:
    assert render(results()) == render(results())


def test_every_picture_is_in_the_pages_and_the_pdf_is_an_archive_copy(results: Make) -> None:
    one = results()
    made = render(one)
    html = made["report.html"].decode()
    assert [name for name, picture in pictures(one).items() if picture.svg not in html] == []
    assert made["report.pdf"].startswith(b"%PDF-1.7")
    assert b"<pdfaid:part>2</pdfaid:part>" in made["report.pdf"]


def test_the_pages_ask_for_nothing_and_run_nothing(results: Make) -> None:
    html = render(results())["report.html"].decode()
    for sign in ("<script", "<img", "<link", "url(", "@import", " href", " src", "onload"):
        assert sign not in html


def test_what_others_wrote_is_text_in_pages_and_pictures(results: Make, phase: Callable[..., PhaseResult]) -> None:
    held = Gate(name="gain", outcome="hold", reason=CONTROL, released=None)
    by = results().decisions[0].model_copy(update={"by": CONTROL, "reason": HOSTILE})
    spoilt = phase(name=HOSTILE, status="held", gates=(held,))
    one = results(phases=(spoilt,), headline=HOSTILE, problems=(HOSTILE + CONTROL,), decisions=(by,))
    made = render(one)
    assert "<script" not in made["report.html"].decode()
    assert "two\\u000alines \\u001b[31m and \\u202e back" in made["report.html"].decode()
    for picture in pictures(one).values():
        ElementTree.fromstring(picture.svg)
    assert made["report.pdf"].startswith(b"%PDF")


def test_json_keeps_the_published_schema_and_reads_back(results: Make) -> None:
    assert results_schema() == made_results_schema(), "write results.schema.json anew"
    jsonschema.Draft202012Validator.check_schema(results_schema())
    data = render(results())["report.json"]
    jsonschema.validate(json.loads(data), results_schema())
    assert Results.model_validate_json(data) == results()
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(data) | {"phases": 3}, results_schema())


def test_one_changed_byte_is_found_and_its_file_is_named(folder: Path) -> None:
    assert verify_report(folder, {public_text(KEY): "operator"}).subject == "harbour"
    for name in ("report.pdf", "report.html", "report.json"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
        with pytest.raises(TrustError, match=f"{name}: was changed after it was signed"):
            verify_report(folder, {})
        (folder / name).write_bytes(whole)


def test_a_seal_of_results_is_no_privacy_reports(folder: Path) -> None:
    data = (folder / SEAL_FILE).read_bytes()
    facts = json.loads(data)
    del facts["about"]
    with pytest.raises(TrustError):
        parse_signed(data, Seal, "there")
    (folder / SEAL_FILE).write_text(json.dumps(facts, sort_keys=True, separators=(",", ":")))
    with pytest.raises(TrustError, match="signature"):
        verify_report(folder, {})
