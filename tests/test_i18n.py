"""Tables of text are aligned in any script."""

import pytest

from feint.i18n import aligned


@pytest.mark.parametrize(
    ("rows", "lines"),
    [
        ([["mark", "n"], ["a", "12"]], ["mark  n", "a     12"]),
        ([["标记", "数"], ["a", "12"]], ["标记  数", "a     12"]),  # two columns a character
        ([["e\u0301a", "n"], ["abcd", "1"]], ["e\u0301a    n", "abcd  1"]),  # a combining accent has none
    ],
    ids=["latin", "chinese", "combining"],
)
def test_a_table_is_aligned_by_the_columns_of_a_terminal(rows, lines):
    assert aligned(rows).split("\n") == lines
