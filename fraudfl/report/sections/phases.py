"""Section 2: each phase: what was trained, who approved it, what was promised and spent, what left."""

from __future__ import annotations

from collections.abc import Iterator

from fraudfl.report.blocks import Block, Cell, Column, Heading, Paragraph, Section, Text, Words, facts, paragraph, table
from fraudfl.report.facts import Content, Decided, Left, Phase, Promise, Report, Secure, Spending
from fraudfl.report.sections.participation import participation
from fraudfl.report.words import NONE, count_of, eps, mechanism, minute, number, size, small

KINDS = {
    "join": "plan accepted",
    "peers": "keys exchanged",
    "sketch": "encoder",
    "train": "training round",
    "look": "look at a model in training",
    "evaluate": "evaluation",
    "alone": "model trained alone",
    "gain": "bin of gain",
    "confirm": "survivors confirmed",
    "reveal": "masks opened",
}
_REFUSALS = {
    "NotApproved": "nobody had approved the plan, or the approval was taken back",
    "NotNow": "the bank's hours were closed",
    "PrivacyError": "a cap on ε would have been passed",
    "ReleaseRefused": "the gate's rules or the policy's caps forbade it",
    "PlanError": "the request did not fit the plan",
    "WireError": "the request was malformed",
}
_BASIS = {
    "ledger": "this bank's ledger",
    "ledgers-on-this-machine": "the ledgers of the simulated banks; the largest of all banks is stated",
    "heard-by-coordinator": "the updates that the coordinator received, at the bank with most of them. A bank may have "
    "been charged for more, and its own report says so; its gate never lets it pass the cap",
}
_MODES = {
    "none": "none: no noise is added, and nothing is promised",
    "local": "local: each bank adds all of the noise itself, and nobody needs to be trusted",
    "distributed": "distributed: each bank adds a share of the noise, and only noisy sums become visible",
}

_COORDINATOR = {
    "malicious": "The coordinator may lie: banks confirm each other's view of who took part, by signatures, first.",
    "honest-but-curious": "The coordinator is taken to be honest but curious: banks do not confirm each other's view "
    "of who took part, and a coordinator that lies about it would not be detected.",
}


def phases(report: Report) -> Iterator[Section]:
    """One section for all, and one below it for each phase."""
    bank = report.subject.kind == "bank"
    yield Section("2", "Phases", tuple(_beyond(report)))
    for place, phase in enumerate(report.phases, start=1):
        yield Section(f"2.{place}", f"Phase {phase.name}", tuple(_phase(phase, bank=bank)))


def _beyond(report: Report) -> Iterator[Paragraph]:
    """What came to nothing: a coordinator can name as many plans as it likes."""
    if not report.phases:
        yield paragraph("Nothing was decided on, and nothing has left.")
    if report.undecided:
        offered = count_of(report.undecided, "further plan was", "further plans were")
        yield paragraph(f"{offered} offered and not decided on; nothing has left under them.")
    if report.unasked:
        requests = count_of(report.unasked, "request was", "requests were")
        yield paragraph(f"{requests} refused under plans that were never offered to this bank.")


def _phase(phase: Phase, *, bank: bool) -> Iterator[Block]:
    yield facts(_identity(phase))
    if bank:
        yield from _decisions(phase)
    if phase.promise is not None:
        yield Heading("Privacy promised and spent")
        yield facts(_privacy(phase.promise, phase.spending))
    yield Heading("What left the bank" if bank else "What left the banks")
    yield from _what_left(phase, bank=bank)
    if phase.plan_known:
        yield Heading("Secure aggregation and cohort")
        yield _secure(phase.secure, phase.promise)
    if not bank:
        yield from participation(phase)


def _identity(phase: Phase) -> Iterator[tuple[str, Words]]:
    yield "Plan hash", Text(phase.plan_hash, "code")
    if phase.kind:
        yield "Kind of phase", phase.kind
    yield "Status", phase.status
    yield "First and last record", f"{minute(phase.began)} to {minute(phase.ended)}"
    trained = phase.trained
    if trained is None:
        yield "Plan", "its text cannot be read by this version of the software; only records are stated"
        return
    yield "Model", trained.model
    yield "Combined by", trained.strategy
    times = count_of(trained.attempts, "time")
    yield "Rounds", f"{number(trained.rounds_done)} of {number(trained.rounds_planned)}, each tried at most {times}"


def _decisions(phase: Phase) -> Iterator[Block]:
    yield Heading("Who decided")
    if not phase.decisions:
        yield paragraph("Nobody has decided on this plan; nothing may leave under it.")
        return
    columns = (Column("Decision", share=2), Column("By", share=3), Column("When", share=3), Column("Reason", share=5))
    yield table(columns, map(_decision_row, phase.decisions))
    yield paragraph("Each decision is signed with the bank's key and names the one before; all were checked.")


def _decision_row(one: Decided) -> list[Words]:
    said = {"approve": "approved", "reject": "rejected", "revoke": "revoked"}[one.decision]
    return [said, "the policy's rules" if one.by == "policy" else one.by, minute(one.at), one.reason or NONE]


