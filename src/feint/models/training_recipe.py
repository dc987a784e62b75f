"""Recipes of a training and of the network that it starts from."""

import math
from dataclasses import dataclass

from feint.errors import BadRecipe
from feint.models.stored import Trained


@dataclass(frozen=True)
class Training:
    """Recipe of a training in steps: a linear warm-up of the learning rate over a tenth of the steps, then a cosine.

    A network that scikit-learn fits takes nothing of it.

    Attributes:
        epochs: Passes over the data.
        least_steps: Least number of batches; it adds epochs, since few answers need many of them.
        batch_size: Rows in a batch, at least 2.
        learning_rate: Largest learning rate, above 0.
        momentum: Nesterov momentum of SGD; the other optimizer has none.
        weight_decay: Weight decay.
        crop: Pixels of padding for random crops, drawn anew for every batch.
        flip: Whether images are mirrored at random, drawn anew for every batch.
        holdout: Share of the data, below 1, that is not trained on. The weights after the epoch with the smallest loss
            on it are the result.
        patience: Number of epochs without a smaller loss on the holdout after which the training ends.
        bfloat16: Whether autocast is used where the hardware computes in bfloat16.
        rotation: Weight of S4L's loss beside the cross-entropy (`feint.models.self_supervised`), for few answers to
            square images; 1.0 is the published weight, None leaves it out.
        optimizer: "adamw", which embeddings and rows of a table need; None for SGD.
        cutout: Side in pixels of a square that is erased in each image, drawn anew for every batch; None for none.
        mixup: Parameter of the Beta distribution by which pairs of inputs and their targets are blended; None for none.
        smoothing: Share of each target that all classes receive alike, where all targets are labels; None for none.
        average: Share of the steps over which the weights are averaged. The averaged weights are the result; None for
            the last ones.
        explained: Share of what the targets tell (`feint.models.simplex.share_explained`) at which the training ends
            after an epoch, measured on up to 2,000 of them; None for no early end.
        start: Network whose weights are the first ones, all but those of its last linear layer (`Pretrained`, or
            `Loaded("DIR")` for one of `feint train`); None for new weights.
        auxiliary: Weight of the cross-entropy of a second head to the attacker's pool and its own labels, which are of
            another task and cost no query (`feint.models.second_head`); None leaves it out.

    Raises:
        BadRecipe: A number is outside its range, there is `patience` without a `holdout`, or `auxiliary` beside
            `rotation` or `mixup`.
    """

    epochs: int = 30
    least_steps: int = 0
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    crop: int = 0
    flip: bool = False
    holdout: float = 0.0
    patience: int | None = None
    bfloat16: bool = True
    rotation: float | None = None
    optimizer: str | None = None
    cutout: int | None = None
    mixup: float | None = None
    smoothing: float | None = None
    average: float | None = None
    explained: float | None = None
    start: "Pretrained | Trained | None" = None
    auxiliary: float | None = None

    def __post_init__(self) -> None:
        for name, most in (
            ("rotation", math.inf), ("cutout", math.inf), ("mixup", math.inf),
            ("smoothing", 1), ("average", 1), ("explained", 1), ("auxiliary", math.inf),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not 0 < value < most:
                raise BadRecipe(f"{name}={value}", f"a number above 0 and below {most}, or None", "change it")
        if (
            min(self.epochs, self.least_steps) < 0
            or self.batch_size < 2
            or not 0 <= self.holdout < 1
            or self.learning_rate <= 0
        ):
            known = "epochs and least_steps ≥ 0, batch_size ≥ 2, learning_rate > 0, 0 ≤ holdout < 1"
            raise BadRecipe(repr(self), known, "change it")
        if self.optimizer not in (None, "adamw"):
            raise BadRecipe(f"optimizer={self.optimizer!r}", "'adamw', or None for SGD", "change it")
        if self.patience is not None and not self.holdout:
            raise BadRecipe("patience without a holdout", "a share of the data to judge by", "set holdout, say to 0.1")
        if self.auxiliary is not None and (self.rotation is not None or self.mixup is not None):
            raise BadRecipe("auxiliary beside rotation or mixup", "one of them", "leave the others out")

    @property
    def augments(self) -> bool:
        """Whether images are shifted, mirrored, turned or erased in part."""
        return bool(self.crop or self.flip or self.rotation is not None or self.cutout)

    def inputs_seen(self, count: int) -> int:
        """Return the number of inputs in all epochs of a training on `count` of them."""
        return max(self.epochs * count, self.least_steps * min(self.batch_size, count))


@dataclass(frozen=True)
class Pretrained:
    """Network of another task whose data are public, as the start of a training.

    It is the network that is to be trained, with the classes of that task, and is trained from new weights.

    Attributes:
        data: Labelled inputs, like "cifar100/train" (`feint.data.pools.parse_split`). Images of another size are scaled
            to the network's.
        training: Recipe of its training.
        seed: Seed of its training, which is no victim's (`feint.models.seeds`).
    """

    data: str
    training: Training = Training()
    seed: int = 0
