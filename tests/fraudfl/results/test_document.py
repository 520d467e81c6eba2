"""What the report of results says, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fraudfl.results.document import document
from fraudfl.results.facts import Gate, PhaseResult, Results

Make = Callable[..., Results]
MakePhase = Callable[..., PhaseResult]


def runs(found: Any) -> Iterator[str]:
    """Every run of text, and what pictures say of themselves, in order."""
    if isinstance(found, dict):
        if "style" in found:
            yield found["text"]
            return
        if found.get("kind") == "picture":
            yield f"{found['caption']} {found['alt']}"
            return
        yield from (text for name, value in found.items() for text in runs(value) if name != "kind")
    elif isinstance(found, list | tuple):
        for one in found:
            yield from runs(one)
    elif isinstance(found, str):
        yield found


def text(results: Results, *numbers: str) -> str:
    sections = [one for one in document(results).as_data()["sections"] if not numbers or one["number"] in numbers]
    return " ".join(" ".join(runs(sections)).split())


def test_the_first_page_says_alone_and_federated_and_the_gain_with_intervals(results: Make) -> None:
    said = text(results(), "1")
    for words in (
        "85.0 % (80.0 to 90.0)",
        "92.0 % (87.0 to 97.0)",
        "+7.0 % (+4.0 to +10.0)",
        "Balanced accuracy XGBoost 85.0 %",
        "federated against training alone, on later transactions (exact)",
    ):
        assert words in said


def test_the_first_page_says_what_transfer_was_saved_and_what_privacy_cost(results: Make) -> None:
    said = text(results(), "1")
    assert "Data transfer saved: 80.0 % (62.0 to 91.0)" in said
    assert "55.0 % of CSV at the bank that saved least" in said
    assert "ε 3, 2.905 spent" in said
    assert "δ = 1e-07 per transaction, mode distributed" in said
    assert "12 of 12 banks took part" in said
    assert "Not covered by ε: score histograms." in said


def test_the_first_page_says_which_model_is_in_use_and_what_monitoring_saw(results: Make) -> None:
    said = text(results(), "1")
    assert "Champion: version 2 of phase rollout" in said
    assert "6 windows watched, 1 alert; 0 challengers became champion, 1 rollback." in said


def test_figures_that_banks_released_say_so_and_have_no_interval_that_nobody_computed(
    results: Make, phase: MakePhase
) -> None:
    bare = [one.model_copy(update={"gain": one.gain.model_copy(update={"low": None, "high": None})})
            for one in phase().compared]  # fmt: skip
    one = results(phases=(phase(source="released", compared=tuple(bare)),))
    assert "on later transactions (released)" in text(one, "1")
    assert "+7.0 % " in text(one, "1") + " "
    assert "+4.0" not in text(one, "1")
    assert "released: summed from what banks released, and accounted" in text(one, "3.1")


def test_at_banks_nothing_is_said_of_savings_that_nobody_can_measure(results: Make, phase: MakePhase) -> None:
    sizes = ("raw_csv", "raw_parquet", "vs_csv", "vs_parquet", "worst")
    moved = phase().transfer.model_copy(update=dict.fromkeys(sizes))
    said = text(results(phases=(phase(transfer=moved),)))
    assert "Data transferred: 4.0 MB up and 2.0 MB down; the raw data stays at the banks" in said
    assert "Nothing to compare with" in said
    assert "Data transfer saved" not in said


def test_every_gate_is_listed_with_its_reason_and_who_released_it(results: Make) -> None:
    said = text(results(), "2")
    assert "hold 0.02, between 0.01 and 0.03" in said
    assert "Ada Example 2026-03-02 12:00 UTC see the minutes" in said
    assert "↳ watch-retrain-1" in said


@pytest.mark.parametrize(("status", "outcome"), [("held", "hold"), ("gated", "fail")])
def test_what_keeps_the_consortium_from_going_on_is_on_the_first_page(
    results: Make, phase: MakePhase, status: str, outcome: str
) -> None:
    gate = Gate.model_validate({"name": "gain", "outcome": outcome, "reason": "it lost", "released": None})
    said = text(results(phases=(phase(status=status, gates=(gate,)),)), "1")
    assert f"Phase rollout is {status}. gain says {outcome}: it lost" in said


def test_each_phase_has_its_section_with_what_it_did(results: Make) -> None:
    one = results()
    titles = [section.title for section in document(one).sections]
    assert [title for title in titles if title.startswith("Phase ")] == [
        "Phase assessment",
        "Phase rollout",
        "Phase watch",
        "Phase watch-retrain-1",
    ]
    assert "leave it out: 3 of 12 banks have it" in text(one, "3.1")
    assert "passes with a chance of 67%" in text(one, "3.1")
    assert "Trained from version 1" in text(one, "3.2")
    assert "in 2, 3 and 3 rounds (fewest, median, most). Left out of a round: 4 times." in text(one, "3.2")
    assert "became champion: the challenger is better" in text(one, "3.2")
    assert "training round 3.9 MB 1.9 MB" in text(one, "3.2")
    assert "1 lose, 2 are about even, 8 gain, 1 have no fraud to test on" in text(one, "3.2")
    assert "psi_max is 0.31" in text(one, "3.3")
    assert "challenger watch-retrain-1, version 3: did not win" in text(one, "3.3")
    assert "back to version 1" in text(one, "3.3")
    assert "0.310 amount" in text(one, "3.3")
    assert "pilot, started by watch" not in text(one, "3.4")
    assert "rollout, started by watch" in text(one, "3.4")


def test_gains_that_noise_drowns_are_neither_drawn_nor_told(results: Make, phase: MakePhase) -> None:
    bins = phase().gains
    assert bins is not None
    drowned = phase(gains=bins.model_copy(update={"noise": 41.0, "counts": (0.0, 140.0, *bins.counts[2:])}))
    said = text(results(phases=(drowned,)), "3.1")
    assert "standard deviation of 41, and 12 banks took part: nothing can be read from it" in said
    assert "140" not in said


def test_models_stand_with_their_parents_and_the_decisions_about_them(results: Make) -> None:
    said = text(results(), "4")
    assert "2 champion rollout 1 6 0.400 (0.350 to 0.450) 3 " in said
    assert "1 previous pilot anew 6" in said
    assert "promote: version 2 in place of 1 phase rollout promote: if-better; auprc 0.5 against 0.4" in said


def test_a_model_that_holds_what_a_bank_released_that_left_says_so(results: Make) -> None:
    first, second = results().models
    held = results(models=(first, second.model_copy(update={"holds": ("north",)})))
    assert "Version 2 holds what north released, which is to be unlearned." in text(held, "4")


def test_problems_are_boxed_on_the_first_page(results: Make) -> None:
    assert "Record not in order. result.json was edited" in text(results(problems=("result.json was edited",)), "1")


def test_a_consortium_that_only_began_has_a_report_too(results: Make) -> None:
    first = results().phases[0]
    said = text(results(phases=(first,), headline="", models=(), decisions=()))
    assert "No phase has set federated training beside training alone yet." in said
    assert "No model is registered yet." in said


def test_a_report_is_named_after_what_it_says(results: Make) -> None:
    assert results().id == results().id
    assert results().id.startswith("RR-harbour-20260302-")
    assert results().id != results(problems=("another",)).id
