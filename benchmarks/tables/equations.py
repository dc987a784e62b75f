"""Equation solving, path finding and line search: how near they come, in how many queries, and what defenses do.

No suite: the victims are made for the attacks, and what counts is how near their parameters are. Errors of parameters
are relative, in the Euclidean norm over all of them, up to the shift that the classes share.
"""

import functools
import math
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor, nn

import feint
from benchmarks.tables.rows import Jobs, Row
from feint import data, victims
from feint.attacks import Attack, EquationSolving, HardLabels, LabelPathFinding, LowdMeek, PathFinding, Retraining
from feint.attacks.parametric.linear_parameters import parameters
from feint.data import Dataset, Split
from feint.defenses.outputs import (
    APGPClosedForm,
    GaussianNoise,
    LabelOnly,
    ModelGuardW,
    ReverseSigmoid,
    Rounding,
    Temperature,
    TopK,
)
from feint.errors import BadInput
from feint.evaluation import metrics
from feint.models.networks import Network
from feint.models.training import Training
from feint.progress import ProgressCallback
from feint.service import Defense, Service

KEY = "an experiment's, not a secret"
SEEDS = range(3)
DEFENSES: dict[str, Defense] = {
    "none": Defense(),
    **{f"{decimals} decimals": Defense(outputs=[Rounding(decimals=decimals)]) for decimals in (5, 4, 3, 2)},
    "top-5": Defense(outputs=[TopK(k=5)]),
    "temperature 4": Defense(outputs=[Temperature(temperature=4.0)]),
    "Gaussian noise 0.01": Defense(outputs=[GaussianNoise(KEY, scale=0.01)]),
    "reverse sigmoid": Defense(outputs=[ReverseSigmoid()]),
    "ModelGuard-W": Defense(outputs=[ModelGuardW()]),
    "APGP all-order": Defense(outputs=[APGPClosedForm()]),
    "APGP top-1": Defense(outputs=[APGPClosedForm(top=1)]),
    "label only": Defense(outputs=[LabelOnly()]),
}


@functools.cache
def fitted(images: Dataset, name: str, *, binary: bool = False) -> nn.Module:
    """A victim of this form: softmax regression and the like by SGD."""
    labels = images.train.labels
    train = Split.of(images.train.values, (labels >= 5).long().numpy() if binary else labels.numpy(), name=images.name)
    network = Network(name, images.domain, 2 if binary else len(images.classes))
    return feint.train(network, train, training=Training(epochs=20, learning_rate=0.05, weight_decay=1e-3))


@functools.cache
def grown(images: Dataset, leaves: int, *, distinct: bool) -> nn.Module:
    """A decision tree. Weights for the examples, drawn by chance, make the answers of all impure leaves differ."""
    x, y = images.train.inputs().flatten(1).numpy(), images.train.labels.numpy()
    weight = np.random.default_rng(0).random(len(y)) if distinct else None
    labels = np.random.default_rng(1).permutation(y) if distinct else y
    tree = DecisionTreeClassifier(max_leaf_nodes=leaves, min_samples_leaf=5, random_state=0)
    return victims.adapt(victims.EstimatorModel(tree.fit(x, labels, weight)), images.domain)


