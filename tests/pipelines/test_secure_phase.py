"""Phases under secure aggregation: the same model, from sums alone, whoever is lost and whatever dies on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from memory_fleet import SECURE, Consortium
from scipy import stats
from sealed_runs import Meant, begin, openings, overhear

from fraudfl.features.encoder import Encoder, fit_encoder
from fraudfl.features.sketch import Sketch
from fraudfl.metrics.histogram import ScoreHistogram
from fraudfl.protocols import SUMMED, Reply
from fraudfl.secagg.bitpack import unpack
from fraudfl.summed import parts_of
from fraudfl.transfer.frame import unframe
from pipelines.phase import run_phase
from pipelines.world import Phase

Make = Callable[..., Consortium]
TWO_ROUNDS = {**SECURE, "rounds": 2}
BANKS = tuple(f"bank-0{number}" for number in range(1, 7))


@dataclass
class Run:
    one: Consortium
    phase: Phase
    outcome: dict[str, Any]
    meant: Meant


@pytest.fixture(scope="module")
def run(shared: Make) -> Run:
    """A whole phase in which nothing goes wrong."""
    with pytest.MonkeyPatch.context() as patch:
        meant, one = overhear(patch), shared("secure", **TWO_ROUNDS)
        phase = one.phase()
        return Run(one, phase, run_phase(phase, ()), meant)


@pytest.fixture(scope="module")
def plain_model(shared: Make) -> np.ndarray[Any, Any]:
    """What the same phase gives when the coordinator sees each update."""
    one = shared("plain", rounds=2, baselines=[], strategy={"weighting": "equal"})
    phase = one.phase()
    run_phase(phase, ())
    return phase.state.model


def replies(one: Consortium) -> list[Reply]:
    return [unframe(copies[0]) for copies in one.fleet.sent.values()]


# What comes of it, and what the coordinator sees.


def test_the_model_is_the_one_that_single_updates_give(run: Run, plain_model: np.ndarray[Any, Any]) -> None:
    assert run.outcome["status"] == "completed"
    assert (run.outcome["banks"], run.outcome["rounds"], run.outcome["excluded"]) == (6, 2, [])
    np.testing.assert_allclose(run.phase.state.model, plain_model, rtol=0, atol=1e-5)
    start = run.one.checkpoints.kept[0].arrays["model"]
    assert np.abs(plain_model - start).max() > 500 * 1e-5  # it has moved


def test_figures_are_those_of_the_summed_histograms_to_the_last_count(run: Run) -> None:
    test = run.meant.summed("evaluate", 2, 1, "test", BANKS)
    expected = ScoreHistogram.from_vector(test.astype(np.int64), run.one.plan.score_bins).auprc()
    assert run.outcome["metrics"]["federated"]["auprc"] == expected


def test_the_encoder_is_fitted_from_the_exact_sum_of_sketches(run: Run) -> None:
    spec = run.one.plan.encoder
    total = Sketch.from_vector(spec, run.meant.summed("sketch", 0, 1, "sketch", BANKS).astype(np.int64))
    assert Encoder.from_bytes(run.phase.state.encoder).digest == fit_encoder(spec, total).digest


def test_beside_the_sums_a_reply_holds_nothing(run: Run) -> None:
    names = {"sketch": {"sketch"}, "train": {"update"}, "evaluate": {"validation", "test"}}
    summed = [reply for reply in replies(run.one) if reply.kind in SUMMED]
    assert len(summed) == 6 * (1 + 2 + 1)
    assert all(set(reply.payloads) == names[reply.kind] and dict(reply.values) == {} for reply in summed)
    assert all(set(figures) == {"banks", "seconds"} for figures in run.phase.state.history)


def test_no_masked_vector_is_or_resembles_the_one_it_hides_and_all_are_uniform(run: Run) -> None:
    width = Encoder.from_bytes(run.phase.state.encoder).width
    tested = 0
    for reply in replies(run.one):
        if reply.kind not in SUMMED:
            continue
        for part in parts_of(run.one.plan, reply.kind, width, 6):
            masked = unpack(reply.payloads[part.name], part.size, part.encoding.bits)
            own = run.meant.vectors[reply.bank, reply.key][part.name]
            encoded = part.encoding.encode(own, np.full(part.size, 0.5))
            assert np.count_nonzero(masked == encoded) <= 2
            assert abs(np.corrcoef(masked.astype(np.float64), encoded.astype(np.float64))[0, 1]) < 0.5
            classes = np.bincount((masked >> np.uint64(part.encoding.bits - 3)).astype(np.int64), minlength=8)
            # 30 vectors: one false alarm in ten thousand runs.
            assert stats.chisquare(classes).pvalue > 1e-4 / 30
            tested += 1
    assert tested == 6 * (1 + 2 + 2)


def test_every_bank_confirms_and_reveals_each_sum_once_for_one_set(run: Run) -> None:
    for kind in ("confirm", "reveal"):
        found = openings(run.one, kind)
        assert len(found) == 1 + 2 + 1
        assert all(set(banks) == set(BANKS) for banks in found.values())
        assert {spelled for banks in found.values() for sets in banks.values() for spelled in sets} == {"fc"}
        assert all(len(sets) == 1 for banks in found.values() for sets in banks.values())


def test_without_secure_aggregation_asked_for_nothing_of_it_is_in_a_banks_folder(consortium: Make) -> None:
    one = begin(consortium(rounds=1))
    assert not list(one.folders.glob("*/secagg"))
