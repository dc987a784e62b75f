"""Slices of honest inputs: what an owner expects of clients beside the calibration set, by name.

`NAME` or `NAME:NUMBER` is a change of the owner's inputs, and any other name is a data set or a part of one, such as
images that another camera took.
"""

import io
from collections.abc import Callable, Iterator

import numpy as np

from feint._optional import require
from feint.data import Split
from feint.data.pools import parse_split
from feint.errors import BadInput
from feint.signature import Columns, Domain, Pixels, Text
from feint.signature.columns import significant

Array = np.ndarray
Change = Callable[[Array, float], Array]  # inputs (N, …) and a number to inputs

CLASSES = "classes"  # the p-values are taken within the predicted class instead


def jpeg(x: Array, quality: float) -> Array:
    """Return images after a round trip through JPEG of this quality."""

    def compressed(image: Array) -> Array:
        file = io.BytesIO()
        require("PIL.Image", "data").fromarray(image.squeeze()).save(file, "JPEG", quality=int(quality))
        return np.asarray(require("PIL.Image", "data").open(file)).reshape(image.shape)

    return _by_image(x, compressed)


def scale(x: Array, share: float) -> Array:
    """Return images that were taken with this share of their height and width, and enlarged again."""

    def enlarged(image: Array) -> Array:
        pillow = require("PIL.Image", "data")
        picture, (height, width) = pillow.fromarray(image.squeeze()), image.shape[:2]
        small = picture.resize((max(1, round(width * share)), max(1, round(height * share))), pillow.Resampling.BICUBIC)
        return np.asarray(small.resize((width, height), pillow.Resampling.BICUBIC)).reshape(image.shape)

    return _by_image(x, enlarged)


def _by_image(x: Array, change: Callable[[Array], Array]) -> Array:
    """Return images (N, C, H, W) in [0, 1] after a change of each as (H, W, C) uint8."""
    levels = np.rint(x * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    return np.stack([change(image) for image in levels]).transpose(0, 3, 1, 2).astype(np.float32) / 255


def noise(x: Array, deviation: float) -> Array:
    """Return images with Gaussian noise."""
    drawn = np.random.default_rng(0).normal(0, deviation, x.shape).astype(np.float32)
    return (x + drawn).clip(0, 1)


def brightness(x: Array, factor: float) -> Array:
    """Return images whose values are multiplied by this factor."""
    return (x * np.float32(factor)).clip(0, 1)


def shift(x: Array, pixels: float) -> Array:
    """Return images that are moved down and to the right."""
    return np.roll(x, (int(pixels), int(pixels)), (-2, -1))


def grey(x: Array, _: float) -> Array:
    """Return images without colours."""
    return np.broadcast_to(x.mean(1, keepdims=True), x.shape).astype(np.float32)


def rounded(x: Array, digits: float) -> Array:
    """Return rows with so many significant digits."""
    return significant(x, digits)


def missing(x: Array, share: float) -> Array:
    """Return rows in which this share of the values is missing."""
    return np.where(np.random.default_rng(0).random(x.shape) < share, np.nan, x)


def lower(x: Array, _: float) -> Array:
    """Return texts in lower case."""
    return np.where((x >= ord("A")) & (x <= ord("Z")), x + 32, x).astype(x.dtype)


def cut(x: Array, share: float) -> Array:
    """Return texts that end after this share of their length."""
    lengths = np.ceil((x != 0).sum(1, keepdims=True) * share)
    return Text(x.shape[1]).clip(np.where(np.arange(x.shape[1]) < lengths, x, 0))


CHANGES: dict[type[Domain], dict[str, tuple[Change, tuple[float, ...]]]] = {  # with the numbers that a bare name means
    Pixels: {
        "jpeg": (jpeg, (95, 90)),
        "scale": (scale, (0.875,)),
        "noise": (noise, (0.02,)),
        "brightness": (brightness, (0.7, 1.3)),
        "shift": (shift, (2,)),
        "grey": (grey, (0,)),
    },
    Columns: {"rounded": (rounded, (2,)), "missing": (missing, (0.1,))},
    Text: {"lower": (lower, (0,)), "cut": (cut, (0.5,))},
}


def slices(name: str, inputs: Split) -> Iterator[tuple[str, Split]]:
    """Yield the slices that a name stands for, each with its title.

    A data set that is not there raises `MissingData` or `UnknownName`.

    Args:
        name: Name of a change or of a data set, such as "jpeg", "jpeg:75" or "gtsrb/test".
        inputs: Inputs to change.

    Raises:
        BadInput: The data set has another domain, or the number is none.
    """
    changes = CHANGES.get(type(inputs.domain), {})
    kind, _, number = name.partition(":")
    if kind not in changes:
        split = parse_split(name)
        if split.domain.shape != inputs.shape or type(split.domain) is not type(inputs.domain):
            raise BadInput(f"the slice {name} of {split.domain.noun} {split.shape}", f"{inputs.shape}", "choose others")
        yield name, split
        return
    change, numbers = changes[kind]
    try:
        chosen = (float(number),) if number else numbers
    except ValueError as error:
        raise BadInput(f"the slice {name!r}", f"{kind} or {kind}:NUMBER", "change it") from error
    x = inputs.inputs().numpy()
    for value in chosen:
        domain = inputs.domain
        changed = domain.clip(change(x, value))
        title = kind if numbers == (0,) else f"{kind}:{value:g}"
        yield title, Split.of(domain.encode(changed), inputs.arrays[1], domain=domain, name=title)


def known(domain: Domain) -> list[str]:
    """Return the names of the changes of a domain."""
    return [*CHANGES.get(type(domain), {})]
