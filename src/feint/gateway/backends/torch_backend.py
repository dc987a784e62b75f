"""Loader of models that torch runs: the library's own service, for defenses that no graph can hold."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from feint.defense import Defense, Ladder
from feint.defenses.parsing import parse_defense
from feint.errors import BadInput, FeintError
from feint.gateway import settings
from feint.gateway.backends.base import OUTPUT, LoadedModel
from feint.gateway.backends.paid import REMEMBERED, announced
from feint.gateway.backends.recipes import bare, rules
from feint.gateway.backends.torch_pipeline import TorchPipeline, rungs, safest
from feint.openinference.model_spec import ModelSpec
from feint.paid.meter import DailyCalls
from feint.query import Query
from feint.recipes.recipe import to_table
from feint.service import Service
from feint.signature import Domain, Pixels, as_domain
from feint.victims import FromAnswers, classes_of, domain_of, fingerprint, load_any


def load(table: settings.TorchSettings, name: str) -> LoadedModel:
    """Load the victim and the defenses that the settings name; raise `FeintError`."""
    domain = Pixels(table.shape) if table.shape else None
    model = load_any(table.torch, domain=domain)
    called = model if isinstance(model, FromAnswers) and not model.recorded else None
    if called is not None and called.cache.path is not None and table.max_calls_per_day is not None:
        called.meter.daily = DailyCalls(called.cache.path, table.max_calls_per_day)
    elif table.max_calls_per_day is not None:
        raise BadInput(f"max_calls_per_day for {table.torch}", "a model that is called elsewhere", "leave it out")
    defense = parse_defense(table.defense, victim=fingerprint(model))
    if isinstance(defense, Ladder):
        defense = replace(defense, at=[table.threshold * at for at in defense.at])
    service = Service(model, defense)
    loaded = of_service(service, name, domain=domain, access=table.access, where=_shown(table.torch))
    if called is None:
        return loaded
    return replace(loaded, opening=partial(called.remember, REMEMBERED), meter=called.meter)


def _shown(place: str) -> str:
    """Return where a model is as one would write it: settings in another folder lead up to it by dots."""
    return str(Path(place).resolve()) if ".." in Path(place).parts else place


def of_service(
    service: Service,
    name: str,
    *,
    domain: Domain | Sequence[int] | None = None,
    access: Sequence[str] = (),
    where: str = "a service",
) -> LoadedModel:
    """Return a service of the library as a loaded model, which runs in a thread.

    A step of the defense that is not fitted yet raises `NotFitted`.

    Args:
        service: The service.
        name: The model's name.
        domain: Domain of the inputs, where the model does not have it; the shape of an image stands for `Pixels`.
        access: Access rules before those of the service, spelled as in Python.
        where: Origin of the service, for the start-up note.

    Raises:
        BadInput: If neither the model nor `domain` says what it takes, or if its calls cost something and have no
            ceiling.
    """
    domain = as_domain(domain) if domain else domain_of(service.model)
    if domain is None:
        raise BadInput(
            f"{name}, which does not say what it takes", "a model.toml, which says it",
            "feint inspect writes one; for images, set shape = [C, H, W]",
        )  # fmt: skip
    model = service.model
    paid = announced(model.meter, where) if isinstance(model, FromAnswers) and not model.recorded else []
    seconds = _each_rung_tried(service, domain)
    pipeline = TorchPipeline(service, rules(access))
    safe, steps = safest(service.defense), len(rungs(service.defense))
    labels = getattr(service.model, "class_names", ())
    spec = ModelSpec(name, domain, OUTPUT, classes_of(service.model, domain), labels=labels)
    notes = [f"{where}, by torch: {1000 * seconds:.2g} ms for one input", *_spoken(service.defense, access), *paid]
    return LoadedModel(
        spec, pipeline, notes, bare({"outputs": safe is not None}), safe, steps,
        close=pipeline.close, fingerprint=f"{fingerprint(service.model)} {_recipe(service.defense)}",
    )  # fmt: skip


def _recipe(defense: Defense | Ladder) -> str:
    """Return the recipe of a defense, or the names of its steps where one of them is no recipe."""
    try:
        return json.dumps(to_table(defense), sort_keys=True)
    except (FeintError, TypeError):
        return "\n".join(_spoken(defense, ()))


def _each_rung_tried(service: Service, domain: Domain) -> float:
    """Return the seconds that the slowest rung takes for one input; raise `FeintError`."""
    seconds = []
    for rung in rungs(service.defense):
        start = time.perf_counter()
        Service(service.model, replace(rung, access=()))(Query(torch.from_numpy(domain.sample(1, 0))))
        seconds.append(time.perf_counter() - start)
    return max(seconds)


def _spoken(defense: Defense | Ladder, access: Sequence[str]) -> list[str]:
    """Return the steps of a defense as start-up notes."""
    entries = [f"from evidence {at:g}" for at in defense.at] if isinstance(defense, Ladder) else ["line"]
    rules = [*access, *(type(rule).__name__ for rule in defense.access)] if isinstance(defense, Ladder) else [*access]
    lines = [f"everybody: {', '.join(rules)}"] if rules else []
    for entry, rung in zip(entries, rungs(defense), strict=True):
        names = [type(step).__name__ for room in (rung.access, rung.inputs, rung.outputs) for step in room]
        lines.append(f"{entry}: {', '.join(names) or 'no defense'}")
    return lines
