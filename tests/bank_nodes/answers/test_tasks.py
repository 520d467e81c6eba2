"""What a bank counts: with its noise where ε pays, and no more of one account than the plan's bound."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from memory_fleet import PRIVATE, asking, make_bank, plan_of, tiny_config
from numpy.typing import NDArray

from bank_nodes.answers.tasks import Tasks
from bank_nodes.gate.checks import check_draft
from fraudfl.data.simulate import GENERATED_CONTRACT, generate
from fraudfl.features.encoder import fit_encoder
from fraudfl.features.sketch import Sketch, sketch_size
from fraudfl.folder import BankFolder
from fraudfl.plan import Plan
from fraudfl.privacy.noise import NoiseSource
from fraudfl.protocols import Request
from fraudfl.transfer.model import start_vector, vector_digest
from fraudfl.transfer.pack import unpack_signed

K = 5


def private(unit: str = "transaction", **privacy: Any) -> dict[str, Any]:
    shares = {"encoder_share": 0.3, "evaluation_share": 0.3, "unit": unit, "account_rows": K}
    return {**PRIVATE, "privacy": {**PRIVATE["privacy"], **shares, **privacy}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> BankFolder:
    return make_bank(tmp_path_factory.mktemp("made") / "bank-01")


def released(folder: BankFolder, plan: Plan, noise: NoiseSource | None = None) -> NDArray[np.int64]:
    draft = Tasks(folder, noise or NoiseSource()).sketch(asking(plan, "sketch"), plan)
    check_draft(plan, "sketch", draft)
    assert draft.mechanism == plan.mechanism("sketch")
    return unpack_signed(draft.payloads["sketch"], sketch_size(plan.encoder))


def test_in_mode_local_a_sketch_carries_the_whole_noise_of_its_mechanism_in_whole_numbers(folder: BankFolder) -> None:
    plan = plan_of(**private())
    mechanism = plan.mechanism("sketch")
    assert mechanism is not None
    assert mechanism.share_deviation == pytest.approx(mechanism.noise_multiplier * np.sqrt(16))  # of 16 columns
    counts = folder.sketch(plan.features, plan.split, plan.encoder).without_labels().vector()
    noise = np.array([released(folder, plan) - counts for _ in range(6)])
    # 15,204 draws, rounded to whole numbers, which adds a variance of 1/12.
    assert noise.std() == pytest.approx(np.sqrt(mechanism.share_deviation**2 + 1 / 12), rel=0.03)
    assert abs(noise.mean()) < 0.04 * mechanism.share_deviation
    assert noise.min() < 0


def test_two_banks_with_equal_rows_release_different_sketches(folder: BankFolder) -> None:
    plan = plan_of(**private())
    first, second = released(folder, plan), released(folder, plan)
    assert np.count_nonzero(first == second) < 0.2 * len(first)
    same = (released(folder, plan, NoiseSource.for_tests(1)) for _ in range(2))
    assert next(same).tolist() == next(same).tolist()  # nothing but the source makes them differ


# One account with a thousand rows.


def one_more_account(path: Path) -> BankFolder:
    """The same bank, and an account that pays a thousand times within the training days, always the same amount."""
    table = generate(tiny_config().data.generator.model_copy(update={"transactions": 1000}), 1)
    begin = datetime(2025, 1, 8)
    facts: dict[str, list[Any]] = {
        "transaction_id": [10**9 + number for number in range(1000)],
        "time": [begin + timedelta(minutes=30 * number) for number in range(1000)],
        "label_time": [begin + timedelta(days=5, minutes=30 * number) for number in range(1000)],
        "account": [10**9] * 1000,
        "counterparty": [10**9] * 1000,
        "amount": [12345.0] * 1000,
        "label": [0] * 1000,
    }
    columns = {}
    for field in table.schema:
        values = facts.get(field.name)
        usual = table.column(field.name)[0].as_py()
        columns[field.name] = pa.array(values if values is not None else [usual] * 1000, field.type)
    rows = pa.concat_tables([table, pa.table(columns, schema=table.schema)])
    return BankFolder.create(path, "bank-01", rows, GENERATED_CONTRACT)


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> BankFolder:
    return one_more_account(tmp_path_factory.mktemp("busy") / "bank-01")


def test_an_account_of_a_thousand_rows_counts_at_most_its_bound_in_each_column_of_a_sketch(
    folder: BankFolder, busy: BankFolder
) -> None:
    plan = plan_of(**private("account"))
    assert plan.account_rows == K
    without, having = (
        one.sketch(plan.features, plan.split, plan.encoder, plan.account_rows).without_labels()
        for one in (folder, busy)
    )
    change = Sketch.from_vector(plan.encoder, having.vector() - without.vector()).counts
    moved = {name: int(np.abs(counts).sum()) for name, counts in change.items() if name != "label"}
    assert set(moved.values()) == {K}
    mechanism = plan.mechanism("sketch")
    assert mechanism is not None
    assert np.sqrt(sum(np.sum(counts**2) for counts in change.values())) <= mechanism.norm
    # Without the bound the same account moves each column by all of its rows.
    free = [one.sketch(plan.features, plan.split, plan.encoder).vector() for one in (folder, busy)]
    assert int(np.abs(free[1] - free[0]).sum()) > 100 * sum(moved.values())


def test_the_sketch_that_leaves_is_the_bounded_one(busy: BankFolder) -> None:
    plan = plan_of(**private("account"))
    counts = busy.sketch(plan.features, plan.split, plan.encoder, K).without_labels().vector()
    mechanism = plan.mechanism("sketch")
    assert mechanism is not None
    noise = released(busy, plan) - counts
    assert np.abs(noise).max() < 6 * mechanism.share_deviation
    assert noise.std() == pytest.approx(mechanism.share_deviation, rel=0.06)


class _Silent(NoiseSource):
    """No noise at all, to look at what lies under it."""

    def gaussian(self, shape: int | tuple[int, ...]) -> NDArray[np.float64]:
        return np.zeros(shape)


def histograms(folder: BankFolder, plan: Plan) -> dict[str, NDArray[np.int64]]:
    sketch = folder.sketch(plan.features, plan.split, plan.encoder)
    encoder = fit_encoder(plan.encoder, sketch)
    model = start_vector(plan, encoder.width, {})
    values = {"version": 0, "model": vector_digest(model), "encoder": encoder.digest}
    request: Request = asking(plan, "evaluate", values=values, payloads={"encoder": encoder.to_bytes()})
    draft = Tasks(folder, _Silent()).evaluate(request, plan)
    return {part: unpack_signed(data, 2 * plan.score_bins.size) for part, data in draft.payloads.items()}


@pytest.mark.parametrize(("unit", "most"), [("account", K), ("transaction", 1000)])
def test_an_account_of_many_rows_counts_at_most_its_bound_in_a_score_histogram(
    busy: BankFolder, unit: str, most: int
) -> None:
    plan = plan_of(**private(unit))
    counts = histograms(busy, plan)
    rows = {part: busy.rows(plan.features, plan.split, _encoder(busy, plan), part) for part in counts}
    for part, found in counts.items():
        accounts = np.unique(rows[part].clusters, return_counts=True)[1]
        assert found.sum() == np.minimum(accounts, most).sum()
        assert (found >= 0).all()
    assert np.unique(rows["validation"].clusters, return_counts=True)[1].max() > K


def _encoder(folder: BankFolder, plan: Plan) -> Any:
    return fit_encoder(plan.encoder, folder.sketch(plan.features, plan.split, plan.encoder))
