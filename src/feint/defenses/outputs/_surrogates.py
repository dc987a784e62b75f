"""The surrogate that an owner trains or draws to foresee an attacker's gradients, and derivatives in its parameters.

G = ∂ log F(x; w) / ∂w, one row for each class: an attacker who learns from the answer q moves along Gᵀq.
"""

import functools
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, jacrev, jvp, vjp, vmap

from feint.data import Split
from feint.errors import BadInput, NotExportable, NotFitted
from feint.models.networks import Classifier, Network
from feint.models.training import Training, learn
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.victims import Trained, answers

Tensors = dict[str, Tensor]
NUMBERS = 2**24  # of a gradient matrix that are held at once
AT_ONCE = 32  # inputs whose own gradients are held at once: all parameters for each


def ready(surrogate: Trained | None, p: Tensor, x: Tensor | None) -> Classifier:
    """The surrogate's network. Raises `NotFitted` without one, `BadInput` where it is not for `p` (N, K) and `x`."""
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


def same_network(victim: nn.Module, network: Network | None) -> Network:
    """`network`, or the victim's own where it is None. Raises `BadInput` where that is not known by a name."""
    if network is None and not isinstance(victim, Classifier):
        raise BadInput(
            f"a victim of type {type(victim).__name__}", "a named network", "name one: network=Network('resnet20', …)"
        )
    return network or victim.network  # pyright: ignore[reportAttributeAccessIssue, reportReturnType]


def distilled(
    victim: nn.Module,
    network: Network | None,
    training: Training,
    splits: list[Split],
    *,
    seed: int = 0,
    progress: ProgressCallback = NO_PROGRESS,
) -> Trained:
    """A surrogate that learned the victim's answers to all inputs of the `splits`."""
    x = torch.cat([torch.from_numpy(split.images.copy()) for split in splits])
    p = torch.cat([answers(victim, split) for split in splits])
    return Trained.of(learn(same_network(victim, network), x, p, training, seed=seed, progress=progress))


def drawn(victim: nn.Module, network: Network | None, seed: int) -> Trained:
    """A surrogate with random weights drawn from `seed`."""
    return Trained.of(same_network(victim, network).build(seed))


def along(model: nn.Module, x: Tensor, direction: Tensors) -> Tensor:
    """The coefficients g_k = ⟨∂ log F(x)_k / ∂w, v⟩ (N, K) for one direction `v` in all parameters.

    One forward-mode derivative of the whole batch: all K at once, exact, at about the cost of two forward passes.
    """
    _load_forward_mode()
    parameters = {name: it.detach() for name, it in model.named_parameters()}
    return jvp(lambda w: _log_answers(model, w, x), (parameters,), (direction,))[1]


def alongside(model: nn.Module, x: Tensor, p: Tensor) -> Tensor:
    """The coefficients G Gᵀ p (N, K): each input's own gradient Gᵀp is its direction, backward and then forward."""
    _load_forward_mode()
    parameters = {name: it.detach() for name, it in model.named_parameters()}

    def one(x: Tensor, p: Tensor) -> Tensor:
        def log_answer(w: Tensors) -> Tensor:
            return _log_answers(model, w, x[None])[0]

        (gradient,) = vjp(log_answer, parameters)[1](p)
        return jvp(log_answer, (parameters,), (gradient,))[1]

    return vmap(one, chunk_size=AT_ONCE)(x, p)


def gram(model: nn.Module, x: Tensor) -> Tensor:
    """A = G Gᵀ (N, K, K) over all parameters: K backward passes for each input."""
    parameters = {name: it.detach() for name, it in model.named_parameters()}

    def one(x: Tensor) -> Tensor:
        g = jacrev(lambda w: _log_answers(model, w, x[None])[0])(parameters)
        rows = torch.cat([it.flatten(1) for it in g.values()], -1)
        return rows @ rows.T

    classes = _log_answers(model, parameters, x[:1]).shape[-1]
    held = classes * sum(it.numel() for it in parameters.values())
    return vmap(one, chunk_size=max(1, NUMBERS // held))(x)


def last_layer(model: Classifier, x: Tensor) -> Tensor:
    """G (N, K, K, H) in the weights of the last linear layer, of H inputs: G_k = (e_k − s) ⊗ h, in one forward pass."""
    layer = [it for it in model.modules() if isinstance(it, nn.Linear)][-1]
    seen: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    try:
        s = model(x).softmax(-1)
    finally:
        hook.remove()
    difference = torch.eye(s.shape[-1], dtype=s.dtype, device=s.device) - s[:, None]
    return difference[..., None] * seen[0][:, None, None]


@functools.cache
def _load_forward_mode() -> None:
    """Derive something small: at its first use torch 2.13 compiles its rules with a function that it deprecates."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))


def _log_answers(model: nn.Module, w: Tensors, x: Tensor) -> Tensor:
    if torch.compiler.is_exporting():
        raise NotExportable("derivatives of a network", "arithmetic", "serve it with torch")
    return F.log_softmax(functional_call(model, w, (x,)).float(), -1)
