"""What the consortium tells every bank after an assessment: the sums, how much noise is in them, and the schema."""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
from pydantic import Field, ValidationError

from fraudfl.assessment.negotiated import Schema
from fraudfl.assessment.profile import Profile
from fraudfl.assessment.spec import ProfileSpec
from fraudfl.errors import WireError
from fraudfl.frozen import Frozen

PAYLOAD = "consortium"
"""Under which name it travels in a request."""
MAX_BYTES = 16 * 2**20
_MOST = 2**53


class Published(Frozen):
    """The consortium's side of every bank's readiness report.

    Attributes:
        sums: The profile's sums over banks, rounded to whole numbers.
        banks: Over how many banks.
        deviation: Standard deviation of the noise in each sum.
        schema_: What later phases use; `schema` in JSON.
    """

    sums: tuple[Annotated[int, Field(gt=-_MOST, lt=_MOST)], ...] = Field(max_length=1_000_000)
    banks: int = Field(ge=1, le=1_000_000)
    deviation: float = Field(ge=0)
    schema_: Schema = Field(alias="schema")

    @classmethod
    def of(cls, profile: Profile, schema: Schema) -> Self:
        """Tell what was summed and agreed."""
        sums = tuple(np.rint(profile.vector).astype(np.int64).tolist())
        return cls.model_validate(
            {"sums": sums, "banks": profile.banks, "deviation": profile.deviation, "schema": schema}
        )

    def to_bytes(self) -> bytes:
        """As JSON."""
        return self.model_dump_json(by_alias=True).encode()

    @classmethod
    def from_bytes(cls, data: bytes, spec: ProfileSpec) -> Self:
        """Read what came from the coordinator.

        Raises:
            WireError: when it is not about this specification, or no such message at all.
        """
        if len(data) > MAX_BYTES:
            raise WireError(f"the consortium's sums take {len(data)} bytes; at most {MAX_BYTES} are read")
        try:
            published = cls.model_validate_json(data)
        except ValidationError as error:
            raise WireError(f"the consortium's sums cannot be read: {error.errors()[0]['msg']}") from error
        published.schema_.refuse_strangers(published.profile(spec))
        return published

    def profile(self, spec: ProfileSpec) -> Profile:
        """The sums with their names; raises WireError when they are not of this specification."""
        return Profile(spec, np.array(self.sums, dtype=np.float64), self.banks, self.deviation)
