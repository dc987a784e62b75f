"""Equation solving: the parameters of a linear model from a linear system."""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.parametric.experiment_design import WeighingDesign
from feint.attacks.parametric.linear_parameters import classifier, require_linear
from feint.attacks.probing import BATCH, require_budget, require_probabilities
from feint.errors import Refused
from feint.models.networks import Classifier, Network
from feint.oracle import Oracle, concatenate
from feint.progress import NO_PROGRESS, ProgressCallback

SCALES = 1.0, 1 / 8, 1 / 64  # of the inputs: the next one is used if answers saturate
TINY = torch.finfo(torch.float32).tiny  # a probability below it has lost digits


@dataclass(frozen=True)
class EquationSolving(Attack):
    """Equation solving for binary and softmax regression (Tramèr et al., USENIX Security 2016, §4.1).

    For d features,

        log p_k − mean_j log p_j = (w_k − w̄)·x + b_k − b̄

    is linear in the parameters. Therefore d + 1 answers determine them up to a shift that all classes share and no
    answer shows: the surrogate has those whose mean over the classes is zero. No pool and no training.

    The paper asks random inputs. Here they are a `WeighingDesign`: the answers are float32, and their rounding is
    averaged over half of the features in every query. All of the budget is asked, in blocks of d + 1 with other inputs
    each, and the equations are solved by least squares: more of them help against rounding and noise. Refused below d +
    1, the attack takes the solution of the least norm.

    Answers of zero have no logarithm. They come from saturation, so the inputs are scaled down and asked anew if the
    budget still pays for d + 1. Otherwise, or if that does not help (top-k), half of the smallest positive probability
    in the answers stands for them, and the parameters are approximate. Raises `BadInput` for a budget below d + 1, and
    for answers that are labels only.

    Args:
        surrogate: The network `linear`.
    """

    cite: ClassVar[str] = "tramer2016stealing"
    surrogate: Network

    def __post_init__(self) -> None:
        require_linear(self.surrogate)

    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        features = prod(self.surrogate.shape)
        require_budget(oracle, self.surrogate, features + 1)
        oracle.keep_answers_only()
        design, p = self._answers(oracle, features, torch.Generator().manual_seed(seed), progress)
        require_probabilities(p, "LowdMeek needs labels only")
        return classifier(self.surrogate, *design.solve(log_ratios(p)))

    def _answers(
        self, oracle: Oracle, features: int, generator: torch.Generator, progress: ProgressCallback
    ) -> tuple[WeighingDesign, Tensor]:
        """Return the design that was asked last, and its answers (n, K)."""
        answered: list[tuple[WeighingDesign, Tensor]] = []
        for scale in SCALES:
            design = WeighingDesign.draw(features, oracle.left, scale, generator)
            p, refusal = self._ask(oracle, design, progress, last=scale == SCALES[-1])
            answered += [(design, p)] if len(p) else []
            if refusal is not None and not answered:
                raise refusal
            if refusal is not None or not oracle.left or (p >= TINY).all():
                break
        return answered[-1]

    def _ask(
        self, oracle: Oracle, design: WeighingDesign, progress: ProgressCallback, *, last: bool
    ) -> tuple[Tensor, Refused | None]:
        """Ask the inputs of a design until a refusal, or until saturated answers call for smaller inputs.

        Args:
            oracle: The victim behind its budget.
            design: The inputs.
            progress: Callback for each batch.
            last: Whether no smaller inputs follow.

        Returns:
            The answers (n, K), and the refusal if there was one.
        """
        answers: list[Tensor] = []
        least, total = len(design.g) + 1, design.count
        for x in design.inputs(BATCH):
            p, refusal = oracle.try_ask(x.view(-1, *self.surrogate.shape))
            answers.append(p)
            progress.step(f"asking (the least is {least:,})", sum(map(len, answers)), total)
            rescale = not last and oracle.left >= least and len(p) and (p < TINY).any()
            if refusal is not None or rescale:
                break
        else:
            refusal = None
        return concatenate(answers), refusal


def log_ratios(p: Tensor) -> Tensor:
    """Return the log ratios log p_k − mean_j log p_j in float64.

    Args:
        p: Answers (N, K); zeros count as half of the least positive probability.

    Returns:
        The log ratios (N, K).
    """
    p = p.double()
    floor = p[p > 0].min() / 2
    logs = p.clamp_min(floor).log()
    return logs - logs.mean(-1, keepdim=True)
