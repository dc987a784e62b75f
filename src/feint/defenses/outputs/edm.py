"""Ensemble of diverse models."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feint.defenses.boundary.boundary import require_outliers, stored
from feint.defenses.outputs._surrogates import network_of
from feint.defenses.outputs.misinformation import require_model
from feint.defenses.outputs.output import Output
from feint.errors import BadInput, BadRecipe, NotFitted
from feint.fitting import FitContext, Fittable
from feint.models.networks import Ensemble, Network
from feint.models.training import Batch, Training, refine, train
from feint.signature import Pixels
from feint.victims import Trained, predict

SLACK = 1e-5  # at h = 1, where a confident hash network saturates, a last bit below 1 must not select another member


@dataclass(frozen=True)
class EDM(Output, Fittable):
    """Ensemble of networks that disagree outside the task (Kariyappa et al., ICLR 2021).

    One of them answers each query. Over inputs x with labels y and outliers o, with cos between two answers::

        minimise   mean_a CE(f_a(x), y) + diversity · mean log Σ_(a<b) exp cos(f_a(o), f_b(o))
        member     i = (spread · c + ⌊(h − 1/M) spread · M / (M − 1)⌋) mod members,   h = max h(x), c = argmax h(x)

    The hash h is a small network that was trained to tell the M classes of the outliers apart. Near-identical inputs
    get the same member, while outside the task the members, and with them the answers, change from input to input. The
    victim's answer is not used.

    The loss is written from memory of the paper and the member's rule after a third party's code; training, and the
    hash network's size, are chosen here. The members are trained together from new weights. An answer costs two forward
    passes.

    Attributes:
        members: Networks of the ensemble, 2 or more.
        diversity: Weight of the outliers' term, 0 or more.
        spread: Members over which the confidence of h moves an input, 1 or more.
        training: Training of the members and of h.
        hash_network: Name of h's network for images; that of other inputs is the members'.
        hash_model: h, set by `fit`.
        ensemble: The members, set by `fit`.
    """

    cite: ClassVar[str] = "kariyappa2021protecting"
    members: int = 5
    diversity: float = 1.0
    spread: int = 2
    training: Training = Training()
    hash_network: str = "lenet"
    hash_model: Trained | None = None
    ensemble: tuple[Trained, ...] = ()

    def __post_init__(self) -> None:
        if self.members < 2 or self.spread < 1 or not self.diversity >= 0:
            raise BadRecipe(repr(self), "members ≥ 2, spread ≥ 1 and diversity ≥ 0", "change it")

    @property
    def preserves(self) -> str:
        return ""

    def fit_from(self, context: FitContext) -> Self:
        """Return this recipe with its members and its hash.

        Raises:
            BadInput: without outliers of at least two classes.
        """
        outliers = require_outliers(context.outliers, context.inputs)
        classes = int(outliers.labels.max()) + 1
        if classes < 2:
            raise BadInput("outliers of one class", "two or more, which the hash is to tell apart", "name another set")
        member = network_of(context, None)
        start = Ensemble(member, [context.seed * self.members + i for i in range(self.members)])
        ensemble, _ = refine(
            start, stored(context.inputs), context.inputs.labels, self.training,
            loss=self.loss, name=repr((self.members, self.diversity)),
            outliers=(stored(outliers), torch.zeros(len(outliers))), seed=context.seed, progress=context.progress,
        )  # fmt: skip
        name = self.hash_network if isinstance(outliers.domain, Pixels) else member.name
        network = Network(name, outliers.domain, classes)
        code = train(network, outliers, training=self.training, seed=context.seed, progress=context.progress)
        return replace(self, hash_model=Trained.of(code), ensemble=tuple(map(Trained.of, ensemble.classifiers)))

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the objective above on a batch."""
        assert batch.outliers is not None
        z = model(torch.cat([batch.x, batch.outliers])).float()
        inside, outside = z[:, : len(batch.x)], z[:, len(batch.x) :]
        ordinary = F.cross_entropy(inside.flatten(0, 1), batch.targets.repeat(len(z)))
        return ordinary + self.diversity * coherence(outside.softmax(-1))

    def member(self, x: Tensor) -> Tensor:
        """Return the index of the member that answers each input.

        Args:
            x: Inputs, (N, …).

        Returns:
            Indices, (N,).

        Raises:
            NotFitted: without a hash.
        """
        if self.hash_model is None:
            raise NotFitted(f"{self!r}", "a fitted hash", "fit it: feint fit … --outliers NAME")
        most, code = predict(self.hash_model.model, x).double().max(-1)
        classes = self.hash_model.network.classes
        fine = ((most * classes - 1) * self.spread / (classes - 1) + SLACK).floor().long()
        return (self.spread * code + fine) % self.members

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        _, x = require_model(self.ensemble[0] if self.ensemble else None, p, x)
        q, member = torch.empty_like(p), self.member(x)
        for i in member.unique().tolist():
            q[member == i] = predict(self.ensemble[i].model, x[member == i]).to(p)
        return q


def coherence(p: Tensor) -> Tensor:
    """Return log Σ_(a<b) exp cos(p_a, p_b) of answers (members, N, K) to one input, the mean over inputs."""
    unit = F.normalize(p, dim=-1)
    a, b = torch.triu_indices(len(p), len(p), 1)
    return (unit[a] * unit[b]).sum(-1).logsumexp(0).mean()
