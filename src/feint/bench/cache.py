"""Answers that are asked once: a batch that was answered by the same victim behind the same defense is looked up."""

import functools
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from feint.defense import Bound, Defense
from feint.errors import DamagedFile
from feint.evaluation.provenance import provenance
from feint.query import Answer, Query
from feint.recipes.recipe import short_hash, to_table
from feint.recipes.store import atomic_write
from feint.service import Service
from feint.victims import fingerprint

LEAST = 32  # inputs in a batch that is worth a file; a lens that times single answers is to time the service


class CachedService:
    """`service`, whose answers to batches are kept in `folder`, memory-mapped; the ledger counts them all the same.

    A batch is found by all of its bits, and by the machine, versions and code that answer: its answers are what the
    service would say, whoever asked first. Batches of
    another composition, as an attack with another seed asks them, are new: a model's last bits depend on who is in a
    batch, and a training on them ends elsewhere. So a transcript serves every theft that asks the same, in all of its
    budgets. For services whose answers depend on nothing but the query (`keepable`).
    """

    def __init__(self, service: Service, folder: Path) -> None:
        self._service = service
        what = [fingerprint(service.model), to_table(service.defense), provenance(), _code()]
        self._folder = folder / short_hash(json.dumps(what))

    def __call__(self, query: Query) -> Answer:
        if len(query) < LEAST:
            return self._service(query)
        x = query.x.contiguous()
        file = self._folder / f"{short_hash(x.numpy().data, 24)}.npy"
        if file.exists():
            return self._service.ledger[query.client].write(query, Answer(_kept(file)))
        answer = self._service(query)
        with atomic_write(file) as partial:
            np.save(partial, answer.p.numpy())
        return answer


def _kept(file: Path) -> Tensor:
    try:
        return torch.from_numpy(np.load(file, mmap_mode="c"))
    except (ValueError, EOFError) as error:
        raise DamagedFile(
            f"{file} ({error})", "answers as Feint keeps them", "delete that file and run again"
        ) from error


@functools.cache
def _code() -> str:
    """What stands for the code of Feint: its revision does not tell one unfinished change from the next."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def is_cacheable(service: Service) -> bool:
    """Whether an answer depends on nothing but the query: no rule, ladder or step that remembers who asked what."""
    defense = service.defense
    return (
        isinstance(defense, Defense) and not defense.access and not any(isinstance(it, Bound) for it in defense.outputs)
    )
