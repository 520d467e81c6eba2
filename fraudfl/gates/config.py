"""A gate's condition as the consortium's YAML writes it, checked before anything starts."""

from __future__ import annotations

import difflib
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, field_validator, model_validator

from fraudfl.frozen import Frozen, Name
from fraudfl.gates.measures import BANKS_LOSING, MEASURES, Baseline
from fraudfl.metrics.gain_bins import GAIN_EDGES

Verdict = Literal["pass", "hold", "fail"]
Bound = Literal["lower", "upper", "point"]


class GateConfig(Frozen):
    """One condition that a phase's figures must meet before the consortium goes on.

    Attributes:
        name: What the gate is called in the summary and by the operator.
        measure: What it looks at; see docs/gates.md.
        at_least, at_most: The threshold; exactly one of both.
        more_than: For `banks_losing`: the loss in AUPRC above which a bank counts, such as 0.01.
        bound: Which end of the 95 % interval must meet the threshold. By default the cautious one, `lower` for
            `at_least` and `upper` for `at_most`; the other end asks only that a miss is not shown; `point` asks the
            figure itself, whatever its error.
        unsure: What to say when the cautious end misses the threshold and the other one meets it; `hold` by default.
        missing: What to say when the outcome does not hold the measure, or not the interval that is asked for.
    """

    name: Name
    measure: str
    at_least: float | None = None
    at_most: float | None = None
    more_than: float | None = None
    bound: Bound | None = None
    unsure: Verdict | None = None
    missing: Literal["hold", "fail"] = "hold"

    @field_validator("measure")
    @classmethod
    def _measure_is_known(cls, measure: str) -> str:
        if measure not in MEASURES:
            near = difflib.get_close_matches(measure, MEASURES, n=1)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            raise ValueError(f"no such measure{hint} Known are: {', '.join(sorted(MEASURES))}")
        return measure

    @model_validator(mode="after")
    def _threshold_fits(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(f"gate {self.name!r} needs exactly one of `at_least` and `at_most`")
        measure = MEASURES[self.measure]
        if not measure.low <= self.threshold <= measure.high:
            raise ValueError(
                f"gate {self.name!r} asks for {self.threshold:g}, but {self.measure} lies between {measure.low:g} and "
                f"{measure.high:g}; shares are written as 0.05, not as 5"
            )
        return self

    @model_validator(mode="after")
    def _loss_is_an_edge(self) -> Self:
        if (self.measure == BANKS_LOSING) != (self.more_than is not None):
            raise ValueError(f"`more_than` belongs to measure `{BANKS_LOSING}`, which needs it, and to no other")
        losses = [-edge for edge in reversed(GAIN_EDGES) if edge < 0]
        if self.more_than is not None and self.more_than not in losses:
            known = ", ".join(f"{loss:g}" for loss in losses)
            raise ValueError(f"`more_than` is {self.more_than:g}; banks are counted for losses over {known}")
        return self

    @model_validator(mode="after")
    def _unsure_can_happen(self) -> Self:
        if self.unsure is not None and self.deciding != self.cautious:
            raise ValueError(
                f"`unsure` has no meaning beside `bound: {self.bound}`, which is always sure; leave it out"
            )
        return self

    @property
    def threshold(self) -> float:
        """What is asked for."""
        asked = self.at_least if self.at_least is not None else self.at_most
        assert asked is not None  # validated: one of both is there
        return asked

    @property
    def cautious(self) -> Bound:
        """The end of an interval that is the harder one to meet the threshold with."""
        return "lower" if self.at_least is not None else "upper"

    @property
    def deciding(self) -> Bound:
        """The end that decides."""
        return self.bound or self.cautious

    @property
    def baselines(self) -> tuple[Baseline, ...]:
        """What the phase must be compared with, or this gate could only ever say `missing`."""
        return MEASURES[self.measure].baselines

    def met_by(self, value: float) -> bool:
        """Whether a figure meets the threshold."""
        return value >= self.threshold if self.at_least is not None else value <= self.threshold


def _distinct(gates: tuple[GateConfig, ...]) -> tuple[GateConfig, ...]:
    names = [gate.name for gate in gates]
    if len(set(names)) != len(names):
        raise ValueError(f"gate names must be distinct; found {', '.join(names)}")
    return gates


Gates = Annotated[tuple[GateConfig, ...], AfterValidator(_distinct)]
"""A phase's gates."""
