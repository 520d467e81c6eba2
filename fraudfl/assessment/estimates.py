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
from fraudfl.protocols import SUMMED, Kind
from fraudfl.summed import parts_of
from fraudfl.transfer.choice import most_bytes
from fraudfl.transfer.meter import ByteMeter
from fraudfl.transfer.squeeze import squeeze

_SOMETIMES_MISSING = frozenset({"fraud_rate", "distance", "since_last"})
"""Aggregates that are missing where there is no past."""
_ZSTD = {"float32": 0.86, "float16": 0.93, "int8": 0.9, "topk": 1.0}
"""What Zstandard leaves of encoded weights."""
_ENCODER_PER_NUMBER = {"quantile": 240.0, "both": 260.0, "robust": 25.0, "standard": 25.0}
_NOISY_KNOTS = 2.2
"""Bytes of an encoder per numeric feature, squeezed; noise in the sketches bends its curves that much more often."""
_SKETCH, _SCORES = 8.5, 7.5
"""Bytes of counts in the open, most of which are empty: of a sketch per column and rows^0.29, of scores per √rows."""
_NOISY_BIN = 2.0
"""Bytes of a count in the open that noise has filled."""
_MODEL_VALUES, _ADDRESS = 210, 100
"""Digests and numbers in a request: of the model, and of a cohort under secure aggregation."""
_KEY, _CONFIRM, _REVEAL = 510, 505, 535
"""What carries a signature, up: a phase key, a confirmation, a reveal; a set of survivors comes on top."""
_PER_MEMBER = {"key": 280.0, "confirmation": 140.0}
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


@dataclass(frozen=True)
class Rows:
    """Transactions of an ordinary bank in its windows; `train` holds the validation rows, too."""

    train: float
    test: float

    @classmethod
    def of(cls, profile: Profile) -> Rows:
        """The mean over the banks that were counted."""
        return cls(*(profile.rows_in(part).value / profile.banks for part in ("train", "test")))


def traffic(ahead: Ahead, inputs: int, rows: Rows, envelopes: Envelopes) -> tuple[int, int]:
    """Bytes up and down over all banks of a training phase."""
    plan, asked = ahead.plan, min(ahead.banks, ahead.cohort or ahead.banks)
    model, counts = _Model(plan, inputs), _Counts(plan, inputs, asked, rows)
    totals = {"up": ahead.banks * envelopes.hello / 2, "down": ahead.banks * envelopes.hello / 2}
    secure = plan.secure_aggregation

    def ask(kind: Kind, banks: int, down: float, up: float) -> None:
        totals["down"] += banks * (envelopes.down + down)
        totals["up"] += banks * (envelopes.up + up)
        if secure is None or kind not in SUMMED:
            return
        totals["down"] += banks * _ADDRESS
        if secure.recover:
            # Each is told, twice, who survived, and gets the confirmations of all.
            totals["down"] += banks * (2 * (envelopes.down + _ADDRESS) + _PER_MEMBER["confirmation"] * banks)
            totals["up"] += banks * (2 * envelopes.up + _CONFIRM + _REVEAL + banks / 2)

    ask("join", ahead.banks, len(squeeze(plan.canonical_json())[1]), 0 if secure is None else _KEY)
    if secure is not None:
        ask("peers", ahead.banks, _PER_MEMBER["key"] * ahead.banks, 0)
    if not plan.given_start:
        ask("sketch", asked, 0, counts.sketch)
    ask("train", asked, _MODEL_VALUES + model.first, model.up(asked) + counts.look)
    for _ in range(plan.rounds - 1):
        ask("train", asked, _MODEL_VALUES + model.down(asked, ahead.banks), model.up(asked) + counts.look)
    # Who was not asked in the first round gets the encoder later.
    totals["down"] += (ahead.banks - asked) * model.encoder
    last = _MODEL_VALUES + model.down(asked, ahead.banks)
    for _ in plan.looks:
        ask("look", asked, last, counts.scores("look") / 2)
    ask("evaluate", asked, last, counts.scores("evaluate"))
    if plan.alone:
        ask("alone", asked, _MODEL_VALUES, counts.scores("alone"))
        ask("gain", asked, last, counts.gain)
    return round(totals["up"]), round(totals["down"])


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
        bends = 1.0 if self.plan.encoder_noise is None else _NOISY_KNOTS
        return bends * _ENCODER_PER_NUMBER[self.plan.encoder.scaling] * len(self.plan.encoder.numeric)

    @property
    def first(self) -> float:
        """What comes with the first round: the encoder, and the model where it is not the public start."""
        return self.encoder + (self.whole if self.plan.given_start else 0.0)

    @property
    def whole(self) -> float:
        return most_bytes("float32", self.size, self.tensors) * _ZSTD["float32"]

    def up(self, asked: int) -> float:
        """One update."""
        if self.plan.secure_aggregation is not None:
            return _masked(self.plan, "train", self.inputs, asked)
        codec = self.plan.codec
        return most_bytes(codec.up, self.size, self.tensors, codec.keep) * _ZSTD[codec.up]

    def down(self, asked: int, banks: int) -> float:
        """The model: a delta for who keeps up, whole for who does not."""
        down, keeping = self.plan.codec.down, asked / banks
        return keeping * most_bytes(down, self.size, self.tensors) * _ZSTD[down] + (1 - keeping) * self.whole


@dataclass(frozen=True)
class _Counts:
    """Bytes of one bank's counts."""

    plan: Plan
    inputs: int
    asked: int
    rows: Rows

    @property
    def sketch(self) -> float:
        columns = len(self.plan.encoder.numeric) + len(self.plan.encoder.categorical)
        return self._of("sketch", sketch_size(self.plan.encoder), _SKETCH * columns * self.rows.train**0.29)

    @property
    def look(self) -> float:
        """The histogram of the validation rows that comes with an update in the open."""
        if self.plan.secure_aggregation is not None or self.plan.private:
            return 0.0
        return _SCORES * math.sqrt(self._validation) / self.plan.evaluate_every

    @property
    def gain(self) -> float:
        return self._of("gain", 12, 15.0)

    def scores(self, kind: Kind) -> float:
        return self._of(kind, 4 * self.plan.score_bins.size, _SCORES * math.sqrt(self._validation + self.rows.test))

    @property
    def _validation(self) -> float:
        split = self.plan.split
        if split.train_days is None:
            return self.rows.train * split.validation_share
        return self.rows.train * split.validation_days / (split.train_days[1] - split.train_days[0] + 1)

    def _of(self, kind: Kind, bins: int, exact: float) -> float:
        if self.plan.secure_aggregation is not None:
            return _masked(self.plan, kind, self.inputs, self.asked)
        return _NOISY_BIN * bins if self.plan.mechanism(kind) is not None else min(exact, float(bins))


def _masked(plan: Plan, kind: Kind, inputs: int, asked: int) -> float:
    """Masked numbers look like noise: they take all of their bits."""
    return float(sum(math.ceil(part.size * part.encoding.bits / 8) for part in parts_of(plan, kind, inputs, asked)))


def _mean(rows: Sequence[Mapping[str, object]]) -> float:
    messages = sum(int(str(row["messages"])) for row in rows)
    if not messages:
        raise WireError("nothing was measured that an estimate could be made of")
    return sum(int(str(row["bytes"])) for row in rows) / messages
