"""The consortium's sums on their way to a bank: read back whole, and refused when they are about something else."""

from __future__ import annotations

import json

import numpy as np
import pytest
from bank_tables import CONTRACT, LISTS, SPLIT, bank_table

from fraudfl.assessment.counting import count_profile
from fraudfl.assessment.demands import Demands
from fraudfl.assessment.negotiated import negotiate
from fraudfl.assessment.profile import Profile
from fraudfl.assessment.published import MAX_BYTES, Published
from fraudfl.assessment.spec import profile_spec
from fraudfl.errors import WireError

SPEC = profile_spec(CONTRACT, SPLIT, LISTS)
PROFILE = Profile(SPEC, count_profile(bank_table(), SPEC, SPLIT) + 0.4, banks=3, deviation=2.5)
SENT = Published.of(PROFILE, negotiate(PROFILE, Demands())).to_bytes()


def test_it_reads_back_what_was_summed_and_agreed():
    read = Published.from_bytes(SENT, SPEC)
    assert np.array_equal(read.profile(SPEC).vector, np.rint(PROFILE.vector))
    assert (read.banks, read.deviation) == (3, 2.5)
    assert read.schema_ == negotiate(PROFILE, Demands())


@pytest.mark.parametrize(
    "change",
    [
        {"sums": [1, 2, 3]},
        {"sums": [1e300] * SPEC.size},
        {"sums": [0.5] * SPEC.size},
        {"banks": 0},
        {"deviation": -1},
        {"schema": {"doubtful": ["password"]}},
        {"more": 1},
    ],
)
def test_anything_else_is_refused(change):
    with pytest.raises(WireError):
        Published.from_bytes(json.dumps(json.loads(SENT) | change).encode(), SPEC)


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff\xfe", b" " * (MAX_BYTES + 1)])
def test_what_is_no_such_message_is_refused(data):
    with pytest.raises(WireError):
        Published.from_bytes(data, SPEC)
