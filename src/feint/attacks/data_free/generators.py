"""Networks of the data-free attacks: image generator and discriminator, and synthetic images without any data."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ImageGenerator(nn.Module):
    """Generator of DFME, from noise (N, latent) to images before squashing (N, C, H, W).

    A linear layer is followed by three 3×3 convolutions at a quarter, a half and the whole of the size, with
    nearest-neighbour upsampling between them. The last normalisation has no weights, so that no image can leave the
    range in which `squash` has a slope.

    Args:
        shape: (C, H, W) of an image.
        latent: Length of a noise vector.
        width: Channels of the last hidden convolution; those before it have twice as many.
    """

    def __init__(self, shape: tuple[int, ...], *, latent: int, width: int) -> None:
        super().__init__()
        channels, height, width_of_image = shape
        sizes = [(math.ceil(height / k), math.ceil(width_of_image / k)) for k in (4, 2, 1)]
        self.linear = nn.Linear(latent, 2 * width * math.prod(sizes[0]))
        self.body = nn.Sequential(
            nn.Unflatten(1, (2 * width, *sizes[0])),
            nn.BatchNorm2d(2 * width),
            nn.Upsample(size=sizes[1]),
            *_convolution(2 * width, 2 * width),
            nn.Upsample(size=sizes[2]),
            *_convolution(2 * width, width),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.BatchNorm2d(channels, affine=False),
        )
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, noise: Tensor) -> Tensor:
        return self.body(self.linear(noise))


def squash(x: Tensor) -> Tensor:
    """Map the generator's output into [0, 1]: (1 + tanh x) / 2."""
    return (x.tanh() + 1) / 2


class Discriminator(nn.Module):
    """Discriminator of real from generated images: two strided convolutions and a linear layer.

    Maps images (N, C, H, W) in [0, 1] to logits (N,) of being real.
    """

    def __init__(self, shape: tuple[int, ...], *, width: int) -> None:
        super().__init__()
        channels, height, width_of_image = shape
        area = math.ceil(height / 4) * math.ceil(width_of_image / 4)
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(2 * width * area, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(2 * x - 1)[:, 0]


def synthetic_images(count: int, shape: tuple[int, ...], *, shapes: int = 4, random: torch.Generator) -> Tensor:
    """Draw images that show no data: rectangles and ellipses on a plain ground, smoothed by a pixel.

    Places, sizes, angles and colours are random.

    Args:
        count: Number of images.
        shape: (C, H, W) of an image.
        shapes: Most rectangles and ellipses in an image.
        random: Generator of the images.

    Returns:
        Images (count, C, H, W) in [0, 1].
    """
    channels, height, width = shape

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, shapes, 1, 1, generator=random)

    rows = torch.linspace(-1, 1, height).view(1, 1, -1, 1) if height > 1 else torch.zeros(1, 1, 1, 1)
    columns = torch.linspace(-1, 1, width).view(1, 1, 1, -1) if width > 1 else torch.zeros(1, 1, 1, 1)
    angle, rows, columns = uniform(0, math.pi), rows - uniform(-0.8, 0.8), columns - uniform(-0.8, 0.8)
    along = (angle.cos() * rows + angle.sin() * columns).abs() / uniform(0.1, 0.9)
    across = (angle.cos() * columns - angle.sin() * rows).abs() / uniform(0.1, 0.9)
    is_ellipse = uniform(0, 1) < 0.5
    inside = torch.where(is_ellipse, along**2 + across**2, torch.maximum(along, across)) < 1
    inside &= uniform(0, 1) < 0.7
    colours = torch.rand(count, shapes + 1, channels, 1, 1, generator=random)
    x = colours[:, 0].expand(count, channels, height, width)
    for i in range(shapes):
        x = torch.where(inside[:, i, None], colours[:, i + 1], x)
    return F.avg_pool2d(F.pad(x, [1] * 4, mode="replicate"), 3, 1) if min(height, width) > 2 else x.contiguous()


def _convolution(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.LeakyReLU(0.2, inplace=True),
    ]
