"""Privacy cost of a vote, by the analysis of PATE: what an answer reveals of the training data.

GNMax: of M classes with votes n in N^M, the label argmax(n + Gaussian noise of deviation σ) is published. The cost is a
Rényi differential privacy bound that depends on how clear the vote is (Papernot et al., ICLR 2018, Theorem 6 and
Proposition 10), converted to ε at a given δ.
"""

import torch
from torch import Tensor

ORDERS = torch.cat([torch.arange(2, 100, 0.5, dtype=torch.float64), torch.logspace(2, 3, 200, dtype=torch.float64)])


def log_flip(votes: Tensor, sigma: float) -> Tensor:
    """Bound the probability q that noise makes another class than the first win.

    The bound is::

        q = min(Σ_j≠j* Φ((n_j − n_j*) / (√2 σ)),  1 − 1/M)

    Args:
        votes: Votes, (N, M).
        sigma: Deviation σ of the noise.

    Returns:
        log q, (N,) float64.
    """
    ranked = votes.double().sort(-1, descending=True).values
    others = torch.special.log_ndtr((ranked[:, 1:] - ranked[:, :1]) / (2**0.5 * sigma)).logsumexp(-1)
    return others.clamp(-1e6, torch.tensor(1 - 1 / votes.shape[-1], dtype=torch.float64).log().item())


def renyi(log_q: Tensor, sigma: float) -> Tensor:
    """Bound the Rényi divergence of votes at each of `ORDERS`.

    The bound is λ/σ². Where the vote is clear (μ₂ = σ √(−log q) > 1, μ₁ = μ₂ + 1 ≥ λ, and q is small enough), it is
    log((1 − q) A^(λ−1) + q B^(λ−1)) / (λ − 1), if that is less. With ε_i = μ_i / σ²::

        A = (1 − q) / (1 − (q e^ε₂)^((μ₂−1)/μ₂)),   B = e^ε₁ / q^(1/(μ₁−1))

    Args:
        log_q: Logarithms of the flip probabilities, (N,).
        sigma: Deviation σ of the noise.

    Returns:
        Bounds, (N, orders) float64.
    """
    log_q, orders = log_q.double()[:, None], ORDERS
    mu2 = sigma * (-log_q).sqrt()
    mu1 = mu2 + 1
    free = (orders / sigma**2).expand(len(log_q), -1)
    small = log_q <= (mu2 - 1) * mu2 / sigma**2 - mu2 * ((mu1 / mu2).log() + (mu2 / (mu2 - 1)).log())
    clear = (mu2 > 1) & small & (log_q + mu2 / sigma**2 < 0) & (mu1 >= orders)
    log_rest = torch.log1p(-log_q.exp())
    log_a = log_rest - torch.log1p(-((log_q + mu2 / sigma**2) * (1 - 1 / mu2)).exp())
    log_b = mu1 / sigma**2 - log_q / mu2
    bound = torch.logaddexp(log_rest + (orders - 1) * log_a, log_q + (orders - 1) * log_b) / (orders - 1)
    return torch.where(clear & (bound < free), bound, free)  # NaN where it is not clear: never less


def epsilon(votes: Tensor, sigma: float, delta: float) -> Tensor:
    """Return the cost ε (N,) of each vote (N, M): the least over the orders λ of renyi(λ) − log δ / (λ − 1)."""
    delta_term = torch.tensor(delta, dtype=torch.float64).log() / (ORDERS - 1)
    return (renyi(log_flip(votes, sigma), sigma) - delta_term).amin(-1)
