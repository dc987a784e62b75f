"""Reference solutions of the linear programs of output defenses: one row at a time, by a solver."""

from functools import partial

import numpy as np
import pytest


def least_within(cost, p, epsilon: float, *, top: int | None = None, margin: float = 0.0) -> float:
    """Return the least cost · q for q on the simplex with ‖q − p‖₁ ≤ ε and, with a `top`, q_top − q_j ≥ margin.

    Where the margin asks for more than ε, ε is raised to the least that is feasible. (p, cost: float64 arrays of K)
    """
    options = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    linprog = partial(pytest.importorskip("scipy.optimize").linprog, options=options)
    k = len(p)
    one, none = np.eye(k), np.zeros(k)
    below, above = [np.hstack([one, -one]), np.hstack([-one, -one])], [p, -p]  # the variables: q and |q − p|
    if top is not None:
        below.append(np.hstack([np.delete(one, top, 0) - one[top], np.zeros((k - 1, k))]))
        above.append(np.full(k - 1, -margin))
    a, b, total = np.vstack(below), np.concatenate(above), np.hstack([np.ones(k), none])[None]
    distance = np.hstack([none, np.ones(k)])
    if top is not None and p[top] < np.delete(p, top).max() + margin:
        epsilon = max(epsilon, linprog(distance, a, b, total, [1.0]).fun + 1e-12)
    solved = linprog(np.hstack([cost, none]), np.vstack([a, distance]), np.append(b, epsilon), total, [1.0])
    assert solved.status == 0, solved.message
    return solved.fun
