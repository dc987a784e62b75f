"""Victims whose answers are known, rows at the edge of what a defense may get, and data for a surrogate."""

import hypothesis.strategies as st
import torch
from tests.support.variance import wobble
from torch import Tensor, nn

from feint.data import Split
from feint.models.networks import Network
from feint.signature import Columns, Domain, Pixels
from feint.victims import Trained

LENET = Network("lenet", (1, 8, 8), 5)
SURROGATE = Trained.of(LENET.build(0))


class Fixed(nn.Module):
    """A victim that answers every input with the same logits."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), -1)


class Linear(nn.Module):
    """A softmax regression: every number of it is known."""

    def __init__(self, features: int = 4, classes: int = 3, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(classes, features, generator=generator) * 4)

    def forward(self, x: Tensor) -> Tensor:
        return wobble(x.flatten(1) @ self.weight.T)


class OnRows(nn.Module):
    """A softmax regression on age, income, city and membership, the `Columns` of the registry of examples."""

    def __init__(self, domain: Columns) -> None:
        super().__init__()
        self.domain = domain
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(2 * torch.randn(6, 3, generator=generator).double())

    def forward(self, x: Tensor) -> Tensor:
        age, income = (x[:, 0] - 40) / 15, (x[:, 1].nan_to_num(2.5e4) - 2.5e4) / 8e3
        city = torch.nn.functional.one_hot(x[:, 2].long(), 3)
        rows = torch.cat([age[:, None], income[:, None], city, (x[:, 3:] == 1)], 1)
        return wobble((rows @ self.weight).float())


class StepsOnRows(nn.Module):
    """A decision tree on the same columns that asks for a number, a category and a missing value."""

    def __init__(self, domain: Columns) -> None:
        super().__init__()
        self.domain = domain
        self.leaves = nn.Parameter(torch.tensor([[2.0, 0, 0], [0, 2, 0], [0, 0, 2], [1.5, 0, 0], [0, 1.5, 0]]))

    def forward(self, x: Tensor) -> Tensor:
        young, vienna, poor = x[:, 0] <= 36.5, x[:, 2] == 1, x[:, 1] <= 2.7e4
        missing = torch.where(x[:, 1].isnan(), 2, torch.where(poor, 3, 4))
        return wobble(self.leaves[torch.where(young, vienna.long(), missing)])


class Letters(nn.Module):
    """A classifier of sequences and texts that counts three kinds of tokens or letters."""

    def __init__(self, domain: Domain) -> None:
        super().__init__()
        self.domain = domain

    def forward(self, x: Tensor) -> Tensor:
        kinds = torch.nn.functional.one_hot(x.long() % 3, 3)
        return wobble(kinds.sum(1).float())


class LinearOnImages(Linear):
    """The same as a surrogate, on images of 2×2."""

    domain = Pixels((1, 2, 2))


class LinearOn(nn.Module):
    """A softmax regression on the inputs of any domain: standardised numbers, with 0 for what is missing."""

    def __init__(self, domain: Domain, classes: int = 3, seed: int = 0) -> None:
        super().__init__()
        self.domain = domain
        x = torch.from_numpy(domain.sample(500, 1)).double().flatten(1)
        self.mean, self.deviation = x.nanmean(0), (x.nan_to_num() - x.nan_to_num().mean(0)).std(0).clamp_min(1e-9)
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(classes, x.shape[1], generator=generator, dtype=torch.float64) * 4)

    def forward(self, x: Tensor) -> Tensor:
        z = ((x.double().flatten(1) - self.mean) / self.deviation).nan_to_num(0.0)
        return (z @ self.weight.T / z.shape[1] ** 0.5).float()


def edge_case_rows(classes: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return rows (N, K) that break careless code: one-hot, uniform, with ties, nearly tied, tiny, confident."""
    k = classes
    generator = torch.Generator().manual_seed(k)
    one_hot = torch.eye(k)[[0, k // 2, k - 1]]
    uniform = torch.full((1, k), 1 / k)
    top_tie = torch.zeros(1, k)
    top_tie[0, [0, k - 1]] = 0.5
    pairs = torch.arange(k).div(2, rounding_mode="floor").flip(0)[None] + 1.0
    near = torch.full((1, k), 1 / k)
    near[0, k - 1] += 1e-7
    logits = torch.randn(8, k, generator=generator) * torch.tensor([0.01, 0.1, 1, 3, 10, 30, 60, 100])[:, None]
    rows = torch.cat([one_hot, uniform, top_tie, pairs, near, logits.softmax(-1)]).to(torch.float64)
    return (rows / rows.sum(-1, keepdim=True)).to(dtype)


@st.composite
def simplex_rows(draw, classes: int) -> Tensor:
    """A few rows on the simplex with many ties: whole numbers up to 6, divided by their sum."""
    n = draw(st.integers(0, 4))
    counts = draw(st.lists(st.lists(st.integers(0, 6), min_size=classes, max_size=classes), min_size=n, max_size=n))
    rows = torch.tensor(counts, dtype=torch.float32).reshape(n, classes)
    rows[rows.sum(-1) == 0] = 1.0
    return rows / rows.sum(-1, keepdim=True)


def order(p: Tensor) -> Tensor:
    """Return the classes of each row, most probable first and the lowest first among equals: the rule, by a sort."""
    return torch.tensor([sorted(range(p.shape[-1]), key=lambda i: (-row[i], i)) for row in p.tolist()]).reshape(p.shape)


class Steps(nn.Module):
    """A decision tree of depth two on the first two of the features: a leaf for each class and one more."""

    def __init__(self) -> None:
        super().__init__()
        self.leaves = nn.Parameter(torch.tensor([[2.0, 0, 0], [0, 2, 0], [0, 0, 2], [1.5, 0, 0]]))

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return wobble(self.leaves[torch.where(x[:, 0] <= 0.6, (x[:, 1] > 0.4).long(), 2 + (x[:, 1] > 0.7).long())])


def answers_and_images(n: int) -> tuple[Tensor, Tensor]:
    """Random probabilities (n, 5) and images (n, 1, 8, 8) for `SURROGATE`."""
    generator = torch.Generator().manual_seed(0)
    return (3 * torch.randn(n, 5, generator=generator)).softmax(-1), torch.rand(n, 1, 8, 8, generator=generator)


def noise_split(n: int = 40) -> Split:
    """A split of `n` random images (1, 8, 8) of label 0."""
    images = torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return Split.of(images.numpy(), torch.zeros(n, dtype=torch.int64).numpy(), name="noise")


def gradient_matrix(model: nn.Module, x: Tensor) -> Tensor:
    """The gradients of the K log-probabilities of one input `x`, by K backward passes: G (K, D)."""
    parameters = [parameter.requires_grad_() for parameter in model.parameters()]
    logs = model(x[None]).log_softmax(-1)[0]
    rows = [torch.autograd.grad(log, parameters, retain_graph=True) for log in logs]
    model.requires_grad_(False)
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