def undefended(progress: ProgressCallback) -> Jobs:
    """Every method against the form that it is made for."""
    digits, fashion = data.load("digits"), data.load("fashion_mnist")
    for images in (digits, fashion):
        d = math.prod(images.shape)
        for binary in (True, False):
            kind = "binary" if binary else "softmax"
            network = Network("linear", images.domain, 2 if binary else 10)
            attack = EquationSolving(network)
            yield from thefts(
                f"{kind} regression",
                images,
                attack,
                partial(fitted, images, "linear", binary=binary),
                d + 1,
                [d + 1, 4 * (d + 1)],
            )
            labels = LowdMeek(images.pool, network).through(HardLabels())
            unknowns = (network.classes - 1) * (d + 1) - 1
            if images is digits or binary:
                budgets = [200 + 9 * unknowns, 200 + 18 * (unknowns + 100), 200 + 36 * unknowns]
                yield from thefts(
                    f"{kind} regression, labels only",
                    images,
                    labels,
                    partial(fitted, images, "linear", binary=binary),
                    unknowns,
                    budgets,
                )
    d = 64
    for name, form in {"one-vs-rest": "one_vs_rest", "perceptron of 20": "mlp20"}.items():
        network = Network(form, digits.domain, 10)
        count = sum(it.numel() for it in network.build().parameters())
        least = -(-count // 9)  # an answer of ten classes is nine numbers
        attack = Retraining(network)
        yield from thefts(name, digits, attack, partial(fitted, digits, form), least, [least, count, 5 * count])
    tree = Network("tree", digits.domain, 10)
    for leaves in (10, 50):
        grow = partial(grown, digits, leaves, distinct=True)
        yield from thefts(f"tree of {leaves} distinct leaves", digits, PathFinding(tree), grow, None, [1_000_000])
        grow = partial(grown, digits, leaves, distinct=False)
        attack = LabelPathFinding(digits.pool, tree).through(HardLabels())
        yield from thefts(f"tree of {leaves} leaves, labels only", digits, attack, grow, None, [1000, 4000, 16_000])


def thefts(
    what: str, images: Dataset, attack: Attack, make: Callable[[], nn.Module], least: int | None, budgets: list[int]
) -> Jobs:
    for budget in budgets:
        for seed in SEEDS:
            yield (
                f"{images.name}-{what}-{budget}-{seed}",
                lambda budget=budget, seed=seed: (
                    {"victim": what, "least": least} | theft(images, attack, make(), Defense(), budget, seed)
                ),
            )


def defended(progress: ProgressCallback) -> Jobs:
    """Softmax regression on digits behind each output defense: by equations, from many more answers, from labels."""
    digits = data.load("digits")
    network = Network("linear", digits.domain, 10)
    attacks = {
        "equations, d + 1 queries": (EquationSolving(network), 65),
        "equations, 100 (d + 1) queries": (EquationSolving(network), 6500),
        "retraining, 100 (d + 1) queries": (Retraining(network, iterations=300), 6500),
        "line search, labels only": (LowdMeek(digits.pool, network).through(HardLabels()), 20_000),
    }
    for name, defense in DEFENSES.items():
        for what, (attack, budget) in attacks.items():
            for seed in SEEDS:
                yield (
                    f"defended-{name}-{what}-{seed}",
                    lambda attack=attack, budget=budget, seed=seed, name=name, what=what, defense=defense: {
                        "victim": "softmax regression", "defense": name, "attack": what,
                    } | theft(digits, attack, fitted(digits, "linear"), defense, budget, seed),
                )  # fmt: skip


def theft(images: Dataset, attack: Attack, victim: nn.Module, defense: Defense, budget: int, seed: int) -> Row:
    service = Service(victim, defense)
    oracle = service.oracle(client="attacker", budget=budget)
    began = time.perf_counter()
    row = {
        "data": images.name,
        "recipe": type(getattr(attack, "attack", attack)).__name__,
        "seed": seed,
        "budget": budget,
    }
    try:
        stolen = attack.steal(oracle, seed=seed)
    except BadInput as error:  # labels only where probabilities are needed, said before anything is learned
        return row | {"asked": oracle.asked, "refused": str(error)}
    row |= {"asked": service.ledger["attacker"].queries, "seconds": time.perf_counter() - began}
    random = torch.rand(5000, *images.shape, generator=torch.Generator().manual_seed(9))
    row |= {"fidelity": metrics.fidelity(stolen, victim, images.test), "n_test": len(images.test)}
    labels = [victims.predict(model, random).argmax(-1) for model in (stolen, victim)]
    row |= {"fidelity_random": (labels[0] == labels[1]).double().mean().item(), "n_random": len(random)}
    if getattr(stolen, "network", None) is not None and stolen.network.name == "linear":
        row["relative_error"], row["angle"] = errors(parameters(stolen), parameters(victim))  # pyright: ignore
    return row


def errors(found: tuple[Tensor, Tensor], true: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """The relative error of all parameters; and where both are scaled to length 1, which labels cannot tell."""
    a, b = (torch.cat([weight, bias[:, None]], 1) for weight, bias in (found, true))
    a, b = a - a.mean(0), b - b.mean(0)
    return float((a - b).norm() / b.norm()), float((a / a.norm() - b / b.norm()).norm())
