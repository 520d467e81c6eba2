"""What the pages say, and in which colour."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fraudfl.report.document import document
from fraudfl.report.facts import AuditResult, Content, Left, Phase, Promise, Report, Secure, Subject

Make = Callable[..., Report]
MakePhase = Callable[..., Phase]


def parts(found: Any) -> Iterator[tuple[str, str]]:
    """Every run of text with its style, wherever it stands."""
    if isinstance(found, dict):
        if "style" in found:
            yield found["text"], found["style"]
        else:
            for value in found.values():
                yield from parts(value)
    elif isinstance(found, list | tuple):
        for value in found:
            yield from parts(value)


def text(report: Report, *numbers: str) -> str:
    """All text of some sections, or of all."""
    sections = [one for one in document(report).as_data()["sections"] if not numbers or one["number"] in numbers]
    return " ".join(words for words, _ in parts(sections))


def red(report: Report) -> set[str]:
    return {words for words, style in parts(document(report).as_data()) if style == "red"}


def uncovered(phase: Phase, name: str) -> Phase:
    one = phase.left[-1].model_copy(update={"contents": (Content(name=name, covered=False, summed=False),)})
    return phase.model_copy(update={"left": (*phase.left[:-1], one)})


def test_what_no_epsilon_covers_is_red_under_the_plans_own_name_and_nothing_else_is(
    report: Make, phase: MakePhase
) -> None:
    one = report(phases=(uncovered(phase(), "label counts"),), policy=None)
    assert red(one) == {"label counts", "NOT COVERED", "Not covered by any ε: "}


def test_nothing_is_red_where_everything_is_covered(report: Make, phase: MakePhase) -> None:
    covered = phase(left=phase().left[:-1])
    one = report(phases=(covered,), policy=None)
    assert red(one) == set()
    assert "Everything that left and depends on data is covered by ε." in text(one, "1")


def test_an_uncovered_content_that_never_left_is_listed_but_not_counted_as_left(report: Make, phase: MakePhase) -> None:
    waiting = phase().left[-1].model_copy(update={"releases": 0, "bytes": 0})
    one = report(phases=(phase(left=(*phase().left[:-1], waiting)),), policy=None)
    assert "Not covered by any ε" not in text(one, "1")
    assert "score histograms" in red(one)


def test_both_readings_of_epsilon_stand_beside_delta_and_unit(report: Make) -> None:
    assert "2.713 of 3; 0.287 left, against the coordinator and outsiders" in text(report(), "2.1").replace("  ", " ")
    assert "3.211, against the coordinator with up to 2 banks that give their noise away" in text(report(), "2.1")
    assert "3.211 (t = 2)" in text(report(), "1")
    assert "10⁻⁷; at most 1/(10·1,000,000) = 10⁻⁷ was allowed" in text(report(), "2.1")


def test_a_phase_without_privacy_promises_nothing_and_says_so(report: Make, phase: MakePhase) -> None:
    promise = Promise(
        mode="none", unit="transaction", unit_rows=1, epsilon=None, delta=1e-6, units=10, delta_limit=0.01
    )
    one = report(phases=(phase(promise=promise, spending=None, secure=None),), totals=())
    assert "none promised" in text(one, "1")
    assert "How to read it" not in text(one, "1")
    assert "none: no noise is added, and nothing is promised" in text(one, "2.1")


def test_an_accounts_bound_is_part_of_what_epsilon_means(report: Make, phase: MakePhase) -> None:
    promise = Promise(mode="local", unit="account", unit_rows=16, epsilon=3.0, delta=1e-7, units=10, delta_limit=0.01)
    said = text(report(phases=(phase(promise=promise),)))
    assert "one account, of which each release uses at most 16 transactions," in said
    assert "the same: each bank's noise is its own" in said


@pytest.mark.parametrize(
    ("secure", "said"),
    [
        (None, "No secure aggregation: the coordinator saw each bank's own figures."),
        (
            Secure(min_cohort=5, colluding=1, coordinator="malicious", recover=True),
            "at least m = 5 banks and no bank's own figures; up to 1 bank may work with the coordinator (t = 1), so "
            "that each opened sum holds at least 4 honest banks. A sum can be opened although banks were lost before "
            "they sent their part. The coordinator may lie: banks confirm each other's view",
        ),
        (
            Secure(min_cohort=5, colluding=0, coordinator="honest-but-curious", recover=True),
            "no bank is taken to collude (t = 0), so that each opened sum holds at least 5 honest banks. A sum can be "
            "opened although banks were lost before they sent their part. The coordinator is taken to be honest but "
            "curious: banks do not confirm",
        ),
        (
            Secure(min_cohort=5, colluding=0, coordinator="honest-but-curious", recover=False),
            "There is one exchange a round, and nothing is ever opened for a lost bank",
        ),
    ],
)
def test_secure_aggregation_is_stated_with_whom_it_takes_to_be_honest(
    report: Make, phase: MakePhase, secure: Secure | None, said: str
) -> None:
    assert said in text(report(phases=(phase(secure=secure),)), "2.1")


def test_without_an_audit_the_report_says_that_none_was_run(report: Make) -> None:
    assert "No audit was run." in text(report(audit=None), "3")
    assert "no empirical audit was run" in text(report(audit=None), "7")


def test_a_refuted_claim_stands_out(report: Make) -> None:
    refuted = AuditResult(
        name="in/out, half noise",
        mechanism="dp-sgd",
        claimed=3.0,
        lower_bound=6.1,
        confidence=0.999,
        trials=6000,
        verdict="violated",
    )
    one = report(audit=(refuted,))
    assert ("violated", "strong") in set(parts(document(one).as_data()))
    assert "REFUTED or open: in/out, half noise" in text(one, "7")
    assert "99.9 %" in text(one, "3")


def test_a_ledger_that_does_not_verify_is_on_the_first_page_and_in_the_mapping(report: Make) -> None:
    broken = report().ledgers[0].model_copy(update={"verified": False, "problem": "entry 7 was altered"})
    one = report(ledgers=(broken,), problems=("The ledger does not verify: entry 7 was altered",))
    assert "Record not in order.  The ledger does not verify: entry 7" in text(one, "1")
    assert "NOT IN ORDER: entry 7 was altered" in text(one, "6")
    assert "The ledger of north is NOT in order." in text(one, "7")


def test_the_consortiums_report_leaves_data_and_approvals_to_the_banks(consortium: Make) -> None:
    one = consortium(3, 5)
    assert "Who decided" not in [
        block.get("text") for section in document(one).as_data()["sections"] for block in section["blocks"]
    ]
    assert "The coordinator holds no count and no date of any bank's rows" in text(one, "4")
    assert "3 of 3 banks accepted the plan. They took part in 3, 4 and 5 rounds" in text(one, "2.1")


def test_of_many_banks_those_that_missed_most_are_named(consortium: Make) -> None:
    said = text(consortium(200, 3000), "2.1")
    assert "bank-199" in said
    assert "bank-000" not in said


def test_a_ledger_out_of_order_is_named_among_many(consortium: Make) -> None:
    one = consortium(200, 5)
    broken = one.ledgers[150].model_copy(update={"verified": False, "problem": "entry 7 was altered"})
    said = text(one.model_copy(update={"ledgers": (*one.ledgers[:150], broken, *one.ledgers[151:])}), "6")
    assert "bank-150" in said
    assert "1 not in order" in said


def test_a_plan_that_cannot_be_read_leaves_only_records(report: Make, phase: MakePhase) -> None:
    bare = phase(plan_known=False, trained=None, promise=None, secure=None, spending=None, data=None)
    said = text(report(phases=(bare,)), "2.1")
    assert "its text cannot be read by this version of the software" in said
    assert "Secure aggregation" not in said


def test_plans_and_requests_that_came_to_nothing_are_one_line_each(report: Make) -> None:
    said = text(report(undecided=3000, unasked=17), "2")
    assert "3,000 further plans were offered and not decided on" in said
    assert "17 requests were refused under plans that were never offered" in said


def test_an_empty_report_is_still_one(report: Make) -> None:
    one = report(phases=(), totals=(), ledgers=(), audit=None, first="", last="", signer="")
    assert "Nothing was decided on, and nothing has left." in text(one, "2")
    assert "Not signed: there is no key of the operator here." in text(one, "9")


def test_the_mapping_names_every_article_and_says_that_it_is_no_advice(report: Make) -> None:
    said = text(report(), "7")
    assert [
        found for found in ("5(1)(c)", "25 ", "30 ", "32 ", "35 ", "Validation", "Governance") if found not in said
    ] == []
    assert "They are not legal advice" in said


def test_a_report_is_named_after_what_it_says(report: Make) -> None:
    assert report().id == report().id
    assert report().id.startswith("PR-north-20260302-")
    assert report().id != report(unasked=1).id
    assert report(subject=Subject(kind="bank", name="south", consortium="small")).id.startswith("PR-south-")


def test_a_mechanism_in_part_is_not_taken_for_all(report: Make, phase: MakePhase) -> None:
    train = phase().left[2]
    mixed = Left.model_validate(
        train.model_dump() | {"contents": (*train.contents, Content(name="training loss", covered=False, summed=False))}
    )
    one = report(phases=(phase(left=(mixed,)),))
    assert "in part:" in text(one, "2.1")
    assert "training loss" in red(one)
