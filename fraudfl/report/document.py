"""A report as it is set in type: its cover, its sections, and the lines to sign on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from fraudfl.report.blocks import Cell, Section, Text, Words, as_data, cell
from fraudfl.report.facts import Report
from fraudfl.report.sections.closing import glossary, signatures
from fraudfl.report.sections.departures import departures
from fraudfl.report.sections.evidence import evidence
from fraudfl.report.sections.phases import phases
from fraudfl.report.sections.regulation import regulation
from fraudfl.report.sections.summary import summary
from fraudfl.report.words import day, minute

SIGNERS = ("Data protection officer", "Compliance officer")


@dataclass(frozen=True)
class Document:
    """All that a rendering needs.

    Attributes:
        facts: The cover's names and values.
        running: What stands at the head of every page.
        signers: Roles, each with lines for name, date and signature.
    """

    title: str
    subtitle: str
    id: str
    classification: str
    running: str
    facts: tuple[tuple[str, Cell], ...]
    sections: tuple[Section, ...]
    signers: tuple[str, ...]

    def as_data(self) -> dict[str, Any]:
        """The document as JSON values."""
        return asdict(self) | {"sections": as_data(self.sections)}


def document(report: Report) -> Document:
    """Lay a report out."""
    subject = report.subject
    about = f"Bank {subject.name}" if subject.kind == "bank" else f"Consortium {subject.consortium}"
    return Document(
        title="Privacy report",
        subtitle=about,
        id=report.id,
        classification=report.classification,
        running=f"Privacy report · {about}",
        facts=tuple((name, cell(words)) for name, words in _cover(report)),
        sections=(
            summary(report),
            *phases(report),
            *evidence(report),
            *departures(report),
            regulation(report),
            glossary(),
            signatures(report),
        ),
        signers=SIGNERS,
    )


def _cover(report: Report) -> Iterator[tuple[str, Words]]:
    yield "Consortium", report.subject.consortium or "none yet"
    yield "Period", f"{day(report.first)} to {day(report.last)}" if report.first else "nothing on record yet"
    yield "Made on", minute(report.made_at)
    yield "Software", f"fraudfl {report.software.version}, files {report.software.program_digest[:12]}"
    yield "Setting", "simulated banks on one machine" if report.setting == "simulation" else "deployed banks"
    yield "Report", Text(report.id, "code")
    yield "Signed with", Text(report.signer, "code") if report.signer else Text("nothing", "strong")
