"""Slices of honest inputs: what an owner expects of clients beside the calibration set, by name.

`NAME` or `NAME:NUMBER` is a change of the owner's inputs, and `NAME+NAME` two after one another. Any other name is a
data set or a part of one, a file or a directory, such as images that another camera took.
"""

import io
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from feint import data
from feint._optional import require
from feint.data import Split
from feint.data.duplicates import without_repeats
from feint.data.files import is_file, pool_at
from feint.data.pools import parse_split
from feint.errors import BadInput, UnknownName
from feint.signature import Columns, Domain, Pixels, Text
from feint.signature.columns import significant

Array = np.ndarray

CLASSES = "classes"  # the p-values are taken within the predicted class instead
CONSTANT = "constant:"  # what the titles of slices begin with of which one column has one value
UNCHANGED = "as they are"  # title of the inputs themselves
FEWEST = 100  # different inputs of a file or a data set, as many as calibrate a test
NOTHING_READ: Mapping[str, Split] = {}


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
    """Return rows in which this share of the values is missing; `slices` leaves those that may not be."""
    return np.where(np.random.default_rng(0).random(x.shape) < share, np.nan, x)


def constant(x: Array, column: float) -> Array:
    """Return rows in which one column has its commonest value, as from clients whose form fills it in.

    Of values that are equally common, as numbers that all differ, it is the middle one.
    """
    changed = x.copy()
    values = changed[:, int(column)]  # a view
    different, counts = np.unique(values[~np.isnan(values)], return_counts=True)
    commonest = different[counts == counts.max(initial=0)]
    values[:] = commonest[len(commonest) // 2] if len(commonest) else np.nan
    return changed


def lower(x: Array, _: float) -> Array:
    """Return texts in lower case."""
    return np.where((x >= ord("A")) & (x <= ord("Z")), x + 32, x).astype(x.dtype)


def cut(x: Array, share: float) -> Array:
    """Return texts that end after this share of their length."""
    lengths = np.ceil((x != 0).sum(1, keepdims=True) * share)
    return Text(x.shape[1]).clip(np.where(np.arange(x.shape[1]) < lengths, x, 0))


class Change(NamedTuple):
    """Change of inputs.

    Attributes:
        apply: Function of inputs (N, …) and a number that returns inputs.
        numbers: Numbers that a bare name means; none where the change has no number.
        least: Least number.
        most: Largest number.
        whole: Whether numbers are whole ones.
        of_columns: Whether the number is that of a column, whose name is written; a bare name means each.
    """

    apply: Callable[[Array, float], Array]
    numbers: tuple[float, ...] = ()
    least: float = 0
    most: float = 1
    whole: bool = False
    of_columns: bool = False

    def chosen(self, name: str, domain: Domain) -> tuple[float, ...]:
        """Return the numbers that a name means. Raises `BadInput` where its number is none, or out of range."""
        kind, colon, text = name.partition(":")
        if self.of_columns:
            columns = _columns(domain)
            if colon and text not in columns:
                raise UnknownName.among("column", text, columns)
            return (columns.index(text),) if colon else tuple(range(len(columns)))
        if not colon:
            return self.numbers or (0.0,)
        number = _number(text)
        if not self.numbers or not self.least <= number <= self.most or (self.whole and number % 1):
            numbers = f"{'a whole number' if self.whole else 'a number'} from {self.least:g} to {self.most:g}"
            expected = f"{kind} or {kind}:NUMBER, {numbers}" if self.numbers else f"{kind}, which has no number"
            raise BadInput(f"the slice {name!r}", expected, "change it")
        return (number,)


def _columns(domain: Domain) -> list[str]:
    assert isinstance(domain, Columns)
    return [column.name for column in domain.columns]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


CHANGES: dict[type[Domain], dict[str, Change]] = {
    Pixels: {
        "jpeg": Change(jpeg, (95, 90), least=1, most=100, whole=True),
        "scale": Change(scale, (0.875,), least=0.01),
        "noise": Change(noise, (0.02,)),
        "brightness": Change(brightness, (0.7, 1.3), least=0.01, most=10),
        "shift": Change(shift, (2,), least=1, most=100, whole=True),
        "grey": Change(grey),
    },
    Columns: {
        "rounded": Change(rounded, (2,), least=1, most=15, whole=True),
        "missing": Change(missing, (0.1,)),
        CONSTANT[:-1]: Change(constant, of_columns=True),
    },
    Text: {"lower": Change(lower), "cut": Change(cut, (0.5,), least=0.01)},
}


def slices(name: str, inputs: Split, read: Mapping[str, Split] = NOTHING_READ) -> Iterator[tuple[str, Split]]:
    """Yield the slices that a name stands for, each with its title.

    An unknown name raises `UnknownName`, a number out of range, inputs of another domain or fewer than 100 different
    ones `BadInput`, and a data set or a file that is not there `MissingData`.

    Args:
        name: Name of a change, or of several one after the other, such as "jpeg", "jpeg:75" or "scale:0.5+jpeg:75"; of
            a data set, such as "gtsrb/test"; or a file or directory of inputs, whose labels are not needed.
        inputs: Inputs to change.
        read: Inputs of data sets, files and directories that were read before, by name.
    """
    domain = inputs.domain
    if not is_change(name, domain):
        yield name, _others(name, inputs, read)
        return
    parts = name.split("+")
    kinds = [part.partition(":")[0] for part in parts]
    chain = [CHANGES[type(domain)][kind] for kind in kinds]
    for numbers in itertools.product(*(change.chosen(part, domain) for change, part in zip(chain, parts, strict=True))):
        x = inputs.inputs().numpy()
        for change, number in zip(chain, numbers, strict=True):
            x = domain.clip(_filled(change.apply(x, number), x, domain))
        title = "+".join(_title(kind, change, n, domain) for kind, change, n in zip(kinds, chain, numbers, strict=True))
        yield title, Split.of(domain.encode(x), inputs.arrays[1], domain=domain, name=title)


def is_change(name: str, domain: Domain) -> bool:
    """Return whether a name is that of a change of inputs, or of several one after the other."""
    changes = CHANGES.get(type(domain), {})
    return all(part.partition(":")[0] in changes for part in name.split("+"))


def _title(kind: str, change: Change, number: float, domain: Domain) -> str:
    if change.of_columns:
        return f"{kind}:{_columns(domain)[int(number)]}"
    return f"{kind}:{number:g}" if change.numbers else kind


def read_others(names: Iterable[str], inputs: Split, read: Mapping[str, Split] = NOTHING_READ) -> dict[str, Split]:
    """Check names, before a model is asked anything, and read the inputs of those that are no changes.

    Args:
        names: Names of slices; "classes" is none.
        inputs: Inputs to change; errors as in `slices`.
        read: Those that were read before, by name.

    Returns:
        Inputs by name, for `slices`.
    """
    others = {}
    for name in names:
        if not is_change(name, inputs.domain):
            others[name] = _others(name, inputs, read)
            continue
        for part in name.split("+"):
            CHANGES[type(inputs.domain)][part.partition(":")[0]].chosen(part, inputs.domain)
    return others


def _others(name: str, inputs: Split, read: Mapping[str, Split]) -> Split:
    """Return the different inputs of a file or a data set.

    A price takes them for independent draws: what repeats counts once, and of few inputs hardly anything is known. Of
    one image of Fashion-MNIST the price was such that no client was accused, whatever they sent.

    Raises:
        BadInput: There are fewer than 100, or the others of `slices`.
    """
    part, _ = without_repeats(read[name] if name in read else _found(name, inputs))
    if len(part) < FEWEST:
        got = f"the slice {name} of {len(part)} different {inputs.domain.noun}"
        raise BadInput(got, f"{FEWEST} or more, better thousands", "give it more")
    return part


def _found(name: str, inputs: Split) -> Split:
    domain = inputs.domain
    if is_file(name):
        return pool_at(name, domain).split
    if re.split("[@/]", name)[0] not in data.known():
        if "+" in name:
            unknown = next(part for part in name.split("+") if not is_change(part, domain))
            raise UnknownName.among(f"change of {domain.noun}", unknown, known(domain))
        raise UnknownName.among(f"slice of {domain.noun}", name, [CLASSES, *known(domain), *data.known()])
    split = parse_split(name)
    if split.domain.shape != inputs.shape or type(split.domain) is not type(domain):
        raise BadInput(f"the slice {name} of {split.domain.noun} {split.shape}", f"{inputs.shape}", "choose others")
    return split


def _filled(changed: Array, x: Array, domain: Domain) -> Array:
    """Return changed inputs with the values of `x` where none may be missing."""
    if not isinstance(domain, Columns):
        return changed
    optional = [column.optional for column in domain.columns]
    return np.where(np.isnan(changed) & ~np.array(optional), x, changed)


def known(domain: Domain, *, of_columns: bool = True) -> list[str]:
    """Return the names of the changes of a domain, those of single columns among them or not."""
    return [name for name, change in CHANGES.get(type(domain), {}).items() if of_columns or not change.of_columns]
