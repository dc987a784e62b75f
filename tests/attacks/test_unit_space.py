"""Inputs as points of the unit cube, and back."""

import pytest
import torch
from tests.examples import DOMAINS
from tests.support.variance import assert_close

from feint.attacks.parametric.unit_space import UnitSpace
from feint.attacks.ranges import Ranges

KINDS = "Pixels", "Columns"


@pytest.mark.parametrize("kind", KINDS)
def test_points_of_inputs_are_those_inputs(kind):
    domain = DOMAINS[kind]
    space, x = UnitSpace(domain), torch.from_numpy(domain.sample(200, 0))
    points = space.points(x)
    again = space.inputs(points)
    assert again.dtype == x.dtype
    assert torch.equal(again.isnan(), x.isnan())
    assert_close(again.nan_to_num(), x.nan_to_num())


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_points_are_of_valid_inputs_in_their_box(kind):
    domain = DOMAINS[kind]
    space, generator = UnitSpace(domain), torch.Generator().manual_seed(0)
    points = space.draw(500, generator)
    domain.check(space.inputs(points).numpy())
    assert points.min() >= 0
    assert points.max() <= 1
    for axis in range(len(space)):
        values = points[:, axis].unique()
        assert len(values) > (10 if space.is_number[axis] else 1)


def test_a_box_divided_by_a_category_or_a_missing_value_holds_no_other():
    domain = DOMAINS["Columns"]
    space, generator = UnitSpace(domain), torch.Generator().manual_seed(0)
    low, high = torch.zeros(len(space)), torch.ones(len(space))
    names = [(axis.column, axis.code, axis.missing) for axis in space.axes]
    wien, no_income = names.index((2, 1, False)), names.index((1, None, True))
    (_, not_wien), only_wien = (box for box in space.divide(low, high, wien, 0.5))
    assert {*space.inputs(space.draw_within(low, not_wien, 100, generator))[:, 2].tolist()} == {0, 2}
    assert {*space.inputs(space.draw_within(*only_wien, 100, generator))[:, 2].tolist()} == {1}
    present, missing = space.divide(low, high, no_income, 0.5)
    assert not space.inputs(space.draw_within(*present, 100, generator))[:, 1].isnan().any()
    assert space.inputs(space.draw_within(*missing, 100, generator))[:, 1].isnan().all()
    assert space.volume(*present) == pytest.approx(0.5 * space.volume(low, high))


def test_a_scale_leaves_images_alone_and_ends_in_valid_rows():
    x = torch.from_numpy(DOMAINS["Pixels"].sample(3, 0))
    ranges = Ranges(DOMAINS["Pixels"])
    assert torch.equal(ranges.scaled(x), x)
    assert torch.equal(ranges.inputs(x), x)
    rows = torch.from_numpy(DOMAINS["Columns"].sample(30, 0))
    ranges = Ranges(DOMAINS["Columns"])
    moved = ranges.inputs(ranges.scaled(rows) + 0.1)
    DOMAINS["Columns"].check(moved.numpy())
    assert (moved[:, 0] >= rows[:, 0]).all()
    assert (moved[:, 0] == moved[:, 0].round()).all()
