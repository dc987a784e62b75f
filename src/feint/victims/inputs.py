"""Inputs of adapters: from one batch of a domain to the arrays that a raw model takes."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from feint._optional import require
from feint.errors import BadRecipe
from feint.signature import Column, Columns, Domain, Pixels, Text, Tokens
from feint.victims.raw import DTYPES, Values

LAYOUTS = {"NCHW": (), "NHWC": (0, 2, 3, 1), "NHW": (), "flat": ()}  # with the permutation from NCHW


def one_of(recipe: object, field: str, known: Any) -> None:
    """Raise `BadRecipe` unless the value of `field` is one of these."""
    value = getattr(recipe, field)
    if value not in known:
        expected = ", ".join(map(repr, known))
        raise BadRecipe(f"{type(recipe).__name__} with {field}={value!r}", f"one of {expected}", "change it")


@dataclass(frozen=True)
class PixelInputs:
    """Inputs of an image model.

    The order is: resize, scale to the range, order of the channels, normalisation, layout, type.

    Args:
        tensor: Name of the model's input; "" is its only one.
        layout: "NCHW", "NHWC", "NHW" for images without a channel axis, or "flat" for rows.
        low: Value of black, 0 in the domain.
        high: Value of white, 1 in the domain.
        channels: Order of the colours, "RGB" or "BGR".
        mean: Mean of each channel, in the model's order and range.
        deviation: Standard deviation of each channel.
        dtype: Type of the values; "" is the model's own, or the domain's where it takes any. Integers are rounded.
        size: (H, W) to which images are resized; () keeps theirs.

    Raises:
        BadRecipe: A value is unknown.
    """

    tensor: str = ""
    layout: str = "NCHW"
    low: float = 0.0
    high: float = 1.0
    channels: str = "RGB"
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    dtype: str = ""
    size: tuple[int, ...] = ()
    domain: ClassVar[type[Domain]] = Pixels

    def __post_init__(self) -> None:
        one_of(self, "layout", LAYOUTS)
        one_of(self, "channels", ("RGB", "BGR"))
        one_of(self, "dtype", ("", *DTYPES))
        if len(self.mean) != len(self.deviation) or 0 in self.deviation:
            raise BadRecipe(f"{self!r}", "a mean and a deviation ≠ 0 for each channel", "mend them")
        if len(self.size) not in (0, 2):
            raise BadRecipe(f"size={self.size}", "(H, W)", "mend it")

    def encode(self, x: Tensor, domain: Pixels) -> Values:
        """Return images (N, C, H, W) as the model's input. Gradients are kept where the type is a float's."""
        if self.size and tuple(x.shape[2:]) != self.size:
            x = F.interpolate(x, self.size, mode="bilinear", antialias=True).clamp(0, 1)
        if (self.low, self.high) != (0, 1):
            x = x * (self.high - self.low) + self.low
        if self.channels == "BGR":
            x = x.flip(1)
        if self.mean:
            mean, deviation = (x.new_tensor(values).view(-1, 1, 1) for values in (self.mean, self.deviation))
            x = (x - mean) / deviation
        if self.layout == "NHWC":
            x = x.permute(LAYOUTS["NHWC"])
        elif self.layout == "NHW":
            x = x.squeeze(1)
        elif self.layout == "flat":
            x = x.flatten(1)
        return {self.tensor: cast(x, self.dtype)}


@dataclass(frozen=True)
class ColumnInputs:
    """Inputs of a model of tables.

    Args:
        tensor: Name of the model's input; "" is its only one. Unused where each column is an input.
        form: "matrix" (N, F), "tensors" (N, 1) for each column, "frame" for a pandas DataFrame, "rows" for a list of
            dictionaries.
        categories: Categories as "codes", "one-hot" (in the place of their column) or "names".
        names: The model's own names of the columns, in the domain's order; () are the domain's.
        mean: Mean of each of the F numbers, where the model takes them standardised; () otherwise.
        deviation: Standard deviation of each of the F numbers.
        dtype: Type of the numbers, as in `PixelInputs`.

    Raises:
        BadRecipe: A value is unknown.
    """

    tensor: str = ""
    form: str = "matrix"
    categories: str = "codes"
    names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    dtype: str = ""
    domain: ClassVar[type[Domain]] = Columns

    def __post_init__(self) -> None:
        one_of(self, "form", ("matrix", "tensors", "frame", "rows"))
        one_of(self, "categories", ("codes", "one-hot", "names"))
        one_of(self, "dtype", ("", *DTYPES))
        if len(self.mean) != len(self.deviation) or 0 in self.deviation:
            raise BadRecipe(f"{self!r}", "a mean and a deviation ≠ 0 for each number", "mend them")
        if self.categories == "one-hot" and self.form != "matrix":
            raise BadRecipe(f"categories='one-hot' and form={self.form!r}", "a matrix", "change one of them")

    def encode(self, x: Tensor, domain: Columns) -> Values:
        """Return rows (N, D) as the model's inputs. Gradients are kept where the inputs are a matrix of numbers."""
        if self.form == "matrix" and self.categories != "names":
            return {self.tensor: cast(self._numbers(x, domain), self.dtype)}
        names = self.names or domain.names
        if self.form == "tensors":
            columns = zip(names, domain.columns, strict=True)
            return {name: self._column(x[:, i : i + 1], column) for i, (name, column) in enumerate(columns)}
        table = {
            name: values.numpy() if isinstance(values, Tensor) else values
            for name, values in zip(
                names, (self._column(x[:, i].cpu(), c) for i, c in enumerate(domain.columns)), strict=True
            )
        }
        if self.form == "matrix":
            return {self.tensor: np.stack([values.astype(object) for values in table.values()], 1)}
        if self.form == "frame":
            return {self.tensor: require("pandas", "sklearn").DataFrame(table)}
        return {self.tensor: [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]}

    def _column(self, x: Tensor, column: Column) -> Tensor | np.ndarray:
        """Return values of one column: names of categories as an object array, all else as numbers."""
        if column.categories is not None and self.categories == "names":
            return category_names(x.detach().cpu().numpy(), column.categories)
        return cast(x.detach(), self.dtype)

    def _numbers(self, x: Tensor, domain: Columns) -> Tensor:
        if self.categories == "one-hot":
            x = torch.cat([_one_hot(x[:, i], column.categories) for i, column in enumerate(domain.columns)], 1)
        if self.mean:
            x = (x - x.new_tensor(self.mean)) / x.new_tensor(self.deviation)
        return x


