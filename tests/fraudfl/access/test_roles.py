"""Who may do what."""

from __future__ import annotations

import pytest

from fraudfl.access.roles import Deed, Reader, Role
from fraudfl.errors import AccessRefused

BANKS = ["north", "south", "west"]
# Written down from the issue, and not from the table under test.
EXPECTED: dict[Role, set[Deed]] = {
    "viewer": {"look"},
    "analyst": {"look", "look at single banks"},
    "operator": {"look", "look at single banks", "look at records", "make reports", "promote or roll back"},
    "compliance": {"look", "look at single banks", "look at records", "make reports"},
}
EVERYTHING: set[Deed] = EXPECTED["operator"]


@pytest.mark.parametrize("role", EXPECTED)
def test_a_role_may_do_what_is_its_own_and_nothing_else(role: Role) -> None:
    assert {deed for deed in EVERYTHING if Reader(role).may(deed)} == EXPECTED[role]


@pytest.mark.parametrize("role", EXPECTED)
def test_whoever_is_of_one_bank_only_looks(role: Role) -> None:
    assert {deed for deed in EVERYTHING if Reader(role, bank="north").may(deed)} == {"look"}


@pytest.mark.parametrize("role", EXPECTED)
def test_a_bank_sees_its_own_figures_and_no_other_banks(role: Role) -> None:
    assert Reader(role, bank="south").banks_shown(BANKS) == ["south"]
    assert Reader(role, bank="east").banks_shown(BANKS) == []


def test_a_viewer_sees_no_single_bank() -> None:
    assert Reader("viewer").banks_shown(BANKS) == []


@pytest.mark.parametrize("role", ["analyst", "operator", "compliance"])
def test_others_of_the_consortium_see_every_bank(role: Role) -> None:
    assert Reader(role).banks_shown(iter(BANKS)) == BANKS


def test_a_refusal_says_who_may_not_and_who_may() -> None:
    with pytest.raises(AccessRefused, match=r"^a reader in the role analyst of north may not promote .*; operator "):
        Reader("analyst", bank="north").demand("promote or roll back")
    Reader("operator").demand("promote or roll back")
