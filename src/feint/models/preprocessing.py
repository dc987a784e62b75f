"""First layers of networks: from inputs of a domain to the features of a body."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from feint.models.ngrams import HashedNGrams
from feint.signature import Columns, Domain, Pixels, Text, Tokens

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation, used for every set of colour images
GREY = (0.5,), (0.5,)


class Preprocessing(nn.Module):
    """First layer of a network, from inputs (N, …) of a domain to the features of its body; by default the inputs.

    Attributes:
        domain: Domain of the inputs.
        features: Number of features of one input.
    """

    origin: Tensor

    def __init__(self, domain: Domain) -> None:
        super().__init__()
        self.domain = domain
        self.features = math.prod(domain.shape)
        self.register_buffer("origin", torch.zeros(()), persistent=False)

    def adapt(self, x: Tensor) -> None:
        """Take what the domain does not publish from the inputs `x` (N, …) of a training, as they are stored."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class ImagePreprocessing(Preprocessing):
    """Normalisation of images by fixed constants of their channels."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, domain: Domain) -> None:
        super().__init__(domain)
        channels = domain.shape[0]
        mean, deviation = IMAGENET if channels == 3 else (GREY[0] * channels, GREY[1] * channels)
        sides = (-1, *(1 for _ in domain.shape[1:]))
        self.register_buffer("mean", torch.tensor(mean).view(sides), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(sides), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.deviation


class TablePreprocessing(Preprocessing):
    """Rows of a table as float32 features: standardised numbers, one-hot categories, indicators of missing values.

    The features are those of all numbers, then one for each category of each column, then one for each optional column
    that is 1 where its value is missing. A missing number counts as the mean, and a missing category is none of them.
    Mean and deviation are those that the domain publishes. Where it lacks one they are stored with the weights, and
    `adapt` sets them.
    """

    column: Tensor
    code: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, domain: Columns) -> None:
        super().__init__(domain)
        numbers, categories, indicators = [], [], []  # (column, code) of the features of each kind
        for i, column in enumerate(domain.columns):
            if column.categories is None:
                numbers.append((i, 0))
            else:
                categories += [(i, code) for code in range(len(column.categories))]
            if column.optional:
                indicators.append((i, 0))
        where = [*numbers, *categories, *indicators]
        self.features = len(where)
        scales = [(domain.columns[i].mean, domain.columns[i].deviation) for i, _ in numbers]
        self.published = not any(None in scale for scale in scales)
        mean, deviation = torch.tensor(scales if self.published else [(0.0, 1.0)] * len(scales)).double().view(-1, 2).T
        codes = [float(code) for _, code in categories]
        self.register_buffer("column", torch.tensor([column for column, _ in where]), persistent=False)
        self.register_buffer("code", torch.tensor(codes, dtype=torch.float64), persistent=False)
        self.register_buffer("mean", mean.contiguous(), persistent=not self.published)
        self.register_buffer("deviation", deviation.contiguous(), persistent=not self.published)

    def adapt(self, x: Tensor) -> None:
        if self.published:
            return
        numbers = x.to(self.mean)[:, self.column[: len(self.mean)]]
        self.mean.copy_(numbers.nanmean(0).nan_to_num())
        deviation = (numbers - self.mean).square().nanmean(0).sqrt().nan_to_num()
        self.deviation.copy_(torch.where(deviation > 0, deviation, 1.0))

    @property
    def encoding(self) -> dict[str, Tensor]:
        """Arguments of `encoded`."""
        return {"column": self.column, "code": self.code, "mean": self.mean, "deviation": self.deviation}

    def forward(self, x: Tensor) -> Tensor:
        return encoded(x, **self.encoding)


def encoded(x: Tensor, column: Tensor, code: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Return the features (N, F) float32 of rows of a table, as `TablePreprocessing` makes them.

    Args:
        x: Rows, (N, D).
        column: Column of each feature, (F,): of those of numbers, of categories, and of indicators of missing values.
        code: Code of each category, (C,).
        mean: Mean of each number, (M,).
        deviation: Standard deviation of each number, (M,).
    """
    kinds = [len(mean), len(code), len(column) - len(mean) - len(code)]
    numbers, categories, missing = x[:, column].split(kinds, 1)
    scaled = torch.where(numbers.isnan(), 0.0, (numbers - mean) / deviation)
    return torch.cat([scaled.float(), (categories == code).float(), missing.isnan().float()], 1)


class NGramPreprocessing(Preprocessing):
    """Texts and token sequences as 4,096 hashed n-grams with TF-IDF weights, whose frequencies `adapt` sets."""

    def __init__(self, domain: Domain) -> None:
        super().__init__(domain)
        self.ngrams = HashedNGrams(domain, bits=12)
        self.features = self.ngrams.features

    def adapt(self, x: Tensor) -> None:
        self.ngrams.adapt(x)

    def forward(self, x: Tensor) -> Tensor:
        feature, value = self.ngrams(x)
        return value.new_zeros(len(x), self.features).scatter_add(1, feature, value)


def features(domain: Domain) -> Preprocessing:
    """Return numbers of which a linear function makes sense: normalised images, one-hot columns, n-grams of texts."""
    return _FEATURES[type(domain)](domain)


def values(domain: Domain) -> Preprocessing:
    """Return the inputs as they are, for trees and embeddings; images are normalised."""
    return ImagePreprocessing(domain) if isinstance(domain, Pixels) else Preprocessing(domain)


_FEATURES: dict[type[Domain], Callable[..., Preprocessing]] = {
    Pixels: ImagePreprocessing, Columns: TablePreprocessing, Tokens: NGramPreprocessing, Text: NGramPreprocessing
}  # fmt: skip
