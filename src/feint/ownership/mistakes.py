"""Mistakes of a model, which its copies repeat."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from feint.data import Split
from feint.errors import BadInput, BadRecipe
from feint.models.inference import answers
from feint.ownership.mark import Mark, Marking, check_classes
from feint.ownership.selection import NONE, Rehearsal, most_telling


@dataclass(frozen=True)
class SameMistakes(Marking):
    """Inputs that the model gets wrong (AKH of QuRD: Godinot et al., AAAI 2025).

    A copy learns the mistakes with everything else. Other models of the task make some of them, too: where labels are
    wrong, or classes are easily confused. A claim therefore looks at inputs that the suspect and a control both get
    wrong, and compares how often each gives the model's own wrong label: of two classes there is but one. Nothing of
    the model is changed, and any domain will do.

    Attributes:
        most: Greatest number of inputs.
        least: Least number of inputs.
        seed: Seed of the choice and of the order in which a suspect is asked.

    Raises:
        BadRecipe: Not 1 ≤ least ≤ most.
    """

    most: int = 200
    least: int = 20
    seed: int = 0

    method: ClassVar[str] = "same mistakes"

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise BadRecipe(repr(self), "1 ≤ least ≤ most", "change it")

    def mark(self, model: nn.Module, inputs: Split, rehearsal: Rehearsal = NONE) -> Mark:
        p = answers(model, inputs)
        check_classes(p.shape[1])
        labels = p.argmax(-1)
        wrong = (labels != inputs.labels).nonzero().flatten()
        if len(wrong) < self.least:
            raise BadInput(
                f"a model that gets {len(wrong)} of {len(inputs):,} inputs wrong", f"{self.least} or more",
                "give it more samples, or use Triggers alone",
            )  # fmt: skip
        x = inputs.inputs(wrong)
        rows = wrong[most_telling(x, labels[wrong], self.most, rehearsal, self.seed)]
        x, truth = inputs.inputs(rows), inputs.labels[rows]
        return Mark.of(self.method, inputs.domain, p.shape[1], x, labels[rows], truth)
