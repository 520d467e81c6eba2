"""What later phases will take: inputs and weights of the model, bytes on the wire, seconds, ε; each with its basis.

Bytes are exact for what has a fixed size: model deltas before Zstandard, masked vectors, plans, envelopes as the
assessment's own messages had them. Encoders, sketches and score histograms depend on data that nobody has counted yet;
for them there are rules of thumb, measured on generated data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fraudfl.assessment.profile import Profile
from fraudfl.errors import WireError
from fraudfl.features.declaration import declare
from fraudfl.features.sketch import sketch_size
from fraudfl.frozen import Frozen
from fraudfl.plan import Plan
from fraudfl.protocols import Kind
from fraudfl.summed import parts_of
from fraudfl.transfer.choice import most_bytes
from fraudfl.transfer.meter import ByteMeter
from fraudfl.transfer.squeeze import squeeze

_SOMETIMES_MISSING = frozenset({"fraud_rate", "distance", "since_last"})
"""Aggregates that are missing where there is no past."""
_ZSTD = {"float32": 0.86, "float16": 0.93, "int8": 0.9, "topk": 1.0}
"""What Zstandard leaves of encoded weights."""
_ENCODER_PER_NUMBER = {"quantile": 240.0, "both": 260.0, "robust": 25.0, "standard": 25.0}
"""Bytes of an encoder per numeric feature, squeezed."""
_PER_SKETCH_BIN, _PER_SCORE_BIN = 0.12, 0.17
"""Bytes of counts in the open per bin, most of which are empty; with noise none is, and each takes two."""
_NOISY_BIN = 2.0
_MODEL_VALUES = 210
"""Digests and numbers that name the model in a request."""
_REVEAL, _CONFIRM = 420, 320
"""A signed reveal, and a confirmation, up; the set of survivors they name comes on top."""
_PER_MEMBER = {"key": 190.0, "confirmation": 150.0}
"""Bytes per bank in lists of phase keys and of confirmations, squeezed; nearly all of it are signatures."""


@dataclass(frozen=True)
class Ahead:
    """A phase that is still to come.

    Attributes:
        banks: How many take part.
        cohort: How many of them are asked in a round; None for all.
        epsilon: What it costs each bank at most; None where nothing is promised.
        asked: What its gate asks of the lower end of a gain in AUPRC; None without such a gate.
    """

    plan: Plan
    banks: int
    cohort: int | None = None
    epsilon: float | None = None
    asked: float | None = None


@dataclass(frozen=True)
class Envelopes:
    """Bytes of messages beside what they carry, and of finding a bank, as an assessment's own messages had them."""

    down: float
    up: float
    hello: float

    @classmethod
    def measured(cls, meter: ByteMeter, published: int) -> Envelopes:
        """From the requests that brought the consortium's sums, and their replies, which brought nothing.

        Args:
            published: Bytes of the sums, as they were enclosed.
        """
        rows = [row for row in meter.to_rows() if row["kind"] == "readiness"]
        sizes = {way: _mean([row for row in rows if row["direction"] == way]) for way in ("down", "up")}
        hello = [row for row in meter.to_rows() if row["kind"] == "hello"]
        return cls(max(0.0, sizes["down"] - published), sizes["up"], 2 * _mean(hello))


class Estimate(Frozen):
    """What one phase will take.

    Attributes:
        inputs, weights: Of the model.
        bytes_up, bytes_down: Over all banks.
        seconds: From the first question to the last, without waiting for people and schedules.
        epsilon: For each bank at most; None where nothing is promised.
    """

    phase: str
    kind: str
    banks: int
    rounds: int
    inputs: int
    weights: int
    bytes_up: int
    bytes_down: int
    seconds: float
    epsilon: float | None
    delta: float | None


def expected_inputs(plan: Plan, profile: Profile) -> int:
    """Inputs that the encoder will have, as far as the profile tells which columns have missing values."""
    scales = 2 if plan.encoder.scaling == "both" else 1
    numbers = 0
    for feature in declare(plan.features, plan.contract):
        extra = feature.name in profile.spec.optional and profile.present(feature.name).high < 1
        numbers += scales + (feature.aggregate in _SOMETIMES_MISSING or extra)
    values = 0
    for column, listed in plan.encoder.categorical.items():
        counts = profile.categories(column)
        frequent = [value for value in listed if counts[value].value >= plan.encoder.min_category_count]
        values += len(frequent) + 1 + (profile.present(column).high < 1)
    return numbers + values


