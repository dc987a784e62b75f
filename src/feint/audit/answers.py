"""Answers that an honest client sees before and after a defense."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from feint.data import Split
from feint.evaluation.metrics import rounded
from feint.query import Query
from feint.service import Service

SHOWN = 3  # classes of an answer
DECIMALS = 3


def sample_answers(services: Mapping[str, Service], samples: Split, classes: Sequence[str]) -> dict[str, str]:
    """Return the answer to one sample behind each defense, in words.

    The sample is the first one on which the model is sure to some degree, so that there is something to see.

    Args:
        services: The model behind each defense, by name; the undefended one first.
        samples: Samples.
        classes: Names of the classes.
    """
    first = next(iter(services.values()))
    p = _answers(first, samples.inputs(slice(0, 100)))
    typical = int((p.amax(1) - p.amax(1).median()).abs().argmin())
    x = samples.inputs(slice(typical, typical + 1))
    return {name: _words(_answers(service, x)[0], classes) for name, service in services.items()}


def _answers(service: Service, x: Tensor) -> Tensor:
    open_to_all = Service(service.model, replace(service.defense, access=()))
    return rounded(open_to_all(Query(x, client="honest")).p)


def _words(p: Tensor, classes: Sequence[str]) -> str:
    """Return the largest probabilities of an answer (K,) with their classes."""
    top = p.topk(min(SHOWN, len(p)))
    return "; ".join(f"{classes[i]}: {share:.{DECIMALS}f}" for share, i in zip(*map(Tensor.tolist, top), strict=True))
