"""Bodies of residual networks."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feint.models.networks.convolutional import Body, conv, head
from feint.models.preprocessing import Preprocessing


class Shortcut(nn.Module):
    """Parameter-free shortcut of the CIFAR ResNets (option A): every other pixel, and new channels of zeros."""

    def __init__(self, new_channels: int) -> None:
        super().__init__()
        self.new_channels = new_channels

    def forward(self, x: Tensor) -> Tensor:
        half, rest = self.new_channels // 2, self.new_channels - self.new_channels // 2
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, rest))


class Residual(nn.Module):
    """Residual block, `relu(path(x) + shortcut(x))`."""

    def __init__(self, path: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.path, self.shortcut = path, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.path(x) + self.shortcut(x), inplace=True)


class PreActivated(nn.Module):
    """Block of wide residual networks: normalisation and ReLU before each convolution."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.BatchNorm2d(inside), nn.ReLU(inplace=True))
        self.path = nn.Sequential(
            conv(inside, outside, stride=stride),
            nn.ReLU(inplace=True),
            nn.Conv2d(outside, outside, 3, 1, 1, bias=False),
        )
        same = inside == outside and stride == 1
        self.shortcut = None if same else nn.Conv2d(inside, outside, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        entered = self.enter(x)
        return self.path(entered) + (x if self.shortcut is None else self.shortcut(entered))


class Scaled(nn.Module):
    """Product with a constant, by which first logits are small."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Mirrored(nn.Sequential):
    """Layers whose probabilities are, in evaluation mode, the mean of those of an image and of its mirror image.

    Answers take twice the time, a training no more.
    """

    def forward(self, input: Tensor) -> Tensor:
        z = super().forward(input)
        if self.training:
            return z
        both = torch.stack([z, super().forward(input.flip(-1))])
        return both.log_softmax(-1).logsumexp(0) - math.log(2)


def mirrored(body: Callable[[Preprocessing, int], nn.Sequential]) -> Body:
    """Return a body that averages over mirror images (`Mirrored`), with the same weights by the same names."""
    return lambda inputs, classes: Mirrored(*body(inputs, classes))


def shrunk(body: Body, side: int = 32) -> Body:
    """Return a body that sees an image at about `side` × `side` pixels, each the mean of an area, in its proportions.

    A residual network takes as long for a large image as for a small one then, instead of 49 times as long for 224×224.
    """

    def shrunk_body(inputs: Preprocessing, classes: int) -> nn.Module:
        height, width = inputs.domain.shape[1:]
        share = min(1.0, side / math.sqrt(height * width))
        size = max(1, round(share * height)), max(1, round(share * width))
        return nn.Sequential(nn.AdaptiveAvgPool2d(size), body(inputs, classes))

    return shrunk_body


def cifar_resnet(depth: int) -> Body:
    """Return a ResNet for CIFAR (He et al., CVPR 2016, §4.2): 16, 32 and 64 channels, depth 6n + 2."""

    def body(inputs: Preprocessing, classes: int) -> nn.Module:
        layers, inside = [conv(inputs.domain.shape[0], 16), nn.ReLU(inplace=True)], 16
        for outside in (16, 32, 64):
            for block in range((depth - 2) // 6):
                grows = block == 0 and outside > 16
                path = nn.Sequential(
                    conv(inside, outside, stride=2 if grows else 1), nn.ReLU(inplace=True), conv(outside, outside)
                )
                layers.append(Residual(path, Shortcut(outside - inside) if grows else nn.Identity()))
                inside = outside
        return nn.Sequential(*layers, *head(inside, classes))

    return body


def resnet(
    blocks: tuple[int, ...], *, bottleneck: bool = False, width: int = 64, groups: int = 1, expansion: int = 4
) -> Body:
    """Return an ImageNet ResNet or ResNeXt with a 3×3 stem and no pooling, as used on 32×32 images.

    Args:
        blocks: Number of blocks in each stage.
        bottleneck: Whether a block is 1×1, 3×3 and 1×1 convolutions, rather than two of 3×3.
        width: Channels of the 3×3 convolutions in the first stage; each further stage doubles them.
        groups: Groups of a bottleneck's 3×3 convolution.
        expansion: Output channels of a bottleneck in the first stage, as a multiple of 64.
    """

    def body(inputs: Preprocessing, classes: int) -> nn.Module:
        layers, inside = [conv(inputs.domain.shape[0], 64), nn.ReLU(inplace=True)], 64
        for stage, count in enumerate(blocks):
            middle = width * 2**stage
            outside = 64 * expansion * 2**stage if bottleneck else middle
            for block in range(count):
                stride = 2 if block == 0 and stage > 0 else 1
                if bottleneck:
                    parts = [
                        conv(inside, middle, 1),
                        conv(middle, middle, stride=stride, groups=groups),
                        conv(middle, outside, 1),
                    ]
                else:
                    parts = [conv(inside, outside, stride=stride), conv(outside, outside)]
                path = nn.Sequential(*[layer for part in parts for layer in (part, nn.ReLU(inplace=True))][:-1])
                same = inside == outside and stride == 1
                layers.append(Residual(path, nn.Identity() if same else conv(inside, outside, 1, stride=stride)))
                inside = outside
        return nn.Sequential(*layers, *head(inside, classes))

    return body


def wide_resnet(depth: int, factor: int) -> Body:
    """Return a wide residual network (Zagoruyko and Komodakis, BMVC 2016): depth 6n + 4, 16·factor channels and up."""

    def body(inputs: Preprocessing, classes: int) -> nn.Module:
        layers: list[nn.Module] = [nn.Conv2d(inputs.domain.shape[0], 16, 3, 1, 1, bias=False)]
        inside = 16
        for stage in range(3):
            for block in range((depth - 4) // 6):
                outside = 16 * factor * 2**stage
                layers.append(PreActivated(inside, outside, 2 if block == 0 and stage > 0 else 1))
                inside = outside
        return nn.Sequential(*layers, nn.BatchNorm2d(inside), nn.ReLU(inplace=True), *head(inside, classes))

    return body


def resnet9(width: int) -> Callable[[Preprocessing, int], nn.Sequential]:
    """Return the body of a ResNet-9 for small images, after the fast trainings of DAWNBench (Page, 2018).

    Of the networks tried as surrogates it learns most in the same CPU seconds
    (docs/background/results/evidence.md).
    """

    def body(inputs: Preprocessing, classes: int) -> nn.Sequential:
        w = width

        def residual(channels: int) -> nn.Module:
            path = [part for _ in range(2) for part in (conv(channels, channels), nn.ReLU(inplace=True))]
            return Residual(nn.Sequential(*path), nn.Identity())

        def pooled(inside: int, outside: int) -> list[nn.Module]:
            return [conv(inside, outside), nn.ReLU(inplace=True), nn.MaxPool2d(2)]

        return nn.Sequential(
            *(conv(inputs.domain.shape[0], w), nn.ReLU(inplace=True)),
            *(*pooled(w, 2 * w), residual(2 * w)),
            *(*pooled(2 * w, 4 * w), *pooled(4 * w, 4 * w), residual(4 * w)),
            *(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4 * w, classes, bias=False), Scaled(0.125)),
        )

    return body
