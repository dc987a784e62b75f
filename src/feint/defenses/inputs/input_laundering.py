"""Information laundering of the queries."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from feint.defenses.inputs.input import Input
from feint.defenses.keyed import uniforms
from feint.defenses.keyed_numbers import check_key
from feint.defenses.laundering import Problem, launder
from feint.errors import BadInput, BadRecipe, in_range
from feint.fitting import FitContext, Fittable, learned_by
from feint.recipes.store import Weights
from feint.signature import Domain, Pixels


@dataclass(frozen=True)
class InputLaundering(Input, Fittable):
    """Random replacement of pixel levels, so that the model sees less of the query (Wang et al., ICLR 2021).

    Each value of the inputs (N, …) in [0, 1] is rounded to one of `levels` x and replaced by a level x̃::

        x̃ ~ a(·|x),   a minimises  E_x KL(g(·|x) ‖ Σ_x̃ a(x̃|x) g(·|x̃)) + price · I(X; X̃)

    The paper lets the model itself be p*. Over single pixels there is no such thing, so here ``g(·|x)`` reads a level
    with a Gaussian error of `reading` levels, a choice of ours: confusing neighbours is cheap, and black with white
    expensive. The levels' frequencies are fitted. The draw is keyed: the same query gets the same noise on every
    replica. No state is stored.

    Attributes:
        key: The owner's secret.
        levels: Levels of a value, 2 to 256.
        price: Price of a nat of I(X; X̃), 0 (the identity) to 1e6.
        reading: Error of g in levels, 0.1 to 256.
        kernel: The kernel a, set by `fit`.
    """

    cite: ClassVar[str] = "wang2021information"
    domains: ClassVar[tuple[type[Domain], ...]] = (Pixels,)
    randomised: ClassVar[bool] = True
    countermeasures: ClassVar[Mapping[str, str]] = {"near copies, 16": "NearCopies(16)"}
    key: str
    levels: int = 16
    price: float = 0.05
    reading: float = 1.0
    kernel: Weights | None = None

    def __post_init__(self) -> None:
        check_key(self.key)
        in_range(self, "levels", "2 to 256", 2, 256)
        if not 0 <= self.price <= 1e6 or not 0.1 <= self.reading <= 256:
            raise BadRecipe(repr(self), "a price of 0 (the identity) to 1e6 and a reading of 0.1 to 256", "change it")

    def fit_from(self, context: FitContext) -> Self:
        """Return this recipe with the kernel for the levels in the first 1,000 of `inputs`."""
        return self.fit_inputs(context.inputs.inputs(slice(0, 1000)))

    def fit_inputs(self, x: Tensor) -> Self:
        """Return this recipe with the kernel for the levels in inputs.

        Args:
            x: Inputs, (N, …) in [0, 1].

        Returns:
            The fitted recipe.

        Raises:
            BadInput: if there are no inputs.
        """
        if not x.numel():
            raise BadInput("no inputs to learn from", "at least one", "give it some")
        counts = self._level(x).flatten().bincount(minlength=self.levels).double() + 1
        at = torch.arange(self.levels, dtype=torch.float64)
        reads = (-(((at[:, None] - at) / self.reading) ** 2) / 2).softmax(-1)
        problem = Problem(reads, counts / counts.sum(), self.price, 0.0)
        kernel = launder(problem).input
        kernel = torch.eye(self.levels, dtype=torch.float64) if kernel is None else kernel  # at price 0
        return replace(self, kernel=Weights.of({"input": kernel}))

    def _level(self, x: Tensor) -> Tensor:
        return (x * (self.levels - 1)).round().long()

    def perturb(self, x: Tensor, model: nn.Module) -> Tensor:
        if self.price == 0:
            return x
        upto = learned_by(self, self.kernel, "a fitted kernel")["input"].to(x.device).cumsum(-1)
        upto[:, -1] = 1.0
        purpose = f"InputLaundering {self.levels!r} {self.price!r}"
        drawn = uniforms(self.key, x, x[0].numel(), purpose=purpose).to(x.device).reshape(-1)
        # the rows' cumulative sums, one above the other, are one rising sequence: one search finds all levels
        ladder = (upto + torch.arange(self.levels, device=x.device)[:, None]).reshape(-1)
        level = self._level(x).reshape(-1)
        replaced = torch.searchsorted(ladder, drawn + level) - level * self.levels
        return (replaced.clamp_(0, self.levels - 1) / (self.levels - 1)).to(x.dtype).reshape(x.shape)
