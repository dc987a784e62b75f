"""Ledger of client accounts, the only state that serving changes.

An account has named totals, tokens that were used once, and rows of numbers in order of arrival. Each change is one
atomic step, so that a store shared by many replicas can implement the same interface.
"""

from feint.ledger.account import CLOCK_SLACK, NOTHING, TOKEN_TIME, Account, Change, raised_total
from feint.ledger.ledger import Ledger
from feint.ledger.rows import NO_NUMBERS, Rows
from feint.ledger.undo import undone_on_failure

__all__ = [
    "CLOCK_SLACK",
    "NOTHING",
    "NO_NUMBERS",
    "TOKEN_TIME",
    "Account",
    "Change",
    "Ledger",
    "Rows",
    "raised_total",
    "undone_on_failure",
]
