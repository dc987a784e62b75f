"""Poisoned answers beside the published way, one answer at a time, written here from the formulas; one thread."""

from functools import partial

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor, nn

from benchmarks.speed.apgp import Row, rows
from benchmarks.speed.clock import least
from feint.defenses.outputs import GRAD2, MAD, MADArgmax, MinInnerProduct, ModelGuardW
from feint.defenses.outputs.corners import farthest_sets
from feint.models.networks import Classifier, Network
from feint.signature import Pixels
from feint.victims import Trained

MEASURED = 20  # rows that the published way is timed on; its time is scaled to our number of rows


def cost() -> list[Row]:
    """Time our way and the published way. The published way runs on 20 rows, and its time is scaled up."""
    torch.set_num_threads(1)
    return [*modelguard(), *mad_argmax(), *grad2(), *matrix()]


def compare(what: str, classes: int, n: int, ours, published=None, *, repeats: int = 3) -> Row:
    """Time our way and, if there is one, the published way."""
    seconds = least({"ours": ours}, repeats=repeats)["ours"]
    row: Row = {"what": what, "classes": classes, "rows": n, "seconds": seconds}
    if published is not None:
        row["published_seconds"] = least({"published": published}, repeats=1)["published"] * n / MEASURED
        row["published_rows_measured"] = MEASURED
    return row


def modelguard() -> list[Row]:
    """Measure ModelGuardW beside a linear program for each answer."""

    def solver(p: Tensor) -> None:
        for row in p.double().numpy():
            one_linear_program(row)

    measured = []
    for classes in (10, 1000):
        p = rows(10_000, classes, 0)
        published = partial(solver, p[:MEASURED]) if classes == 10 else None
        measured.append(compare("ModelGuardW", classes, len(p), partial(ModelGuardW(), p), published))
    return measured


def one_linear_program(p: np.ndarray, epsilon: float = 1.0, margin: float = 1e-4) -> np.ndarray:
    """ModelGuard-W for one row, given to a solver: the variables are q and |q − p|."""
    k, top = len(p), int(p.argmax())
    one, none = np.eye(k), np.zeros(k)
    order = np.hstack([np.delete(one, top, 0) - one[top], np.zeros((k - 1, k))])
    budget = np.hstack([none, np.ones(k)])
    below = np.vstack([np.hstack([one, -one]), np.hstack([-one, -one]), order, budget])
    above = np.concatenate([p, -p, np.full(k - 1, -margin), [epsilon]])
    total = np.hstack([np.ones(k), none])[None]
    return linprog(np.hstack([np.log(p + 1e-6), none]), below, above, total, [1.0]).x[:k]


def mad_argmax() -> list[Row]:
    """The search alone: the surrogate's forward pass is the same for both, and has a row of its own."""

    def enumeration(p: Tensor, s: Tensor) -> None:
        for a, b in zip(p, s, strict=True):
            one_enumeration(a, b)

    measured = []
    for classes, n in ((10, 10_000), (32, 1000), (100, 10_000), (1000, 1000)):
        p, s = rows(n, classes, 0).double(), (rows(n, classes, 1).double() + 1).softmax(-1)
        published = partial(enumeration, p[:MEASURED], s[:MEASURED]) if classes == 10 else None
        search = partial(farthest_sets, p, s)
        measured.append(compare("MADArgmax, search", classes, n, search, published, repeats=5 if classes == 10 else 1))
    return measured


def one_enumeration(p: Tensor, s: Tensor) -> Tensor:
    """MAD-argmax for one row: all corners with its label, one after the other."""
    label, best, corner = int(p.argmax()), -1.0, p
    clean = (p - s) / (p - s).norm()
    for number in range(2 ** len(p)):
        if number >> label & 1:
            u = torch.tensor([float(number >> i & 1) for i in range(len(p))], dtype=p.dtype)
            u = u / u.sum() - s
            value = (u / u.norm() - clean).square().sum().item()
            if value > best:
                best, corner = value, u + s
    return corner


