"""The report of results as it is set in type: its cover, its sections, and the lines to sign on."""

from __future__ import annotations

from collections.abc import Iterator

from fraudfl.report.blocks import Text, Words, cell
from fraudfl.report.document import Document
from fraudfl.report.words import day, listed, minute, number
from fraudfl.results.drawn import pictures
from fraudfl.results.facts import Results
from fraudfl.results.sections.models import models, signatures
from fraudfl.results.sections.phases import phases
from fraudfl.results.sections.summary import how_to_read, summary
from fraudfl.results.sections.timeline import timeline

SIGNERS = ("For the committee", "For the operator")


def document(results: Results) -> Document:
    """Lay a report of results out."""
    about, drawn = f"Consortium {results.subject.consortium}", pictures(results)
    return Document(
        title="Results",
        subtitle=about,
        id=results.id,
        classification=results.classification,
        running=f"Results · {about}",
        facts=tuple((name, cell(words)) for name, words in _cover(results)),
        sections=(
            summary(results, drawn),
            timeline(results, drawn),
            *phases(results, drawn),
            models(results),
            how_to_read(),
            signatures(results),
        ),
        signers=SIGNERS,
    )


def _cover(results: Results) -> Iterator[tuple[str, Words]]:
    yield "Period", f"{day(results.first)} to {day(results.last)}" if results.first else "nothing on record yet"
    yield "Phases", listed([phase.name for phase in results.phases])
    banks = max((phase.took_part.asked for phase in results.phases), default=0)
    yield "Banks", number(banks)
    yield "Made on", minute(results.made_at)
    yield "Software", f"fraudfl {results.software.version}, files {results.software.program_digest[:12]}"
    yield "Setting", "simulated banks on one machine" if results.setting == "simulation" else "deployed banks"
    yield "Report", Text(results.id, "code")
    yield "Signed with", Text(results.signer, "code") if results.signer else Text("nothing", "strong")
