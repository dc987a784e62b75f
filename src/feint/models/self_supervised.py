"""Rotation loss of S4L: a second head predicts the rotation of an image, and is dropped after the training."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feint.errors import BadInput
from feint.models.batch import Batch
from feint.models.networks import Classifier, Network


class WithRotations(nn.Module):
    """Classifier with a second linear head (N, 4) on the features before its last layer. A call returns class logits.

    Args:
        model: The classifier.
        seed: Seed of the second head's initial weights.

    Raises:
        BadInput: The images are not square, or the network does not end in a linear layer.
    """

    def __init__(self, model: Classifier, seed: int) -> None:
        super().__init__()
        height, width = model.network.shape[1:]
        if height != width:
            raise BadInput(f"images of {height} × {width} pixels", "square ones, which turn", "leave rotation out")
        body = model.body
        if not isinstance(body, nn.Sequential) or not isinstance(last := body[-1], nn.Linear):
            raise BadInput(f"the network {model.network.name}", "one that ends in a linear layer", "leave rotation out")
        self.model = model
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = nn.Linear(last.in_features, 4).to(model.device)

    @property
    def network(self) -> Network:
        """Recipe of the classifier."""
        return self.model.network

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the class logits (N, K) and the rotation logits (N, 4) of inputs `x` (N, C, H, W)."""
        *body, last = self.model.body.children()
        features = nn.Sequential(*body)(self.model.preprocessing(x))
        return last(features), self.head(features)


def s4l(model: WithRotations, batch: Batch, *, weight: float) -> Tensor:
    """Return the loss of S4L (Zhai et al., ICCV 2019).

    It is the cross-entropy to the targets, plus `weight` times that to the rotation of each image by 0, 90, 180 and 270
    degrees. Rotated are the images of the second stream, which need no targets, or else those of the batch. A step
    costs four times as much, five times with a second stream, since all go through the network. Of a batch only the
    upright images count for the targets.
    """
    unlabelled = batch.x if batch.outliers is None else batch.outliers
    turned = [unlabelled.rot90(turn, (2, 3)) for turn in range(4)]
    labelled = [] if batch.outliers is None else [batch.x]
    turns = torch.arange(4, device=batch.x.device).repeat_interleave(len(unlabelled))
    z, rotations = model.both(torch.cat([*labelled, *turned]).contiguous(memory_format=torch.channels_last))
    return F.cross_entropy(z[: len(batch.x)].float(), batch.targets) + weight * F.cross_entropy(
        rotations[-len(turns) :].float(), turns
    )