def grad2() -> list[Row]:
    """Measure GRAD2 beside one redirection for each answer."""

    def one_by_one(model: Classifier, p: Tensor, x: Tensor) -> None:
        for row, it in zip(p, x, strict=True):
            one_redirection(model, row, it)

    model, p, x = network("lenet", (1, 28, 28))
    published = partial(one_by_one, model, p[:MEASURED], x[:MEASURED])
    surrogate = Trained.of(model)
    measured = [compare("GRAD2", 10, len(p), partial(GRAD2(surrogate=surrogate), p, x), published)]
    for what, defense in {
        "GRAD2 with the label kept": GRAD2(keep_label=True, surrogate=surrogate),
        "GRAD2 uncoordinated": GRAD2(direction=MinInnerProduct(), surrogate=surrogate),
        "MAD": MAD(surrogate=surrogate),
        "MADArgmax": MADArgmax(surrogate=surrogate),
    }.items():
        measured.append(compare(f"{what}, lenet", 10, len(p), partial(defense, p, x)))
    return measured


def one_redirection(model: Classifier, p: Tensor, x: Tensor, epsilon: float = 1.0) -> Tensor:
    """GRAD² for one row: a double backward pass, then the greedy transfer in a loop over classes."""
    parameters = [it.requires_grad_() for it in model.parameters()]
    y = p.clone().requires_grad_()
    loss = (y * model(x[None]).log_softmax(-1)[0]).sum()
    gradient = torch.autograd.grad(loss, parameters, create_graph=True)
    g = torch.autograd.grad(torch.stack([it.sum() for it in gradient]).sum(), y)[0]
    model.requires_grad_(False)
    q, target = p.clone(), int(g.argmax())
    left = min(1 - p[target].item(), epsilon / 2)
    for k in g.argsort().tolist():
        if k != target:
            taken = min(left, q[k].item())
            q[k] -= taken
            q[target] += taken
            left -= taken
    return q


def matrix() -> list[Row]:
    """G of the last layer in closed form beside a bare forward pass, and beside K backward passes for each input."""

    def backward(model: nn.Module, x: Tensor) -> None:
        weight = [it for it in model.modules() if isinstance(it, nn.Linear)][-1].weight.requires_grad_()
        for it in x:
            logs = model(it[None]).log_softmax(-1)[0]
            torch.stack([torch.autograd.grad(value, weight, retain_graph=True)[0] for value in logs])
        model.requires_grad_(False)

    measured = []
    for name, shape in (("lenet", (1, 28, 28)), ("resnet20", (3, 32, 32))):
        model, _, x = network(name, shape)
        with torch.no_grad():
            forward = compare(f"forward pass, {name}", 10, len(x), partial(model, x), repeats=20)
            closed = compare(f"gradient matrix, {name}", 10, len(x), partial(last_layer, model, x), repeats=20)
        closed["published_seconds"] = least({"": partial(backward, model, x[:MEASURED])}, repeats=1)[""]
        closed["published_seconds"] *= len(x) / MEASURED
        closed["published_rows_measured"] = MEASURED
        measured += [forward, closed]
    return measured


def network(name: str, shape: tuple[int, int, int]) -> tuple[Classifier, Tensor, Tensor]:
    """A network, and a batch of 128 answers and inputs."""
    model = Network(name, Pixels(shape), 10).build().eval().requires_grad_(False)
    return model, rows(128, 10, 0), torch.rand(128, *shape, generator=torch.Generator().manual_seed(0))


def last_layer(model: Classifier, x: Tensor) -> Tensor:
    """Return G (N, K, K, H) in the weights of the last linear layer: G_k = (e_k − s) ⊗ h, in one forward pass."""
    layer = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    hidden: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _, inputs, __: hidden.append(inputs[0]))
    try:
        s = model(x).softmax(-1)
    finally:
        hook.remove()
    difference = torch.eye(s.shape[-1], dtype=s.dtype, device=s.device) - s[:, None]
    return difference[..., None] * hidden[0][:, None, None]
