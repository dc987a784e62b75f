"""Retraining: a model of the victim's own form, fitted to its answers to the last digit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.data_free.statistics import draws
from feint.attacks.probing import ask_all, require_budget
from feint.errors import BadRecipe
from feint.models.networks import Classifier, Network
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.signature import Columns, Domain, Pixels, Text, Tokens


@dataclass(frozen=True)
class Retraining(Attack):
    """Equations without a closed solution, solved by minimising a loss (Tramèr et al., USENIX Security 2016, §4.1.3).

    The attack asks uniformly random inputs, as many as the budget pays for. It minimises, over all of them at once and
    in float64,

        mean KL(answer ‖ surrogate) + decay · ‖θ‖² / 2

    by at most `iterations` steps of L-BFGS. The paper's budget is α times the number of parameters, α from 1/2 to 5;
    that is left to the budget here. The authors' code descends by SGD in batches of 20 answers.

    It is how one-vs-rest models are stolen (`one_vs_rest`): once normalised, p_k = σ(z_k) / Σσ(z_j) shows no single
    σ(z_k), so nothing is linear; K(d + 1) unknowns take (d + 1) · K / (K − 1) answers of K − 1 free numbers. A small
    perceptron (`mlp20`) is found up to its symmetries, or up to a local minimum. The seed draws inputs and the start.

    Args:
        surrogate: Architecture of the victim, with weights.
        iterations: Most steps of the optimiser.
        decay: Weight of the squared norm of the parameters θ, 0 or more.
    """

    cite: ClassVar[str] = "tramer2016stealing"
    domains: ClassVar[tuple[type[Domain], ...]] = (Pixels, Columns)
    instead: ClassVar[Mapping[type[Domain], str]] = dict.fromkeys((Tokens, Text), "Uniform")
    surrogate: Network
    iterations: int = 1000
    decay: float = 0.0

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.decay < 0:
            raise BadRecipe(repr(self), "iterations ≥ 1 and decay ≥ 0", "change it")

    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        require_budget(oracle, self.surrogate, 1)
        total = oracle.left
        ask_all(oracle, draws(self.surrogate.domain, total, seed, published=False), total, progress)
        return self._fit(oracle.transcript.x, oracle.transcript.p, seed, progress)

    def _fit(self, x: Tensor, p: Tensor, seed: int, progress: ProgressCallback) -> Classifier:
        """Return the surrogate that minimises the loss on inputs `x` (N, …) and answers `p` (N, K)."""
        model = self.surrogate.build(seed).train()
        x, body = model.preprocessing(x.to(model.device)).double(), model.body.double()
        weights = list(model.parameters())
        if not weights:
            raise BadRecipe(
                f"the surrogate {self.surrogate.name!r}", "a network with weights", "PathFinding makes trees"
            )
        p = p.double().to(model.device)
        entropy = torch.special.entr(p).sum(-1).mean()  # subtracted, so that the end of the descent is not rounded away
        optimizer = torch.optim.LBFGS(
            weights, max_iter=self.iterations, history_size=50, line_search_fn="strong_wolfe",
            tolerance_grad=1e-13, tolerance_change=1e-16,
        )  # fmt: skip
        step = 0

        def loss() -> Tensor:
            nonlocal step
            optimizer.zero_grad()
            value = -(p * body(x).log_softmax(-1)).sum(-1).mean() - entropy
            if self.decay:
                value = value + self.decay / 2 * torch.stack([weight.square().sum() for weight in weights]).sum()
            value.backward()
            progress.step("fitting", step := min(step + 1, self.iterations), self.iterations)
            return value

        optimizer.step(loss)
        return model.float().eval()
