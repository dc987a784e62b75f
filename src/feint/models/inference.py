"""Checked inference: logits and probabilities of a model."""

import threading
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from feint.data import Split
from feint.errors import BadInput, require_kind
from feint.models.simplex import log_probabilities, on_simplex
from feint.query import ask, channels_last, quantize


@torch.no_grad()
def logits(model: nn.Module, x: Tensor) -> Tensor:
    """Return the logits (N, K) of `model` for the inputs `x` (N, …), in float32.

    Returns:
        Finite logits (N, K), K ≥ 2.

    Raises:
        BadInput: The model returns other than one row of finite logits for each input. Probabilities are rejected as
            well, since a second softmax would flatten them unnoticed.
    """
    z = ask(model, x).float()
    if torch.compiler.is_exporting():  # a graph cannot raise: its outputs are checked when it is written
        return z
    if z.ndim != 2 or len(z) != len(x) or z.shape[1] < 2:
        raise BadInput(
            f"outputs of shape {tuple(z.shape)} for {len(x)} inputs", "(N, K) logits, K ≥ 2", "wrap the model"
        )
    if not len(z):
        return z
    if not z.isfinite().all():
        raise BadInput("logits that are not finite", "finite logits", "look for an overflow in the model")
    if on_simplex(z, 1e-4):
        raise BadInput(
            "a model that returns probabilities", "logits",
            "wrap it: feint.victims.FromProbabilities(model)",
        )  # fmt: skip
    return z


def predict(model: nn.Module, x: Tensor) -> Tensor:
    """Return the probabilities (N, K) of `model` for the inputs `x` (N, …), in float32; errors as in `logits`."""
    return logits(model, x).softmax(-1)


@runtime_checkable
class HasFeatures(Protocol):
    """Model that knows its features."""

    def penultimate(self, x: Tensor) -> Tensor | None:
        """Return the features (N, D) of the inputs `x` (N, …); None where they are unknown."""
        ...


class CachedForward(nn.Module):
    """Model that caches its logits for the last tensor of inputs.

    The detectors of a ladder and an energy gate need the logits that the service computes anyway. Each thread has its
    own cache, and `clear` empties it. With gradients enabled, nothing is cached.

    Args:
        model: Model from inputs (N, …) to logits (N, K).
        quantized: Whether the model sees inputs on the grid of their marks: before a defense that draws by these.
    """

    def __init__(self, model: nn.Module, *, quantized: bool = False) -> None:
        super().__init__()
        self.model, self.quantized = model, quantized
        self._last = threading.local()
        self._read: tuple[nn.Linear | None, ...] = ()  # a tuple: the layer is no part of this module

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return self.model(self.seen(x))
        if getattr(self._last, "x", None) is not x:
            self._last.z, self._last.features = with_features(self.model, self.seen(x), *(self._read or (None,)))
            self._last.x = x
        return self._last.z

    def seen(self, x: Tensor) -> Tensor:
        """Return the inputs `x` (N, …) as the model sees them."""
        return quantize(x) if self.quantized else x

    def read_features(self) -> None:
        """Compute from now on the features of any inputs in the same pass as their logits."""
        if isinstance(self.model, CachedForward):
            self.model.read_features()
        elif not self._read:
            self.clear()
            self._read = (last_linear(self.model),)

    def penultimate(self, x: Tensor) -> Tensor | None:
        if isinstance(self.model, HasFeatures):
            return self.model.penultimate(self.seen(x))
        self.read_features()
        self(x)
        return self._last.features

    def clear(self) -> None:
        """Release the last batch."""
        self._last.x = self._last.z = self._last.features = None


@torch.no_grad()
def penultimate(model: nn.Module, x: Tensor) -> Tensor:
    """Return the features (N, D) of the inputs `x` (N, …), in float32: what the model's last linear layer reads.

    Raises:
        BadInput: The model has no linear layer that torch runs once for each input: it is an ONNX file, or trees.
    """
    x = channels_last(x)
    known = isinstance(model, HasFeatures)
    features = model.penultimate(x) if known else with_features(model, x, last_linear(model))[1]
    if features is None:
        raise BadInput(
            "a model without features", "a torch network that ends in a linear layer",
            'use the answers of the model instead: on="logits"',
        )  # fmt: skip
    return features.float()


def last_linear(model: nn.Module) -> nn.Linear | None:
    """Return the last linear layer of a model; None where it has none."""
    return next((layer for layer in [*model.modules()][::-1] if isinstance(layer, nn.Linear)), None)


def with_features(
    model: nn.Module, x: Tensor, layer: nn.Linear | None, *, detach: bool = True
) -> tuple[Tensor, Tensor | None]:
    """Return the model's output for the inputs `x` (N, …) and, from the same pass, what `layer` read (N, D).

    Gradients flow through the features where `detach` is False.

    Other threads may run the model at the same time: what their passes give to the layer is not read. Instead of
    features None is returned where the layer did not run once, with a row for each input.
    """
    if layer is None:
        return model(x), None
    inputs: list[Tensor] = []
    thread = threading.get_ident()

    def read(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if threading.get_ident() == thread:
            inputs.append((arguments[0].detach() if detach else arguments[0]).flatten(1))

    hook = layer.register_forward_pre_hook(read)
    try:
        z = model(x)
    finally:
        hook.remove()
    fits = len(inputs) == 1 and inputs[0].shape[1:] == (layer.in_features,)
    return z, inputs[0] if fits else None


def answers(model: nn.Module, split: Split, *, batch_size: int = 500) -> Tensor:
    """Return the probabilities (N, K) of `model`, in evaluation mode, for all inputs of `split`."""
    require_kind(model, nn.Module, "a model", "pass the model first, then the samples")
    require_kind(split, Split, "samples", "pass a part of a data set: data.train, data.test or data.pool")
    model = model.eval()
    return torch.cat([predict(model, split.inputs(rows)) for rows in torch.arange(len(split)).split(batch_size)])


class FromProbabilities(nn.Module):
    """Adapter of a model that returns probabilities: returns their logarithms, which softmax inverts.

    A call raises `BadInput` for rows off the simplex, since the logarithm of logits would be noise.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        p = self.model(x)
        tracing = torch.compiler.is_exporting()  # a graph cannot raise
        if not tracing and not on_simplex(p):
            low, high = (value.item() for value in p.detach().aminmax())
            raise BadInput(
                f"rows from {low:.3g} to {high:.3g}, which are no probabilities", "rows on the simplex",
                "leave FromProbabilities out: these may be logits",
            )  # fmt: skip
        return log_probabilities(p)
