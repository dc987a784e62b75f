"""Accuracy-preserving generative perturbation."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feint.defenses.outputs.distances import TINY
from feint.defenses.outputs.output import check_examples
from feint.defenses.outputs.ranks import OrderPreserving
from feint.defenses.outputs.rows import ranking, running_maximum
from feint.errors import BadInput, BadRecipe
from feint.fitting import FitContext, Fittable, learned_by
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.recipes.store import Weights
from feint.victims import answers

BATCH = 256


@dataclass(frozen=True)
class APGP(OrderPreserving, Fittable):
    """Generator that moves answers as far as their order allows (Cheng and Cheng, ICASSP 2023).

    For the last `top` ranks r, worst first::

        max_G  mean d(q, p),   q = softmax(projection of G(log p)),
        q_(r_i) = max(G_(r_i), max_(j<i) q_(r_j) + exp δ)

    The projection printed in the literature compares with G instead of q, which does not keep the order; this is the
    cumulative maximum. δ is learned with the generator; ties are kept apart by the staircase of `OrderPreserving`. The
    paper's architecture and training are unknown: the generator is a plain network of `hidden` layers on centred
    log-probabilities, trained for `steps` batches of 256 with Adam. Its optimum is known: `APGPClosedForm`.

    Attributes:
        top: Ranks whose order is preserved; None for all, 1 for the label alone.
        distance: d.
        decimals: Decimals of the API, 1 to 6, in which the order must still show.
        strength: Share of the way from the clean answer, 0 (the identity) to 1.
        epsilon: Largest L1 distance of an answer, up to 2; one number, or one for each label.
        hidden: Sizes of the hidden layers.
        steps: Training steps.
        learning_rate: Learning rate of Adam.
        generator: The generator's weights, set by `fit`.
    """

    cite: ClassVar[str] = "cheng2023apgp"
    hidden: tuple[int, ...] = (64, 64)
    steps: int = 2000
    learning_rate: float = 3e-3
    generator: Weights | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or not self.hidden or min(self.hidden) < 1 or self.learning_rate <= 0:
            raise BadRecipe(repr(self), "steps ≥ 1, hidden sizes ≥ 1 and a learning rate > 0", "change it")

    def fit_from(self, context: FitContext) -> Self:
        """Return this recipe with a generator trained on the victim's answers to `inputs` and `outliers`, if any."""
        p = [answers(context.victim, split) for split in (context.inputs, context.outliers) if split is not None]
        return self.fit_answers(torch.cat(p), seed=context.seed, progress=context.progress)

    def fit_answers(self, p: Tensor, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Self:
        """Return this recipe with a generator trained on answers. `BadInput` is raised where there are none.

        Args:
            p: Answers of the victim, (N, K).
            seed: Same answers and seed, same generator.
            progress: Progress callback.

        Returns:
            The fitted recipe.
        """
        check_examples(p)
        classes = p.shape[-1]
        top = min(self.top or classes, classes - 1)
        sizes = [classes, *self.hidden, classes]
        ranked, _ = ranking(p.float())
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)
            layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
            parameters = {"margin": nn.Parameter(torch.tensor(-math.log(classes)))}  # all K margins together are 1
            parameters |= {f"{i}.{name}": w for i, layer in enumerate(layers) for name, w in layer.named_parameters()}
            optimizer = torch.optim.Adam(parameters.values(), lr=self.learning_rate)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
            for step in range(self.steps):
                batch = ranked[torch.randint(len(p), (BATCH,))]
                loss = -self.distance(_project(_generate(parameters, batch), parameters["margin"], top), batch).mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(parameters.values(), 1.0)
                optimizer.step()
                schedule.step()
                if (step + 1) % 100 == 0 or step + 1 == self.steps:
                    progress.step("fitting", step + 1, self.steps)
        return replace(self, generator=Weights.of(parameters))

    def propose(self, ranked: Tensor, top: int) -> Tensor:
        weights = learned_by(self, self.generator, "a fitted generator")
        if weights["0.weight"].shape[1] != ranked.shape[-1]:
            raise BadInput(
                f"answers of {ranked.shape[-1]} classes",
                f"the {weights['0.weight'].shape[1]} that the generator was fitted to",
                "fit it to this victim",
            )
        return _project(_generate(weights, ranked.float()), weights["margin"], top).to(ranked.dtype)


def _generate(weights: Mapping[str, Tensor], ranked: Tensor) -> Tensor:
    """Return the generator's output (N, K) before the projection for answers sorted best first."""
    z = ranked.clamp_min(TINY).log_()
    z = (z - z.mean(-1, keepdim=True)).div_(10)  # a confident victim's logits spread over tens
    layers = (len(weights) - 1) // 2
    for i in range(layers):
        z = F.linear(z if i == 0 else z.relu_(), weights[f"{i}.weight"], weights[f"{i}.bias"])
    return z


def _project(generated: Tensor, log_margin: Tensor, top: int) -> Tensor:
    """Return the softmax of values, best first, with each of the first `top` raised above all that come after it."""
    head, rest = generated[:, :top], generated[:, top:]
    rising = torch.arange(top + 1, dtype=generated.dtype, device=generated.device) * log_margin.exp()
    worst_first = torch.cat([rest.amax(-1, keepdim=True), head.flip(-1)], -1) - rising
    head = (running_maximum(worst_first) + rising)[:, 1:].flip(-1)
    return torch.cat([head, rest], -1).softmax(-1)