def traffic(ahead: Ahead, inputs: int, envelopes: Envelopes) -> tuple[int, int]:
    """Bytes up and down over all banks of a training phase."""
    plan, asked = ahead.plan, min(ahead.banks, ahead.cohort or ahead.banks)
    model = _Model(plan, inputs)
    totals = {"up": ahead.banks * envelopes.hello / 2, "down": ahead.banks * envelopes.hello / 2}

    def ask(kind: Kind, banks: int, down: float, up: float) -> None:
        totals["down"] += banks * (envelopes.down + down)
        totals["up"] += banks * (envelopes.up + up)
        if plan.secure_aggregation is not None and plan.secure_aggregation.recover and kind in _OPENED:
            members = banks / 4
            totals["down"] += banks * (2 * envelopes.down + 2 * members + _PER_MEMBER["confirmation"] * banks)
            totals["up"] += banks * (2 * envelopes.up + _CONFIRM + _REVEAL + 2 * members)

    keys = 0.0 if plan.secure_aggregation is None else _PER_MEMBER["key"]
    ask("join", ahead.banks, len(squeeze(plan.canonical_json())[1]), keys * 2)
    if plan.secure_aggregation is not None:
        ask("peers", ahead.banks, keys * ahead.banks, 0)
    if not plan.given_start:
        ask("sketch", asked, 0, _counts(plan, "sketch", inputs, asked))
    whole = most_bytes("float32", model.size, model.tensors) * _ZSTD["float32"] if plan.given_start else 0.0
    ask("train", asked, _MODEL_VALUES + model.encoder + whole, model.up(asked))
    for _ in range(plan.rounds - 1):
        # Who was not asked in the round before gets the model whole, and the encoder when it comes for the first time.
        ask("train", asked, _MODEL_VALUES + model.down(asked, ahead.banks), model.up(asked))
    late = (ahead.banks - asked) * model.encoder
    totals["down"] += late
    ask("evaluate", asked, _MODEL_VALUES + model.down(asked, ahead.banks), _counts(plan, "evaluate", inputs, asked))
    if plan.alone:
        ask("alone", asked, _MODEL_VALUES, _counts(plan, "alone", inputs, asked))
        ask("gain", asked, _MODEL_VALUES, _counts(plan, "gain", inputs, asked))
    return round(totals["up"]), round(totals["down"])


_OPENED: frozenset[Kind] = frozenset({"sketch", "train", "evaluate", "alone", "gain"})


@dataclass(frozen=True)
class _Model:
    plan: Plan
    inputs: int

    @property
    def size(self) -> int:
        return self.plan.model.size(self.inputs)

    @property
    def tensors(self) -> int:
        return 2 * (len(self.plan.model.widths(self.inputs)) - 1)

    @property
    def encoder(self) -> float:
        per_number = _ENCODER_PER_NUMBER[self.plan.encoder.scaling]
        return 0.0 if self.plan.given_start else per_number * len(self.plan.encoder.numeric)

    def up(self, asked: int) -> float:
        """One update, with the histogram of the validation rows where the plan has one."""
        if self.plan.secure_aggregation is not None:
            return _masked(self.plan, "train", self.inputs, asked)
        codec = self.plan.codec
        update = most_bytes(codec.up, self.size, self.tensors, codec.keep) * _ZSTD[codec.up]
        looks = 0.0 if self.plan.private else _PER_SCORE_BIN * 2 * self.plan.score_bins.size / self.plan.evaluate_every
        return update + looks

    def down(self, asked: int, banks: int) -> float:
        """The model: a delta for who keeps up, whole for who does not."""
        down = self.plan.codec.down
        keeping = asked / banks
        whole = most_bytes("float32", self.size, self.tensors) * _ZSTD["float32"]
        return keeping * most_bytes(down, self.size, self.tensors) * _ZSTD[down] + (1 - keeping) * whole


def _counts(plan: Plan, kind: Kind, inputs: int, asked: int) -> float:
    """Bytes of one bank's counts of a kind."""
    if plan.secure_aggregation is not None:
        return _masked(plan, kind, inputs, asked)
    noisy = plan.mechanism(kind) is not None
    if kind == "sketch":
        return sketch_size(plan.encoder) * (_NOISY_BIN if noisy else _PER_SKETCH_BIN)
    if kind in ("evaluate", "alone"):
        return 4 * plan.score_bins.size * (_NOISY_BIN if noisy else _PER_SCORE_BIN)
    return 20.0


def _masked(plan: Plan, kind: Kind, inputs: int, asked: int) -> float:
    """Masked numbers look like noise: they take all of their bits."""
    return float(sum(math.ceil(part.size * part.encoding.bits / 8) for part in parts_of(plan, kind, inputs, asked)))


def _mean(rows: Sequence[Mapping[str, object]]) -> float:
    messages = sum(int(str(row["messages"])) for row in rows)
    if not messages:
        raise WireError("nothing was measured that an estimate could be made of")
    return sum(int(str(row["bytes"])) for row in rows) / messages
