"""SEAT: similarity of a query to the client's earlier ones, which synthesis by small steps leaves behind."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feint.defenses.access._windows import pieces
from feint.defenses.input_distances import distance_in
from feint.errors import BadInput, BadRecipe, NotFitted
from feint.fitting import FitContext, Fittable, learned_by
from feint.ledger import Account
from feint.models.networks import Network
from feint.models.training import Batch, Training, refine
from feint.query import Query
from feint.recipes.store import Weights
from feint.signature import Domain, Pixels
from feint.victims import Trained

HELD = 1 / 3  # of the inputs of `fit`, to calibrate on


@dataclass(frozen=True)
class SEAT(Fittable):
    """Detector of clients many of whose queries are near copies of each other (Zhang, Chen and Wagner, AISec 2021).

    An encoder e learns that an input and a slightly changed one are alike and two inputs are not. With a margin m² and
    the mean squared difference d it minimises::

        d(e(x), e(x⁺)) + max(0, m² − d(e(x), e(x⁻)))

    This is for images. There is no encoder for tables, tokens and texts: their distance is Gower's or Jaccard's
    (`feint.defenses.input_distances`). Equal ones do not count there, since honest rows and short texts repeat.

    x⁺ is the worst of `steps` gradient steps within ‖x⁺ − x‖∞ ≤ `radius` for the encoder, and x⁻ another input of the
    batch. A query is a hit when its distance to the nearest earlier one is below that of all but a `quantile` of benign
    queries to theirs. Evidence = hits / `allowed`.

    The authors' code has another x⁺: a random transform of x, or an adversarial example of the victim (ε = 8/255). So
    "alike" means there what the victim or a transform changes, and here what the encoder itself tells apart; the
    encoder is fitted without a query to the victim. Their encoder has 256 dimensions and was a classifier first; it
    learns for 30 to 50 epochs in batches of 32 with Adam at 1e-3. Here it is a smaller network with new weights, which
    learns with AdamW at 1e-3 for fewer steps:
    `SEAT("resnet20", 256, training=Training(epochs=50, batch_size=32, learning_rate=1e-3, optimizer="adamw"))` is
    nearest to theirs. SGD does not get there: at 0.1 all digits get one embedding, and 10,000 images of Fashion-MNIST
    weights that are not finite.

    The memory is ours: a client's embeddings and hits begin anew after `memory` queries, or after as many as there were
    to calibrate on if these are fewer. More memory makes for nearer neighbours than those of calibration, and hits of
    honest clients, a `quantile` of their queries, would add up to an accusation in the end.

    Attributes:
        network: Name of the encoder's network.
        dimensions: Outputs of the encoder, 2 or more.
        margin: m, above 0.
        radius: Largest change of x⁺ in the maximum norm, in [0, 1].
        steps: Gradient steps towards x⁺, 0 or more.
        training: Training of the encoder.
        quantile: Share of honest queries that are hits, between 0 and 1.
        allowed: Hits that accuse, 1 or more.
        memory: Queries of a client after which its memory begins anew, 2 or more.
        encoder: The trained encoder of images, set by `fit`.
        calibration: The threshold of a hit and the number of inputs behind it, set by `fit`.
        domain: Domain of other inputs than images, set by `fit`.
    """

    cite: ClassVar[str] = "zhang2021seat"
    encoded: ClassVar[tuple[type[Domain], ...]] = (Pixels,)
    network: str = "lenet"
    dimensions: int = 32
    margin: float = 10.0**0.5
    radius: float = 8 / 255
    steps: int = 3
    training: Training = Training(epochs=10, least_steps=1000, learning_rate=1e-3, optimizer="adamw")
    quantile: float = 0.001
    allowed: int = 50
    memory: int = 5000
    encoder: Trained | None = None
    calibration: Weights | None = None
    domain: Domain | None = None

    def __post_init__(self) -> None:
        if self.dimensions < 2 or self.margin <= 0 or self.steps < 0 or not 0 <= self.radius <= 1:
            raise BadRecipe(repr(self), "dimensions ≥ 2, margin > 0, steps ≥ 0, radius in [0, 1]", "change it")
        if not 0 < self.quantile < 1 or self.allowed < 1 or self.memory < 2:
            raise BadRecipe(repr(self), "0 < quantile < 1, allowed ≥ 1, memory ≥ 2", "change it")

    def fit_from(self, context: FitContext) -> Self:
        """Return this recipe with an encoder and the benign distances of the inputs. The victim is not queried.

        Raises:
            BadInput: if there are too few inputs to calibrate on.
        """
        held = round(HELD * len(context.inputs))
        if held < 2:
            raise BadInput(f"{len(context.inputs)} inputs", "6 or more, a third to calibrate on", "give more")
        order = torch.randperm(len(context.inputs), generator=torch.Generator().manual_seed(context.seed))
        if isinstance(context.inputs.domain, self.encoded):
            fitted = replace(self, encoder=self._trained(context, order[held:]), domain=None)
        else:
            fitted, held = replace(self, domain=context.inputs.domain), min(len(order), self.memory)
        e = torch.cat([fitted.embed(context.inputs.inputs(rows)) for rows in order[:held].split(500)])
        blocks = torch.arange(held).split(500)
        nearest = [fitted.between(e[i], e).scatter_(1, i[:, None], torch.inf).amin(-1) for i in blocks]
        threshold = torch.cat(nearest).sort().values[int(self.quantile * held)]
        if not threshold.isfinite():
            raise BadInput(f"{held} inputs that are all alike", "different ones", "give others")
        return replace(fitted, calibration=Weights.of({"threshold": threshold, "held": torch.tensor(held)}))

    def _trained(self, context: FitContext, rows: Tensor) -> Trained:
        """Return an encoder that was trained on these rows of the inputs."""
        x = torch.from_numpy(np.array(context.inputs.values[rows.numpy()]))
        start = Network(self.network, context.inputs.domain, self.dimensions).build(context.seed)
        name = repr((self.margin, self.radius, self.steps))
        no_targets = torch.zeros(len(x), dtype=torch.int64)
        model, _ = refine(
            start, x, no_targets, self.training, loss=self.loss, name=name, seed=context.seed, progress=context.progress
        )
        return Trained.of(model)

    def loss(self, encoder: nn.Module, batch: Batch) -> Tensor:
        """Return the margin loss of a batch, with the next input of the batch as x⁻."""
        x = batch.x
        near = (x + self.radius * torch.empty_like(x).uniform_(-1, 1)).clamp(0, 1)
        anchor = encoder(x).float()
        for _ in range(self.steps):
            near = near.detach().requires_grad_()
            (slope,) = torch.autograd.grad(F.mse_loss(encoder(near).float(), anchor.detach()), near)
            near = near + self.radius / self.steps * 2 * slope.sign()
            near = torch.minimum(torch.maximum(near, x - self.radius), x + self.radius).clamp(0, 1)
        alike = F.mse_loss(encoder(near.detach()).float(), anchor)
        apart = (anchor - anchor.roll(1, 0)).square().mean(-1)
        return alike + F.relu(self.margin**2 - apart).mean()

    @torch.no_grad()
    def embed(self, x: Tensor) -> Tensor:
        """Return what is stored of inputs: the embeddings of images, or the rows of a distance.

        Args:
            x: Inputs, (N, …).

        Returns:
            Rows of numbers, (N, d).

        Raises:
            NotFitted: without an encoder or a domain.
        """
        if self.domain is not None:
            self.domain.check(x.cpu().numpy())
            return distance_in(self.domain).rows(x)
        if self.encoder is None:
            raise NotFitted(f"{self!r}", "an encoder", "fit it first: feint fit, or SEAT(…).fit(…)")
        return self.encoder.model(x.cpu())

    def between(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distances (n, m) between rows of `embed`: between equal ones 0 for images, and else inf."""
        if self.domain is not None:
            distance = distance_in(self.domain).between(a, b)
            return distance.masked_fill(distance == 0, torch.inf)
        return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")

    def observe(self, query: Query, z: Tensor, account: Account) -> float:
        """Record the query's embeddings, and count the hits among them. `NotFitted` is raised before a fit.

        Args:
            query: The query.
            z: Its undefended logits, which are not used.
            account: The client's account.

        Returns:
            The evidence of the window with the most hits so far.
        """
        e = self.embed(query.x)
        calibration = learned_by(self, self.calibration, "benign distances")
        window = min(self.memory, int(calibration["held"]))
        for _, piece in pieces(account, "SEAT", len(query), window=window):
            past = account.rows("SEAT")
            hits = nearest_before(past.tensor[:, 1:], e[piece], self.between) < calibration["threshold"]
            past.append(torch.cat([hits[:, None].float(), e[piece]], -1), most=window)
            account.add("SEAT", 0.0, floor=past.tensor[:, 0].sum().item() / self.allowed)
        return account.total("SEAT")


def nearest_before(past: Tensor, e: Tensor, between: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return the distance of each row of `e` to the nearest row of `past` or above it in `e`; inf without any."""
    among = between(e, e).masked_fill(torch.ones(len(e), len(e)).triu().bool(), torch.inf).amin(-1)
    return torch.minimum(among, between(e, past).amin(-1)) if len(past) else among
