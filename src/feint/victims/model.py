"""What the line asks of a model: probabilities, exact and checked."""

import torch
from torch import Tensor, nn

from feint.data import Split
from feint.errors import BadInput


@torch.no_grad()
def predict(model: nn.Module, x: Tensor) -> Tensor:
    """The probabilities `p` (N, K) that `model` gives to the inputs `x` (N, …), in float32.

    Raises `BadInput` where the model returns anything but one row of finite logits for each input: probabilities
    are refused as well, since a second softmax would flatten them unseen.
    """
    device = next((parameter.device for parameter in model.parameters()), x.device)
    if x.ndim == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    logits = model(x.to(device)).float()
    if logits.ndim != 2 or len(logits) != len(x) or logits.shape[1] < 2:
        raise BadInput(
            f"outputs of shape {tuple(logits.shape)} for {len(x)} inputs", "(N, K) logits, K ≥ 2", "wrap the model"
        )
    p = logits.softmax(-1)
    if not len(p):
        return p
    if not p.sum().isfinite():  # a NaN or an infinity among the logits makes its row NaN
        raise BadInput("logits that are not finite", "finite logits", "look for an overflow in the model")
    if logits.amin() >= 0 and ((logits.sum(-1) - 1).abs() < 1e-4).all():
        raise BadInput(
            "a model that returns probabilities", "logits", "wrap it: feint.victims.FromProbabilities(model)"
        )
    return p


def answers(model: nn.Module, split: Split, *, batch_size: int = 500) -> Tensor:
    """The probabilities (N, K) that `model`, in evaluation mode, gives to all inputs of `split`."""
    model = model.eval()
    return torch.cat([predict(model, split.inputs(rows)) for rows in torch.arange(len(split)).split(batch_size)])


class FromProbabilities(nn.Module):
    """A model that returns probabilities, as one that returns logits: their logarithm, which softmax undoes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        p = self.model(x)
        return p.clamp_min(torch.finfo(p.dtype).tiny).log()
