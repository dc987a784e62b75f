"""Misinformation: answers of a network that was trained to be wrong."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from feint.defenses.boundary.boundary import joint_logits, require_outliers, stored
from feint.defenses.outputs._surrogates import network_of
from feint.defenses.outputs.output import Output
from feint.errors import BadInput, NotFitted
from feint.fitting import FitContext, Fittable
from feint.models.networks import Classifier
from feint.models.training import Batch, Training, refine
from feint.victims import Trained, answers, predict


@dataclass(frozen=True)
class Misinformation(Output, Fittable):
    """Answers of the misinformation model f̂ to every query: the harsh half of adaptive misinformation.

    Over inputs x with labels y, and outliers o (Kariyappa and Qureshi, CVPR 2020)::

        minimise   −log(1 − f̂(x)_y) − log(1 − f̂(o)_v(o))

    v(o) is the victim's own label of an outlier. f̂ is as unlike the victim on both as it can be, in the probability of
    one class. It has the victim's architecture, an MLP's if the victim is no network of Feint's, and starts from new
    weights. The logarithm is the logsumexp of all
    logits minus that of the others, which no confidence can overflow.

    Attributes:
        training: Training of f̂.
        misinformation: f̂, set by `fit`.
    """

    cite: ClassVar[str] = "kariyappa2020defending"
    training: Training = Training(epochs=10)
    misinformation: Trained | None = None

    @property
    def preserves(self) -> str:
        return ""

    def fit_from(self, context: FitContext) -> Self:
        """Return this recipe with a model that was trained to be wrong. `BadInput` is raised without outliers."""
        outliers = require_outliers(context.outliers, context.inputs)
        beside = stored(outliers), answers(context.victim, outliers).argmax(-1)
        start = network_of(context, None).build(context.seed)
        model, _ = refine(
            start, stored(context.inputs), context.inputs.labels, self.training,
            loss=misinformation_loss, name="misinformation", outliers=beside,
            seed=context.seed, progress=context.progress,
        )  # fmt: skip
        return replace(self, misinformation=Trained.of(model))

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        return model_answers(self.misinformation, p, x)


def misinformation_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Return −log(1 − f̂(·)_target), the mean over inputs plus the mean over outliers."""
    inside, outside = joint_logits(model, batch)
    assert batch.outlier_targets is not None
    return _avoid(inside, batch.targets) + _avoid(outside, batch.outlier_targets)


def _avoid(z: Tensor, target: Tensor) -> Tensor:
    """Return the mean of −log(1 − softmax(z)_target)."""
    others = z.scatter(-1, target.unsqueeze(-1), -torch.inf)
    return (z.logsumexp(-1) - others.logsumexp(-1)).mean()


def model_answers(trained: Trained | None, p: Tensor, x: Tensor | None) -> Tensor:
    """Return the rows (N, K) of another model for the inputs `x` of the rows `p` (N, K), in the type of `p`."""
    model, x = require_model(trained, p, x)
    return predict(model, x).to(p)


def require_model(trained: Trained | None, p: Tensor, x: Tensor | None) -> tuple[Classifier, Tensor]:
    """Return the model and the inputs that it can answer.

    Args:
        trained: The defense's own model.
        p: Answers of the victim, (N, K).
        x: Their inputs, (N, …).

    Returns:
        The model, and `x`.

    Raises:
        NotFitted: without a model.
        BadInput: without inputs, or for those of another victim.
    """
    if trained is None:
        raise NotFitted("a defense without its own model", "a fitted one", "fit it: feint fit … --outliers NAME")
    shape, classes = trained.network.shape, trained.network.classes
    if x is None:
        raise BadInput("answers without their inputs", f"the inputs x of shape (N, {shape})", "call it as (p, x)")
    if x.shape[0] != p.shape[0] or tuple(x.shape[1:]) != tuple(shape) or p.shape[1] != classes:
        raise BadInput(
            f"answers of {p.shape[1]} classes to inputs of shape {tuple(x.shape)}",
            f"{classes} classes and ({len(p)}, {', '.join(map(str, shape))}), those that the defense was fitted for",
            "fit it to this victim",
        )
    return trained.model, x
