"""On-disk cache of a service's answers to batches."""

import functools
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from feint.defense import Bound, Defense, Recording
from feint.errors import DamagedFile
from feint.evaluation.provenance import provenance
from feint.query import Answer, Query
from feint.recipes.recipe import short_hash, to_table
from feint.recipes.store import atomic_write
from feint.service import Service
from feint.victims import fingerprint

LEAST = 32  # inputs in a cached batch; smaller ones are not worth a file, and lenses that time answers time the service


class CachedService:
    """A service with an on-disk cache of its answers to batches, for services that `is_cacheable` accepts.

    The key of a batch is all of its bits, and the machine, versions and code that answer. So a cached answer equals the
    service's own, and every theft that asks the same batches shares them, in all of its budgets. The ledger counts
    cached answers as well. A batch of other inputs, as an attack with another seed asks, is a new key: the last bits of
    a model's answers depend on the rest of the batch, and a training on them ends in another surrogate.

    Args:
        service: The service.
        folder: Folder of the cache; its files are memory-mapped.
    """

    def __init__(self, service: Service, folder: Path) -> None:
        self._service = service
        source = [fingerprint(service.model), to_table(service.defense), provenance(), _code()]
        self._folder = folder / short_hash(json.dumps(source))

    def __call__(self, query: Query) -> Answer:
        if len(query) < LEAST:
            return self._service(query)
        x = query.x.contiguous()
        file = self._folder / f"{short_hash(x.numpy().data, 24)}.npy"
        if file.exists():
            return self._service.ledger[query.client].write(query, Answer(_load(file)))
        answer = self._service(query)
        with atomic_write(file) as partial:
            np.save(partial, answer.p.numpy())
        return answer


def _load(file: Path) -> Tensor:
    try:
        return torch.from_numpy(np.load(file, mmap_mode="c"))
    except (ValueError, EOFError) as error:
        raise DamagedFile(
            f"{file} ({error})", "answers as Feint keeps them", "delete that file and run again"
        ) from error


@functools.cache
def _code() -> str:
    """Return a hash of Feint's code: its revision is the same for all uncommitted changes."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def is_cacheable(service: Service) -> bool:
    """Return whether answers depend on the query alone and leave no trace: no rule, ladder or step uses an account."""
    defense = service.defense
    return (
        isinstance(defense, Defense)
        and not defense.access
        and not any(isinstance(step, Bound | Recording) for step in defense.outputs)
    )
