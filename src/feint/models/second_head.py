"""Second heads of a training: of an image's rotation, or of the pool's own labels. They are dropped after it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feint.errors import BadInput
from feint.models.batch import Batch
from feint.models.networks import Classifier, Network

TURNS = 4  # rotations of an image, by 0, 90, 180 and 270 degrees


class WithSecondHead(nn.Module):
    """Classifier with a second linear head on the features before its last linear layer. A call returns class logits.

    Args:
        model: The classifier.
        classes: Number L of classes of the second head.
        seed: Seed of the second head's initial weights.

    Raises:
        BadInput: The network does not end in a linear layer.
    """

    def __init__(self, model: Classifier, classes: int, seed: int) -> None:
        super().__init__()
        layers = list(model.body.children()) if isinstance(model.body, nn.Sequential) else []
        linear = [place for place, layer in enumerate(layers) if isinstance(layer, nn.Linear)]
        if not linear:
            raise BadInput(
                f"the network {model.network.name}", "one that ends in a linear layer",
                "leave rotation and auxiliary out",
            )  # fmt: skip
        self.model, self._place = model, linear[-1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = nn.Linear(layers[self._place].in_features, classes).to(model.device)

    @property
    def network(self) -> Network:
        """Recipe of the classifier."""
        return self.model.network

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the class logits (N, K) and the second head's logits (N, L) of inputs `x` (N, …)."""
        layers = list(self.model.body.children())
        features = nn.Sequential(*layers[: self._place])(self.model.preprocessing(x))
        return nn.Sequential(*layers[self._place :])(features), self.head(features)


def require_square(network: Network) -> None:
    """Raise `BadInput` unless the network's images are square, so that they can be turned."""
    height, width = network.shape[1:]
    if height != width:
        raise BadInput(f"images of {height} × {width} pixels", "square ones, which turn", "leave rotation out")


def s4l(model: WithSecondHead, batch: Batch, *, weight: float) -> Tensor:
    """Return the loss of S4L (Zhai et al., ICCV 2019).

    It is the cross-entropy to the targets, plus `weight` times that to the rotation of each image by 0, 90, 180 and 270
    degrees. Rotated are the images of the second stream, which need no targets, or else those of the batch. A step
    costs four times as much, five times with a second stream, since all go through the network. Of a batch only the
    upright images count for the targets.
    """
    unlabelled = batch.x if batch.outliers is None else batch.outliers
    turned = [unlabelled.rot90(turn, (2, 3)) for turn in range(TURNS)]
    labelled = [] if batch.outliers is None else [batch.x]
    turns = torch.arange(TURNS, device=batch.x.device).repeat_interleave(len(unlabelled))
    z, rotations = model.both(torch.cat([*labelled, *turned]).contiguous(memory_format=torch.channels_last))
    return F.cross_entropy(z[: len(batch.x)].float(), batch.targets) + weight * F.cross_entropy(
        rotations[-len(turns) :].float(), turns
    )


def own_labels(model: WithSecondHead, batch: Batch, *, weight: float) -> Tensor:
    """Return the cross-entropy to the targets, plus `weight` times that of the second stream to its own labels.

    The second head predicts these labels. A step costs twice as much, since both streams go through the network.
    """
    assert batch.outliers is not None  # `learn` has a pool
    assert batch.outlier_targets is not None
    z, others = model.both(torch.cat([batch.x, batch.outliers]))
    return F.cross_entropy(z[: len(batch.x)].float(), batch.targets) + weight * F.cross_entropy(
        others[len(batch.x) :].float(), batch.outlier_targets
    )
