"""Surrogate with which an owner foresees an attacker's gradients, and derivatives in its parameters.

G = ∂ log F(x; w) / ∂w, one row for each class: an attacker who learns from the answer q moves along Gᵀq.
"""

import functools
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, jacrev, jvp, vjp, vmap

from feint.errors import BadInput, NotExportable, NotFitted
from feint.fitting import FitContext
from feint.models.networks import Classifier, Network
from feint.models.training import Training, learn
from feint.victims import Trained, answers, classes_of

Tensors = dict[str, Tensor]
NUMBERS = 2**24  # of a gradient matrix that are held at once
AT_ONCE = 32  # inputs whose own gradients are held at once: all parameters for each


def require_surrogate(surrogate: Trained | None, p: Tensor, x: Tensor | None) -> Classifier:
    """Return the surrogate's network.

    Args:
        surrogate: The surrogate.
        p: Answers of the victim, (N, K).
        x: Their inputs, (N, …).

    Returns:
        The network, on the device of `x`.

    Raises:
        NotFitted: without a surrogate.
        BadInput: if it is not for `p` and `x`.
    """
    if surrogate is None:
        raise NotFitted("a defense without its surrogate", "a fitted one", "fit it to a victim: feint fit, or .fit(…)")
    network = surrogate.network
    if x is None or x.shape[0] != p.shape[0]:
        got = "no inputs" if x is None else f"{len(x)} inputs for {len(p)} answers"
        raise BadInput(got, "the inputs x of the answers p", "call it with both: defense(p, x)")
    if tuple(x.shape[1:]) != tuple(network.shape) or p.shape[-1] != network.classes:
        raise BadInput(
            f"inputs of shape {tuple(x.shape[1:])} and {p.shape[-1]} classes",
            f"{tuple(network.shape)} and {network.classes}, as the surrogate's",
            "fit the defense to this victim",
        )
    return surrogate.model.to(x.device)


def network_of(context: FitContext, network: Network | None) -> Network:
    """Return `network`, or the victim's own where it is None, or an MLP for a victim that is none of Feint's."""
    if network is not None:
        return network
    if isinstance(context.victim, Classifier):
        return context.victim.network
    return Network("mlp", context.inputs.domain, classes_of(context.victim, context.inputs.domain))


def distil_surrogate(context: FitContext, network: Network | None, training: Training) -> Trained:
    """Return a surrogate that learned the victim's answers to all inputs, and to the outliers if there are any."""
    splits = [context.inputs] if context.outliers is None else [context.inputs, context.outliers]
    x = torch.cat([torch.from_numpy(split.values.copy()) for split in splits])
    p = torch.cat([answers(context.victim, split) for split in splits])
    architecture = network_of(context, network)
    return Trained.of(learn(architecture, x, p, training, seed=context.seed, progress=context.progress))


def random_surrogate(context: FitContext, network: Network | None) -> Trained:
    """Return a surrogate with random weights drawn from the seed."""
    return Trained.of(network_of(context, network).build(context.seed))


def directional_derivatives(model: nn.Module, x: Tensor, direction: Tensors) -> Tensor:
    """Compute G v for one direction v in all parameters.

    One forward-mode derivative of the whole batch: all K at once, exact, at about the cost of two forward passes.

    Args:
        model: The surrogate.
        x: Inputs, (N, …).
        direction: v, by the parameters' names.

    Returns:
        The coefficients ⟨∂ log F(x)_k / ∂w, v⟩, (N, K).
    """
    _load_forward_mode()
    parameters = {name: w.detach() for name, w in model.named_parameters()}
    return jvp(lambda w: _log_answers(model, w, x), (parameters,), (direction,))[1]


def gradient_products(model: nn.Module, x: Tensor, p: Tensor) -> Tensor:
    """Compute G Gᵀ p: each input's own gradient Gᵀp is its direction.

    Args:
        model: The surrogate.
        x: Inputs, (N, …).
        p: Answers, (N, K).

    Returns:
        The coefficients, (N, K), by one backward and one forward derivative.
    """
    _load_forward_mode()
    parameters = {name: w.detach() for name, w in model.named_parameters()}

    def one(x: Tensor, p: Tensor) -> Tensor:
        def log_answer(w: Tensors) -> Tensor:
            return _log_answers(model, w, x[None])[0]

        (gradient,) = vjp(log_answer, parameters)[1](p)
        return jvp(log_answer, (parameters,), (gradient,))[1]

    return vmap(one, chunk_size=AT_ONCE)(x, p)


def gram(model: nn.Module, x: Tensor) -> Tensor:
    """Return A = G Gᵀ (N, K, K) over all parameters: K backward passes for each input."""
    parameters = {name: w.detach() for name, w in model.named_parameters()}

    def one(x: Tensor) -> Tensor:
        g = jacrev(lambda w: _log_answers(model, w, x[None])[0])(parameters)
        rows = torch.cat([part.flatten(1) for part in g.values()], -1)
        return rows @ rows.T

    classes = _log_answers(model, parameters, x[:1]).shape[-1]
    size = classes * sum(w.numel() for w in parameters.values())
    return vmap(one, chunk_size=max(1, NUMBERS // size))(x)


@functools.cache
def _load_forward_mode() -> None:
    """Derive something small: at its first use torch 2.13 compiles its rules with a function that it deprecates."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))


def _log_answers(model: nn.Module, w: Tensors, x: Tensor) -> Tensor:
    """Return log F(x; w), (N, K)."""
    if torch.compiler.is_exporting():
        raise NotExportable("derivatives of a network", "arithmetic", "serve it with torch")
    return F.log_softmax(functional_call(model, w, (x,)).float(), -1)
