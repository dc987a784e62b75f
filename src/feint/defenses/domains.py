"""Domain of the inputs that a defense meets."""

import numpy as np
from torch import Tensor, nn

from feint.errors import BadInput
from feint.query import TYPES
from feint.signature import Domain, domain_like
from feint.victims import domain_of


def as_array(x: Tensor) -> np.ndarray:
    """Return inputs as an array, which a domain checks."""
    return x.detach().cpu().numpy()


def input_domain(x: Tensor, model: nn.Module) -> Domain:
    """Return the model's domain, or what the inputs `x` (N, …) tell of it where the model does not have one.

    Raises:
        BadInput: if `x` is no batch of any domain.
    """
    if x.ndim < 2 or x.dtype not in TYPES:
        known = ", ".join(str(dtype).removeprefix("torch.") for dtype in TYPES)
        raise BadInput(
            f"inputs of shape {tuple(x.shape)} and type {x.dtype}", f"a batch (N, …) of {known}", "convert them"
        )
    return domain_of(model) or domain_like(as_array(x))
