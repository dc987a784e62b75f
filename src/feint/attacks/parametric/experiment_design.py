"""Experiment design for linear models: inputs whose answers determine the parameters best, and their linear system.

Weighing features one by one (a unit vector each) is the worst design: half of them together in every query makes the
error of each weight √d times smaller. The rows of a block are all rotations of one sequence with a flat spectrum, which
exist for every number of features, so that the system is applied, and solved, by fast Fourier transforms.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from feint.attacks.parametric.linear_parameters import classifier
from feint.models.networks import Classifier, Network

GREY_LEVELS = 256  # levels of an input: all of them, and their differences, are exact in float32


@dataclass(frozen=True, eq=False)
class WeighingDesign:
    """Weighing design of `count` inputs with d features.

    A block holds one vertex of the cube and the d rotations of a sequence.

    With u = x/scale − 1/2, the logits are z = scale · u·w + c with c = b + scale · Σw / 2. In block B, feature j is
    u_ij = sign_Bj · g[(order_Bj + i) mod d] in rotation i, and −sign_Bj / 2 in the vertex, which comes first.

    Attributes:
        g: The sequence (d,), float64 in [−1/2, 1/2].
        order: A permutation of the features for each block, (blocks, d).
        sign: Signs ±1 of the features in each block, (blocks, d).
        count: Number of inputs.
        scale: Largest value of an input.
        surrogate: The network `linear`.
    """

    g: Tensor
    order: Tensor
    sign: Tensor
    count: int
    scale: float
    surrogate: Network

    @classmethod
    def draw(cls, surrogate: Network, count: int, scale: float, generator: torch.Generator) -> "WeighingDesign":
        """Draw a design.

        Args:
            surrogate: The network `linear`, whose inputs have d features.
            count: Number of inputs.
            scale: Largest value of an input.
            generator: Generator of orders and signs.

        Returns:
            The design, with inputs in [0, scale].
        """
        features = prod(surrogate.shape)
        blocks = -(-count // (features + 1))
        order = torch.rand(blocks, features, generator=generator).argsort(1)
        sign = torch.randint(0, 2, (blocks, features), generator=generator).double() * 2 - 1
        return cls(flat_sequence(features), order, sign, count, scale, surrogate)

    @property
    def least(self) -> int:
        """Fewest inputs whose answers determine the parameters."""
        return len(self.g) + 1

    def classifier(self, z: Tensor) -> Classifier:
        """Return the linear classifier whose logits are nearest to `z` (n, K), those of the first n inputs."""
        return classifier(self.surrogate, *self.solve(z))

    def inputs(self, size: int) -> Iterator[Tensor]:
        """Yield the inputs in batches.

        Args:
            size: Most inputs in a batch.

        Yields:
            Inputs (n, d) float32, all of one block.
        """
        features = len(self.g)
        rotations = self.g.float().repeat(2).unfold(0, features, 1)  # a view: row i is g rotated by i
        left = self.count
        for order, sign in zip(self.order, self.sign.float(), strict=True):
            for start in range(0, min(left, features + 1), size):
                chosen = range(start, min(start + size, left, features + 1))
                u = rotations[max(chosen.start - 1, 0) : chosen.stop - 1][:, order] * sign
                u = torch.cat([-sign[None] / 2, u]) if start == 0 else u
                yield (u + 0.5) * self.scale
            left -= features + 1

    def apply(self, parameters: Tensor) -> Tensor:
        """Return the logits (blocks, d + 1, K) of all rows, for `parameters` (d + 1, K) that are w and, last, c."""
        w, c = parameters[:-1] * self.scale, parameters[-1]
        signed = w * self.sign[..., None]
        permuted = torch.empty_like(signed).scatter_(1, self._index(signed), signed)
        return torch.cat([-signed.sum(1, keepdim=True) / 2, self._rotate(permuted)], 1) + c

    def adjoint(self, z: Tensor) -> Tensor:
        """Apply the transpose of `apply`, from (blocks, d + 1, K) to (d + 1, K)."""
        permuted = self._rotate(z[:, 1:])
        signed = (permuted.gather(1, self._index(permuted)) - z[:, :1] / 2) * self.sign[..., None]
        return torch.cat([signed.sum(0) * self.scale, z.sum((0, 1))[None]])

    def _index(self, like: Tensor) -> Tensor:
        return self.order[..., None].expand_as(like)

    def _rotate(self, v: Tensor) -> Tensor:
        """Return Σ_m g[(m + i) mod d] v[m] for every i; symmetric in i and m."""
        spectrum = torch.fft.rfft(self.g)[:, None]
        return torch.fft.irfft(torch.fft.rfft(v, dim=1).conj() * spectrum, n=len(self.g), dim=1)

    def solve(self, z: Tensor, *, iterations: int = 300) -> tuple[Tensor, Tensor]:
        """Solve the linear system by least squares.

        Conjugate gradients on the normal equations, in float64, from zero: if n < d + 1 they lead to the solution of
        the least norm (in w and c).

        Args:
            z: Logits (n, K) of the first n rows, n ≤ count.
            iterations: Most steps of the solver.

        Returns:
            `weight` (K, d) and `bias` (K,) whose logits are nearest to `z`.
        """
        blocks, rows = len(self.order), len(self.g) + 1
        residual = z.new_zeros(blocks * rows, z.shape[1])
        residual[: len(z)] = z
        residual = residual.view(blocks, rows, -1)
        answered = (torch.arange(blocks * rows) < len(z)).view(blocks, rows, 1)
        parameters = z.new_zeros(rows, z.shape[1])
        gradient = self.adjoint(residual)
        direction, norm = gradient, (gradient * gradient).sum(0)
        tolerance = norm * 1e-28
        for _ in range(iterations):
            if (norm <= tolerance).all():
                break
            change = self.apply(direction) * answered
            length = norm / (change * change).sum((0, 1)).clamp_min(torch.finfo(z.dtype).tiny)
            parameters, residual = parameters + length * direction, residual - length * change
            gradient = self.adjoint(residual)
            before, norm = norm, (gradient * gradient).sum(0)
            direction = gradient + norm / before.clamp_min(torch.finfo(z.dtype).tiny) * direction
        weight, c = parameters[:-1].T, parameters[-1]
        return weight, c - self.scale * weight.sum(1) / 2


def flat_sequence(length: int) -> Tensor:
    """Return values whose discrete Fourier transform has the same size at every frequency.

    The phases −πk²/n keep the peak low (Schroeder, 1970): it is 1.7 times the root mean square.

    Args:
        length: Number of values.

    Returns:
        The values (length,) in [−1/2, 1/2], rounded to grey levels.
    """
    waves = (length - 1) // 2
    k = torch.arange(length // 2 + 1, dtype=torch.float64)
    phase = -torch.pi * k * k / max(waves, 1)
    phase[0] = phase[waves + 1 :] = 0  # the mean and, where there is one, the highest frequency are real
    g = torch.fft.irfft(torch.polar(torch.ones_like(phase), phase), n=length)
    return (g * (GREY_LEVELS / 2 / g.abs().max())).round() / GREY_LEVELS
