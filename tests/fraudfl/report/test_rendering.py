"""Three files that say the same: deterministic, self-contained, and deaf to markup in what others wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from importlib import resources
from typing import Any

import jsonschema
import pytest
import typst

from fraudfl.report.document import document
from fraudfl.report.facts import Decided, Phase, Report
from fraudfl.report.rendering import json_schema, made_schema, render

Make = Callable[..., Report]
HOSTILE = (
    '#panic("read as markup") <script>alert(1)</script> & "quoted" ${x} {{ 7*7 }} $ _a_ *b* \\ @ref `r` http://x.y'
)
CONTROL = "two\nlines \x1b[31m and \u202e back"
TEMPLATE = resources.files("fraudfl.report") / "templates" / "report.typ"


class Page(HTMLParser):
    """What a browser would find: tags, attributes and text."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.feed(data.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def headings(report: Report) -> list[str]:
    """The headings that the compiler finds on the pages."""
    found = typst.query(
        TEMPLATE.read_bytes(),
        "heading",
        ignore_system_fonts=True,
        sys_inputs={"document": json.dumps(document(report).as_data())},
    )
    return [_plain(one["body"]) for one in json.loads(found)]


def _plain(body: dict[str, Any]) -> str:
    if "children" in body:
        return "".join(_plain(child) for child in body["children"])
    return str(body.get("text", body.get("body", "")))


def pages(report: Report) -> int:
    inputs = {"document": json.dumps(document(report).as_data())}
    made = typst.compile(TEMPLATE.read_bytes(), format="png", ppi=4, ignore_system_fonts=True, sys_inputs=inputs)
    return len(made) if isinstance(made, list) else 1


def hostile(phase: Phase) -> Phase:
    decision = Decided(decision="approve", by=HOSTILE, at="2026-03-01T08:00:00+00:00", reason=CONTROL)
    return phase.model_copy(update={"name": HOSTILE, "decisions": (decision,), "refused": {HOSTILE: 1}})


def test_the_same_report_gives_the_same_bytes_and_another_time_other_ones(report: Make) -> None:
    assert render(report()) == render(report())
    later = render(report(made_at="2026-03-02T12:00:01+00:00"))
    assert all(later[name] != data for name, data in render(report()).items())


def test_the_pdf_is_an_archive_copy_of_a4_pages(report: Make) -> None:
    pdf = render(report())["report.pdf"]
    assert pdf.startswith(b"%PDF-1.7")
    assert b"<pdfaid:part>2</pdfaid:part>" in pdf
    assert b"<pdfaid:conformance>A</pdfaid:conformance>" in pdf
    assert b"595.2" in pdf


def test_every_section_is_on_the_pages_of_pdf_and_html(report: Make) -> None:
    one = report()
    titles = [section.title for section in document(one).sections]
    assert titles == [
        *("Summary", "Phases", "Phase rollout", "Empirical audit", "Data used", "Models and code"),
        *("Ledger and rules", "Regulatory mapping", "Glossary", "Signatures"),
    ]
    printed = " ".join(headings(one))
    shown = "".join(Page(render(one)["report.html"]).text)
    assert [title for title in titles if title not in printed or title not in shown] == []


def test_pdf_and_html_show_the_same_blocks(report: Make) -> None:
    one = report()
    shown = "".join(Page(render(one)["report.html"]).text)
    for section in document(one).as_data()["sections"]:
        for block in section["blocks"]:
            if block["kind"] == "table":
                for row in block["rows"]:
                    for cell in row:
                        assert "".join(part["text"] for part in cell) in shown


def test_html_brings_no_script_and_asks_for_nothing(report: Make) -> None:
    html = render(report())["report.html"]
    page = Page(html)
    assert not {"script", "link", "img", "iframe", "object", "a", "form"} & set(page.tags)
    assert not {"src", "href", "action", "onload", "onclick"} & {name for name, _ in page.attributes}
    assert b"url(" not in html
    assert b"@import" not in html
    policy = dict(page.attributes)["content"]
    assert "default-src 'none'" in html.decode()
    assert policy


def test_hostile_names_and_reasons_are_text_in_html(report: Make, phase: Callable[..., Phase]) -> None:
    html = render(report(phases=(hostile(phase()),), problems=(HOSTILE,)))["report.html"]
    assert "script" not in Page(html).tags
    assert HOSTILE in "".join(Page(html).text)
    assert "two\\u000alines \\u001b[31m and \\u202e back" in "".join(Page(html).text)


def test_hostile_names_and_reasons_are_text_on_the_pages(report: Make, phase: Callable[..., Phase]) -> None:
    with pytest.raises(typst.TypstError, match="read as markup"):
        typst.compile(HOSTILE.encode())  # read as markup, it would stop the compiler
    one = report(phases=(hostile(phase()),), problems=(HOSTILE,))
    assert render(one)["report.pdf"].startswith(b"%PDF")
    assert any(HOSTILE in heading.replace("\u200b", "") for heading in headings(one))


def test_json_keeps_the_published_schema(report: Make, consortium: Make) -> None:
    schema = json_schema()
    assert schema == made_schema(), "write report.schema.json anew"
    jsonschema.Draft202012Validator.check_schema(schema)
    for one in (report(), consortium(3, 5), report(phases=(), audit=None, totals=(), ledgers=())):
        jsonschema.validate(json.loads(render(one)["report.json"]), schema)
    spoilt = json.loads(render(report())["report.json"]) | {"setting": "somewhere"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoilt, schema)


def test_json_is_sorted_and_reads_back_as_the_same_report(report: Make) -> None:
    one = report()
    data = render(one)["report.json"]
    assert Report.model_validate_json(data) == one
    facts = json.loads(data)
    assert data.decode() == json.dumps(facts, sort_keys=True, indent=2, ensure_ascii=False) + "\n"


def test_three_thousand_rounds_at_two_hundred_banks_stay_readable(consortium: Make) -> None:
    few, many = consortium(20, 12), consortium(200, 3000)
    assert pages(many) <= pages(few) + 1
    assert len(json.loads(render(many)["report.json"])["phases"][0]["participants"]) == 200


def test_the_lines_to_sign_on_have_the_last_page_to_themselves(report: Make) -> None:
    last = document(report()).sections[-1]
    assert (last.title, last.apart) == ("Signatures", True)
    texts = Page(render(report())["report.html"]).text
    assert [text for text in texts if text in ("Name", "Date", "Signature")] == 2 * ["Name", "Date", "Signature"]
