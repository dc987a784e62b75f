"""Models that torch runs, for what no graph can hold: the library's own service at a place."""

import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from feint.defense import Defense, Ladder
from feint.defenses.parsing import parse_defense
from feint.errors import BadInput
from feint.gateway import settings
from feint.gateway.models.places import OUTPUT, Place
from feint.gateway.models.recipes import bare, rules
from feint.gateway.models.torch_pipeline import TorchPipeline, rungs, safest
from feint.openinference.model_spec import ModelSpec
from feint.query import Query
from feint.service import Service
from feint.victims import classes_of, fingerprint, load_any, shape_of


def opened(at: settings.Torch, name: str) -> Place:
    """The victim and the defenses of the settings. Raises `FeintError`."""
    model = load_any(at.torch, probabilities=at.probabilities)
    service = Service(model, parse_defense(at.defense, victim=fingerprint(model)))
    return of_service(service, name, shape=at.shape, access=at.access, where=at.torch)


def of_service(
    service: Service,
    name: str,
    *,
    shape: tuple[int, ...] | None = None,
    access: Sequence[str] = (),
    where: str = "a service",
) -> Place:
    """A service of the library as a place: its own line, in a thread."""
    shape = shape or shape_of(service.model)
    if shape is None:
        raise BadInput(f"{name}, which does not say what it takes", "its shape (C, H, W)", "give the shape")
    seconds = _each_rung_tried(service, tuple(shape))
    line = TorchPipeline(service, rules(access))
    safe = safest(service.defense)
    about = ModelSpec(name, "x", tuple(shape), OUTPUT, classes_of(service.model, tuple(shape)))
    said = [f"{where}, by torch: {1000 * seconds:.2g} ms for one input", *_spoken(service.defense, access)]
    return Place(about, line, said, bare({"outputs": safe is not None}), safe, close=line.close)


def _each_rung_tried(service: Service, shape: tuple[int, ...]) -> float:
    """The seconds that the slowest rung takes for one input, a black one. Raises `FeintError`, as for a step that has
    learned nothing yet."""
    took = []
    for rung in rungs(service.defense):
        start = time.perf_counter()
        Service(service.model, replace(rung, access=()))(Query(torch.zeros(1, *shape)))
        took.append(time.perf_counter() - start)
    return max(took)


def _spoken(defense: Defense | Ladder, access: Sequence[str]) -> list[str]:
    """What stands on the line, in words."""
    entries = [f"from evidence {at:g}" for at in defense.at] if isinstance(defense, Ladder) else ["line"]
    rules = [*access, *(type(it).__name__ for it in defense.access)] if isinstance(defense, Ladder) else [*access]
    said = [f"everybody: {', '.join(rules)}"] if rules else []
    for entry, rung in zip(entries, rungs(defense), strict=True):
        names = [type(step).__name__ for room in (rung.access, rung.inputs, rung.outputs) for step in room]
        said.append(f"{entry}: {', '.join(names) or 'no defense'}")
    return said
