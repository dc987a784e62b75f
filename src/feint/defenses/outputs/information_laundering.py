"""Information laundering of the answers."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from feint.defenses.laundering import Problem, launder
from feint.defenses.outputs.output import Output, check_examples
from feint.errors import BadInput, in_range
from feint.fitting import FitContext, Fittable, learned_by
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.recipes.store import Weights
from feint.victims import answers

MOST = 2000  # answers that a kernel is fitted to: 0.01 s for 10 classes, 6 s for 1,000


@dataclass(frozen=True)
class InformationLaundering(Output, Fittable):
    """Random replacement of labels, so that answers leak less (Wang et al., ICLR 2021).

    For rows p, q (N, K) on the simplex::

        q(y|x) = Σ_y′ p(y′|x) b(y|y′),   b minimises  E_x KL(p(·|x) ‖ q(·|x)) + price · I(Y′; Y)

    The paper's service draws a label from q. This one answers with q itself, its expectation, so that repeats reveal
    nothing new. The fixed point is derived in `feint.defenses.laundering`; the paper's settings are unknown to us. No
    state is stored.

    Attributes:
        price: Nats of loss for a nat of I(Y′; Y), 0 (the identity) to 1e6. With a high price every answer is the
            average.
        kernel: The table b, (K, K), set by `fit`.
    """

    cite: ClassVar[str] = "wang2021information"
    price: float = 0.5
    kernel: Weights | None = None

    def __post_init__(self) -> None:
        in_range(self, "price", "0 (the identity) to 1e6", 0, 1e6)

    @property
    def preserves(self) -> str:
        return ""

    def fit_from(self, context: FitContext) -> Self:
        """Return this recipe with the kernel for the victim's answers to `inputs`."""
        return self.fit_answers(answers(context.victim, context.inputs), seed=context.seed, progress=context.progress)

    def fit_answers(self, p: Tensor, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Self:
        """Return this recipe with the kernel for answers. `BadInput` is raised where there are none.

        Args:
            p: Answers of the victim, (N, K), of which at most `MOST` are drawn.
            seed: Seed of that draw.
            progress: Progress callback.

        Returns:
            The fitted recipe.
        """
        check_examples(p)
        sample = p[torch.randperm(len(p), generator=torch.Generator().manual_seed(seed))[:MOST]]
        even = torch.full((len(sample),), 1 / len(sample))
        kernels = launder(Problem(sample, even, 0.0, self.price), rounds=200, tolerance=1e-6)
        progress.step("fitting", 1, 1)
        return replace(self, kernel=Weights.of({"output": kernels.output}))

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        if self.price == 0:
            return p
        table = learned_by(self, self.kernel, "a fitted kernel")["output"]
        if len(table) != p.shape[-1]:
            raise BadInput(
                f"answers of {p.shape[-1]} classes", f"the {len(table)} that it was fitted to", "fit it to this victim"
            )
        return (p.double() @ table).to(p.dtype)
