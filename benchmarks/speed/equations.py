"""Equation solving at 10,000 features beside a dense solution of the same equations, asked and solved in one run."""

import time

import torch

from feint.attacks import EquationSolving
from feint.attacks.parametric.linear_parameters import classifier, parameters
from feint.models.networks import Network
from feint.oracle import Oracle
from feint.service import Service
from feint.signature import Pixels

FEATURES, CLASSES = 10_000, 10
Row = dict[str, str | float]


def speed() -> list[Row]:
    """Seconds, relative error of the parameters and queries: d + 1 of them, the least there can be."""
    torch.set_num_threads(1)
    network = Network("linear", Pixels((1, 100, 100)), CLASSES)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(CLASSES, FEATURES, generator=generator).double() * 0.05
    victim = classifier(network, weight, torch.randn(CLASSES, generator=generator).double())
    true = _centred(*parameters(victim))
    rows: list[Row] = []
    for tool in ("Feint", "random inputs, torch.linalg.solve"):
        oracle = Service(victim).oracle(client="attacker", budget=FEATURES + 1)
        began = time.perf_counter()
        found = parameters(EquationSolving(network).steal(oracle)) if tool == "Feint" else dense(oracle)
        seconds = time.perf_counter() - began
        error = ((_centred(*found) - true).norm() / true.norm()).item()
        rows.append(
            {"tool": tool, "features": FEATURES, "classes": CLASSES, "asked": oracle.asked, "least": FEATURES + 1}
            | {"seconds": seconds, "relative_error": error}
        )
    return rows


def dense(oracle: Oracle) -> tuple[torch.Tensor, torch.Tensor]:
    """As the paper does: d + 1 random inputs, and one linear solve in float64."""
    x = torch.rand(FEATURES + 1, FEATURES, generator=torch.Generator().manual_seed(0))
    z = oracle.ask(x.view(-1, 1, 100, 100)).double().log()
    z -= z.mean(-1, keepdim=True)
    matrix = torch.empty(FEATURES + 1, FEATURES + 1, dtype=torch.float64)
    matrix[:, :-1] = x
    matrix[:, -1] = 1
    both = torch.linalg.solve(matrix, z)
    return both[:-1].T, both[-1]


def _centred(weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    both = torch.cat([weight, bias[:, None]], 1)
    return both - both.mean(0)
