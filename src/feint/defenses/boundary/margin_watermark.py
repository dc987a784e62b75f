"""Margin-based watermark: a few inputs with labels of their own, learned with a margin around them."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feint.data import Split
from feint.defenses.boundary.adversarial_training import AdversarialTraining
from feint.defenses.boundary.boundary import FINE_TUNING, Boundary, Retrained, check_at_least, train_model
from feint.errors import BadInput
from feint.fitting import FitContext
from feint.models.training import Batch, Training
from feint.signature import Columns, Domain, Pixels


@dataclass(frozen=True)
class MarginWatermark(Boundary):
    """Wrong labels for a few inputs, with a margin around them (MBW: Kim et al., ICML 2023).

    `count` of the inputs get a wrong label, drawn at random. The objective is::

        minimise   Σ CE(f(x), y) + weight · Σ CE(f(t'), l),   t' ≈ argmax CE(f(t'), l) over |t' − t| ≤ steps · step

    over the rows of a step: inputs x with labels y, and `batch` of the chosen inputs t with their labels l. With a
    margin, the boundary of a copy falls inside it more often. `feint.ownership.trained_mark` makes the mark of the same
    recipe and inputs. The authors train a ResNet-34 for 200 epochs and let the attacker ask without a limit; the
    defaults here fine-tune a model.

    Attributes:
        count: Inputs that get a wrong label.
        batch: Of these, how many are in each step.
        step: Change of each value in a step of the ascent.
        steps: Steps of the ascent.
        draw: Seed of which inputs and which labels.
        weight: Weight of the second term, 0 or more.
        training: Length and learning rate of the training.
        from_scratch: Whether to begin with new weights.
    """

    cite: ClassVar[str] = "kim2023margin"
    domains: ClassVar[tuple[type[Domain], ...]] = (Pixels, Columns)
    count: int = 100
    batch: int = 25
    step: float = 1 / 255
    steps: int = 5
    draw: int = 0
    weight: float = 1.0
    training: Training = FINE_TUNING
    from_scratch: bool = False

    def __post_init__(self) -> None:
        check_at_least(self, 1, self.count, self.batch, self.steps)
        check_at_least(self, 0, self.step, self.draw, self.weight)

    def retrain_from(self, context: FitContext) -> Retrained:
        """See `Boundary.retrain`; outliers are not used."""
        chosen, labels = self.triggers(context.inputs, int(context.inputs.labels.max()) + 1)
        return train_model(self, context, self.loss, outliers=chosen, outlier_targets=labels)

    def triggers(self, inputs: Split, classes: int) -> tuple[Split, Tensor]:
        """Return the chosen inputs and their wrong labels (count,), the same for the same inputs.

        Raises:
            BadInput: There are fewer inputs.
        """
        if len(inputs) < self.count:
            raise BadInput(f"{len(inputs)} inputs", f"{self.count} or more", "give it more, or lower count")
        random = torch.Generator().manual_seed(self.draw)
        rows = torch.randperm(len(inputs), generator=random)[: self.count]
        chosen = inputs.take(rows.numpy(), part=f"{inputs.part}, chosen")
        shift = torch.randint(1, classes, (self.count,), generator=random)
        return chosen, (chosen.labels + shift) % classes

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the objective above on a batch."""
        assert batch.outliers is not None
        assert batch.outlier_targets is not None
        t, labels = batch.outliers[: self.batch], batch.outlier_targets[: self.batch]
        ascent = AdversarialTraining(radius=min(self.steps * self.step, 1), step=self.step or 1e-9, steps=self.steps)
        moved = ascent.worst(model, t, labels)
        answers = model(torch.cat([batch.x, moved])).float()
        ordinary, marked = answers.split([len(batch.x), len(moved)])
        share = len(moved) / len(batch.x)  # each row counts alike
        return F.cross_entropy(ordinary, batch.targets) + self.weight * share * F.cross_entropy(marked, labels)