def _privacy(promise: Promise, spending: Spending | None) -> Iterator[tuple[str, Words]]:
    yield "Mode", _MODES[promise.mode]
    if promise.mode == "none" or spending is None:
        return
    rows = f", of which a release uses at most {count_of(promise.unit_rows, 'transaction')}"
    yield "Unit", f"one {promise.unit}{rows if promise.unit == 'account' else ''}, added or removed"
    limit = f"at most 1/(10·{number(promise.units)}) = {small(promise.delta_limit)} was allowed"
    yield "δ", f"{small(promise.delta)}; {limit}"
    cap = "" if spending.cap is None else f" of {small(spending.cap)}; {eps(spending.left)} left"
    yield "ε spent", (Text(eps(spending.epsilon), "strong"), Text(f"{cap}, against the coordinator and outsiders"))
    yield "ε with colluding banks", _colluding(spending, promise)
    yield "Charged", f"{count_of(spending.charges, 'release')}, each before its work began"
    yield "Composed by", spending.method
    yield "Read from", _BASIS[spending.basis]


def _colluding(spending: Spending, promise: Promise) -> str:
    if promise.mode == "local":
        return "the same: each bank's noise is its own, and no other bank's silence is needed"
    if spending.epsilon_colluding is None:
        return "not stated: the plan takes no bank to collude (t = 0)"
    banks = count_of(spending.colluding, "bank")
    return f"{eps(spending.epsilon_colluding)}, against the coordinator with up to {banks} that give their noise away"


def _what_left(phase: Phase, *, bank: bool) -> Iterator[Block]:
    columns = (
        Column("In answer to", share=3),
        Column("Content", share=5),
        Column("Paid for by (each)", share=5),
        Column("Releases", "right"),
        Column("Bytes", "right"),
    )
    rows = [_left_row(left) for left in phase.left if left.releases or left.contents]
    yield table(columns, rows) if rows else paragraph("Nothing.")
    yield _remarks(phase, bank=bank)


def _left_row(left: Left) -> list[Words]:
    paid: Words = mechanism(left.mechanism)
    if any(not content.covered for content in left.contents):
        paid = (
            Text("NOT COVERED", "red")
            if left.mechanism is None
            else (Text("in part: "), Text(mechanism(left.mechanism)))
        )
    elif not left.contents:
        paid = "depends on no data"
    return [
        KINDS.get(left.kind, left.kind),
        _contents(left.contents),
        paid,
        number(left.releases),
        NONE if left.bytes is None else size(left.bytes),
    ]


def _contents(contents: tuple[Content, ...]) -> Cell:
    if not contents:
        return (Text("no figures", "muted"),)
    words: list[Text] = []
    for content in contents:
        if words:
            words.append(Text("; "))
        words.append(Text(content.name, "plain" if content.covered else "red"))
        words.append(Text(" (in sums only)" if content.summed else "", "muted"))
    return tuple(words)


def _remarks(phase: Phase, *, bank: bool) -> Paragraph:
    again = sum(left.resent for left in phase.left)
    said = []
    if bank:
        sent = size(sum(left.bytes_resent for left in phase.left))
        said.append(f"Sent again, byte for byte and at no cost: {again:,} times, {sent}.")
        said.append(f"Charged and never left: {number(phase.open)}.")
        said.append(f"Charged again after a restoration from a backup: {number(phase.restored)}.")
    reasons = [f"{number(count)} because {_REFUSALS.get(kind, f'of {kind}')}" for kind, count in phase.refused.items()]
    said.append(f"Refused requests: {'; '.join(reasons)}." if reasons else "No request was refused.")
    return paragraph(" ".join(said if bank else _measured(phase)))


def _measured(phase: Phase) -> Iterator[str]:
    yield "Releases are the replies that the coordinator received; bytes by kind include refusals."
    if any(left.releases and left.bytes is None for left in phase.left):
        yield "What came after the last round was not counted by kind."
    if phase.measured_up is not None and phase.measured_down is not None:
        yield f"Measured in all: {size(phase.measured_up)} from banks, {size(phase.measured_down)} to banks."


def _secure(secure: Secure | None, promise: Promise | None) -> Paragraph:
    if secure is None:
        noise = ", with that bank's noise in it" if promise is not None and promise.mode == "local" else ""
        return paragraph(f"No secure aggregation: the coordinator saw each bank's own figures{noise}.")
    m, t = secure.min_cohort, secure.colluding
    taken = "no bank is taken to collude" if t == 0 else f"up to {count_of(t, 'bank')} may work with the coordinator"
    return paragraph(
        f"The coordinator sees sums over at least m = {m} banks and no bank's own figures; {taken} (t = {t}), so that "
        f"each opened sum holds at least {m - t} honest banks. {_exchange(secure)}"
    )


def _exchange(secure: Secure) -> str:
    if not secure.recover:
        return (
            "There is one exchange a round, and nothing is ever opened for a lost bank: a round that misses a bank of "
            "its cohort is dropped, and its next attempt is charged as a new release."
        )
    return (
        f"A sum can be opened although banks were lost before they sent their part. {_COORDINATOR[secure.coordinator]}"
    )
