"""Fixed transforms of inputs, each against a slow and obvious implementation."""

import io
import math

import numpy as np
import pytest
import torch
from tests.support.variance import assert_close
from torch import nn

from feint.defenses.inputs import JPEG, BitDepth, Blur, RandomResize
from feint.errors import BadInput

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
