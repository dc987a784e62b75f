"""Price of the calls to a paid model."""

import pytest

from feint.errors import BadRecipe
from feint.paid.meter import DEAREST, Meter


@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf"), 2 * DEAREST])
def test_a_meter_takes_no_price_that_is_none(price):
    with pytest.raises(BadRecipe, match=r"price_per_1000 = .*expected a finite number, 0 to 1e\+09"):
        Meter(price)


@pytest.mark.parametrize("price", [0, 0.5, DEAREST])
def test_a_meter_takes_any_other_price(price):
    assert Meter(price).price_per_1000 == price