def category_names(codes: np.ndarray, categories: tuple[str, ...]) -> np.ndarray:
    """Return names of categories as an object array: NaN where missing, booleans where all are True and False."""
    boolean = {*categories} <= {"True", "False"}
    values = [name == "True" if boolean else name for name in categories]
    table = np.array([*values, np.nan], object)
    return table[np.where(np.isnan(codes), len(values), codes).astype(np.int64)]


def _one_hot(codes: Tensor, categories: tuple[str, ...] | None) -> Tensor:
    if categories is None:
        return codes[:, None]
    return (codes[:, None] == torch.arange(len(categories), device=codes.device)).to(codes.dtype)


@dataclass(frozen=True)
class TokenInputs:
    """Inputs of a model of token sequences.

    Args:
        tensor: Name of the input with the token numbers; "" is the only one.
        mask: Name of the attention mask, 1 for tokens and 0 for padding; "" is none.
        types: Name of the token types, all 0; "" is none.
        dtype: Type of the numbers, as in `PixelInputs`.

    Raises:
        BadRecipe: The type is unknown.
    """

    tensor: str = ""
    mask: str = ""
    types: str = ""
    dtype: str = ""
    domain: ClassVar[type[Domain]] = Tokens

    def __post_init__(self) -> None:
        one_of(self, "dtype", ("", *DTYPES))

    def encode(self, x: Tensor, domain: Tokens) -> Values:
        """Return sequences (N, L) as the model's inputs."""
        values = {self.tensor: cast(x, self.dtype)}
        if self.mask:
            token = (x != domain.padding).long()
            ahead = token.sum(1, keepdim=True) - token.cumsum(1) + token  # from here on: padding between tokens counts
            values[self.mask] = cast((ahead > 0).long(), self.dtype)
        if self.types:
            values[self.types] = cast(torch.zeros_like(x), self.dtype)
        return values


@dataclass(frozen=True)
class TextInputs:
    """Inputs of a model of texts, which takes strings.

    Args:
        tensor: Name of the model's input; "" is its only one.
    """

    tensor: str = ""
    dtype: ClassVar[str] = ""
    domain: ClassVar[type[Domain]] = Text

    def encode(self, x: Tensor, domain: Text) -> Values:
        """Return texts (N, L) as an object array (N,) of strings."""
        return {self.tensor: np.array([*domain.to_strings(x.cpu().numpy()), None], object)[:-1]}


def cast(x: Tensor, dtype: str) -> Tensor:
    """Return `x` in this type, if any; floats are rounded to integers and cut to their range."""
    kind = DTYPES.get(dtype, x.dtype)
    if x.is_floating_point() and not kind.is_floating_point and kind != torch.bool:
        limits = torch.iinfo(kind)
        x = x.round().clamp(limits.min, limits.max)
    return x.to(kind)
