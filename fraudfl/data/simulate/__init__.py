"""The consortium generator: unequal banks, shared merchants, and four kinds of fraud, from one seed.

Nothing in the table says which kind a fraud is; `generate_with_kinds` tells it to tests and benchmarks.

    kind                   what happens                                                        where it shows
    compromised merchant   for weeks, many payments at one merchant are stolen cards; their    labels that arrive later,
                           amounts are ordinary, and each bank sees few of them                over all banks
    mule account           one payee collects larger transfers from victims at several banks   transfers to one payee
                           of its region, within days                                          and late labels
    card testing           many small online payments within minutes, then a large one         counts, time since last
    account takeover       a few larger payments within hours, often at night, for cash and    distance from habit
                           goods that sell again, at new counterparties and often abroad

Banks differ in how much of each kind they see, so that a small bank has met some kinds only rarely. Ordinary
customers shop in sessions, travel, and make rare large payments, so that no single feature separates fraud.

When labels become known: a fraud is reported after a lognormal delay (median 5 days, four in five within 8 days, at
most 30 days); a transaction nobody disputed counts as good after 7 days.

From a given month on behaviour may drift, and kinds of fraud may appear that nobody saw before: see `ChangesConfig`.
"""

from fraudfl.data.simulate.consortium import GENERATED_CONTRACT, generate, generate_with_kinds
from fraudfl.data.simulate.fraud import (
    ACCOUNT_TAKEOVER,
    CARD_TESTING,
    CASH_OUT,
    COMPROMISED_MERCHANT,
    GOOD,
    MULE_ACCOUNT,
    STOLEN_CARD,
)

__all__ = [
    "ACCOUNT_TAKEOVER",
    "CARD_TESTING",
    "CASH_OUT",
    "COMPROMISED_MERCHANT",
    "GENERATED_CONTRACT",
    "GOOD",
    "MULE_ACCOUNT",
    "STOLEN_CARD",
    "generate",
    "generate_with_kinds",
]
