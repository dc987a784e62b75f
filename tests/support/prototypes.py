"""A classifier of colour images that is right under one adapter only: the nearest of ten random images."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from feint.data import Split
from feint.errors import BadInput
from feint.victims import Metadata, RawModel, TensorSpec

SHAPE, CLASSES = (3, 8, 8), 10
PROTOTYPES = 0.4 + 0.2 * torch.rand(CLASSES, *SHAPE, generator=torch.Generator().manual_seed(0))  # of low contrast, and
PROTOTYPES[:, 1] = 0.5  # without green: a shift, a scale or another order of the colours leaves nothing right
MEAN, DEVIATION = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def samples(count: int = 400, *, noise: float = 0.3, seed: int = 1) -> Split:
    """Images near the prototypes, as many of each class."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    x = PROTOTYPES[labels] + noise * (torch.rand(count, *SHAPE, generator=random) - 0.5)
    return Split.of((x.clamp(0, 1) * 255).round().to(torch.uint8).numpy(), labels.numpy())


def relabelled(split: Split, change: Callable[[np.ndarray], np.ndarray]) -> Split:
    return Split.of(split.values, change(split.labels.numpy()), domain=split.domain)


def logits(x: Tensor) -> Tensor:
    """Logits (N, 10) of images in [0, 1]: minus the distance to each prototype."""
    return -(x[:, None] - PROTOTYPES).abs().flatten(2).sum(-1)


class Nearest(nn.Module):
    """The classifier behind a change of its inputs."""

    def __init__(self, change: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        return logits(self.change(x.float()))


class Raw(RawModel):
    """Raw model of a function of one tensor."""

    def __init__(self, function, shape=(None, *SHAPE), dtype="float32", outputs=(), classes=()) -> None:
        self.function, self.place, self.digest = function, "model.onnx", "0"
        self.inputs = (TensorSpec("x", dtype, shape),)
        self.outputs = outputs or (TensorSpec("y", "float32", (None, CLASSES)),)
        self.metadata = Metadata(classes)

    def run(self, arrays):
        try:
            with torch.no_grad():
                answer = self.function(torch.from_numpy(np.array(arrays["x"])))
        except RuntimeError as error:
            raise BadInput(f"inputs of shape {arrays['x'].shape}", str(self.inputs[0]), "change them") from error
        answers = answer if isinstance(answer, dict) else {"y": answer}
        return {name: np.asarray(value) for name, value in answers.items()}


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {  # from what a model takes to [0, 1], by the words of its adapter
    "0 to 255, RGB": lambda x: x / 255,
    "-1 to 1, RGB": lambda x: (x + 1) / 2,
    "0 to 1, BGR": lambda x: x.flip(1),
    "-1 to 1, BGR": lambda x: (x.flip(1) + 1) / 2,
    "ImageNet's mean and deviation, RGB": lambda x: x * DEVIATION + MEAN,
}
