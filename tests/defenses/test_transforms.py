"""Fixed transforms of inputs, each against a slow and obvious implementation."""

import io
import math

import numpy as np
import pytest
import torch
from tests.support.variance import assert_close
from torch import nn

from feint.defenses.inputs import JPEG, BitDepth, Blur, Coarsening, Discretization, RandomResize, TextNormalization
from feint.errors import BadInput
from feint.signature import Column, Columns, Text

MODEL = nn.Identity().eval()
X = torch.rand(4, 3, 9, 12, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_bit_depth_leaves_so_many_levels_and_moves_no_value_by_more_than_half_a_one(bits):
    x = torch.linspace(0, 1, 5000)[None]
    y = BitDepth(bits)(x, MODEL)
    assert len(y.unique()) == 2**bits
    assert (y - x).abs().max() <= 0.5 / (2**bits - 1) + 1e-6
    assert torch.equal(BitDepth(bits)(y, MODEL), y)


def test_blur_is_the_weighted_mean_around_each_pixel():
    sigma, (height, width) = 0.7, X.shape[2:]
    y, reach = Blur(sigma)(X, MODEL), math.ceil(3 * sigma)
    for i, j in [(0, 0), (4, 5), (8, 11)]:
        total, weights = torch.zeros(4, 3), 0.0
        for di in range(-reach, reach + 1):
            for dj in range(-reach, reach + 1):
                weight = math.exp(-(di**2 + dj**2) / (2 * sigma**2))
                total += weight * X[:, :, min(max(i + di, 0), height - 1), min(max(j + dj, 0), width - 1)]
                weights += weight
        torch.testing.assert_close(y[:, :, i, j], total / weights)


def test_jpeg_is_pillows():
    image = pytest.importorskip("PIL.Image")
    levels = (X[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    file = io.BytesIO()
    image.fromarray(levels).save(file, "JPEG", quality=30)
    read = np.asarray(image.open(file)).astype(np.float32) / 255
    torch.testing.assert_close(JPEG(30)(X, MODEL)[0], torch.from_numpy(read).permute(2, 0, 1))
    change = [(JPEG(quality)(X, MODEL) - X).abs().mean() for quality in (10, 50, 100)]
    assert change == sorted(change, reverse=True)


def test_random_resize_shrinks_whole_images_and_fills_up_with_black():
    white = torch.ones(200, 1, 16, 24)
    white += torch.rand(200, 1, 16, 24, generator=torch.Generator().manual_seed(1)) * -0.2
    y = RandomResize("secret", least=0.5)(white, MODEL)
    sizes, corners, ends = set(), set(), set()
    for image in y[:, 0]:
        rows, columns = image.amax(1).nonzero()[:, 0], image.amax(0).nonzero()[:, 0]
        top, left, height, width = rows[0].item(), columns[0].item(), len(rows), len(columns)
        assert image[top : top + height, left : left + width].min() > 0.7
        assert abs(height / 16 - width / 24) <= 0.5 / 16 + 0.5 / 24
        sizes.add(height)
        corners.add((top, left))
        if height < 16:
            ends.add(top + height == 16)
    assert min(sizes) == 8
    assert max(sizes) == 16
    assert len(corners) > 30
    assert ends == {False, True}  # the far edges are reached as well


def test_random_resize_is_drawn_by_the_key_and_the_image_alone():
    one, other = RandomResize("one", 0.5), RandomResize("other", 0.5)
    assert torch.equal(one(X, MODEL), one(X.clone(), MODEL))
    assert_close(one(X.flip(0), MODEL).flip(0), one(X, MODEL))
    assert not torch.equal(one(X, MODEL), other(X, MODEL))


@pytest.mark.parametrize("defense", [Blur(), JPEG(), RandomResize("k")], ids=lambda defense: type(defense).__name__)
def test_inputs_that_are_no_images_are_refused(defense):
    with pytest.raises(BadInput, match="images"):
        defense(torch.rand(4, 12), MODEL)


def test_an_image_of_two_channels_is_no_jpeg():
    with pytest.raises(BadInput, match="channels"):
        JPEG()(torch.rand(1, 2, 8, 8), MODEL)


TABLE = Columns((
    Column("age", integer=True, low=18, high=98),
    Column("rate", optional=True, low=-1.0, high=1.0),
    Column("score", mean=10.0, deviation=2.0),
    Column("city", ("Wien", "Oslo", "Graz", "Linz"), optional=True, shares=(0.2, 0.7, 0.06, 0.04)),
))  # fmt: skip
ROWS = torch.tensor([
    [18, -1.0, 4.0, 0], [20, 0.04, 4.5, 1], [22, 0.06, 5.1, 2], [99, 0.93, 30.0, 3], [57, math.nan, 9.9, math.nan]
], dtype=torch.float64)  # fmt: skip


class OnTable(nn.Identity):
    """A model of rows of `TABLE`."""

    domain = TABLE


def test_discretization_rounds_numbers_to_a_grid_over_their_range():
    x = Discretization(grid=0.05)(ROWS, OnTable().eval())
    assert x[:, 0].tolist() == [18, 18, 22, 98, 58]  # steps of 4 from 18 on; a half goes to the even one
    expected = torch.tensor([-1.0, 0.0, 0.1, 0.9, math.nan], dtype=torch.float64)
    torch.testing.assert_close(x[:, 1], expected, equal_nan=True, atol=1e-12, rtol=0)
    # three deviations around the mean are 4 to 16: steps of 0.6
    torch.testing.assert_close(x[:, 2], torch.tensor([4.0, 4.6, 5.2, 29.8, 10.0], dtype=torch.float64))
    torch.testing.assert_close(x[:, 3], ROWS[:, 3], equal_nan=True)
    fine = Discretization(grid=1e-4)(ROWS, OnTable().eval())
    assert torch.equal(fine[:, 0], ROWS[:, 0])  # no step of whole numbers is below 1


def test_rare_categories_become_the_most_frequent_one():
    codes = [Coarsening(least)(ROWS, OnTable().eval())[:4, 3].tolist() for least in (0.04, 0.05, 0.1, 1.0)]
    assert codes == [[0, 1, 2, 3], [0, 1, 2, 1], [0, 1, 1, 1], [1, 1, 1, 1]]
    coarse = Coarsening(1.0)(ROWS, OnTable().eval())
    assert coarse[4, 3].isnan()
    torch.testing.assert_close(coarse[:, :3], ROWS[:, :3], equal_nan=True)


@pytest.mark.parametrize(
    ("defense", "column", "says"),
    [(Coarsening(), Column("x", ("a", "b")), "without shares"), (Discretization(), Column("x"), "without a range")],
)
def test_a_table_that_its_owner_did_not_describe_is_refused(defense, column, says):
    model = nn.Identity().eval()
    model.domain = Columns((column,))
    with pytest.raises(BadInput, match=f"'x' {says}.*Columns.describe"):
        defense(torch.zeros(2, 1, dtype=torch.float64), model)


@pytest.mark.parametrize(
    ("text", "unicode", "space", "case", "every"),
    [
        ("  Hello \t\n World ", "  Hello \t\n World ", "Hello World", "  hello \t\n world ", "hello world"),
        ("ＦＵＬＬ ﬁne①", "FULL fine1", "ＦＵＬＬ ﬁne①", "ｆｕｌｌ fine①", "full fine1"),
        ("in\u200bvis\u00adible", "invisible", "in\u200bvis\u00adible", "in\u200bvis\u00adible", "invisible"),
        ("Straße ΣΑΣ", "Straße ΣΑΣ", "Straße ΣΑΣ", "strasse σασ", "strasse σασ"),
        ("e\u0301té 今\u3000日", "été 今 日", "e\u0301té 今 日", "e\u0301té 今\u3000日", "été 今 日"),
        ("", "", "", "", ""),
    ],
)
def test_texts_that_look_alike_become_one(text, unicode, space, case, every):
    domain = Text(64)
    one = {"unicode": unicode, "space": space, "case": case}
    methods = {name: TextNormalization(**{field: field == name for field in one}) for name in one}
    for name, method in {**methods, "every": TextNormalization()}.items():
        x = method(torch.from_numpy(domain.from_strings([text])), MODEL)
        assert domain.to_strings(x.numpy()) == [{**one, "every": every}[name]], name
        assert torch.equal(method(x, MODEL), x)


def test_a_text_that_grows_is_cut_after_a_whole_character():
    domain = Text(10)
    x = torch.from_numpy(domain.from_strings(["ﷺ京都"]))  # one character that NFKC writes as 18
    (text,) = domain.to_strings(TextNormalization()(x, MODEL).numpy())
    assert text == "صلى ا"  # 9 bytes; of the next letter the first of two bytes would fit
