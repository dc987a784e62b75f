"""Where answers and input features lie before and after a defense, by t-SNE."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from feint._optional import require
from feint.data import Split
from feint.i18n import Catalog
from feint.query import Query
from feint.report import plots
from feint.report.figures import svg
from feint.service import Service
from feint.victims import predict

SHOWN = 300  # test inputs in a picture: t-SNE takes about a second for so many


@dataclass(frozen=True)
class ImageExamples:
    """What pictures are made of: services by the name of their defense, the undefended one first, and test inputs."""

    services: Mapping[str, Service]
    test: Split


@dataclass(frozen=True)
class Figure:
    """A figure with its title, what it shows, and what it says to those who do not see it."""

    title: str
    svg: str
    caption: str
    alt: str


def pictures(looks: ImageExamples, say: Catalog) -> Iterator[Figure]:
    """Answers before and after every defense, and input features where it changes inputs."""
    x = looks.test.inputs(slice(0, SHOWN))
    bare, *defended = looks.services.items()
    clean = predict(bare[1].model, x)
    labels, flat = clean.argmax(-1), _embed(clean)
    seen = _features(bare[1].model, x)
    embedded = _embed(seen) if seen is not None and any(_changes(it, x) for _, it in defended) else None
    for name, service in defended:
        service = Service(service.model, replace(service.defense, access=()))
        after = _embed(service(Query(x, client="report")).p)
        yield _figure("answers", name, flat, after, labels, say)
        moved = _features(service.model, _moved(service, x)) if _changes(service, x) else None
        if embedded is not None and moved is not None:
            yield _figure("features", name, embedded, _embed(moved), labels, say)


def _figure(kind: str, name: str, before: np.ndarray, after: np.ndarray, labels: Tensor, say: Catalog) -> Figure:
    given = {"n": len(labels), "classes": len(labels.unique()), "defense": name}
    drawn = svg(plots.clouds(before, after, labels, say))
    return Figure(say(f"{kind} title", **given), drawn, say(f"{kind} note", **given), say("alt tsne", **given))


def _embed(rows: Tensor) -> np.ndarray:
    """Rows (N, K) in the plane, (N, 2); equal rows at one place."""
    TSNE = require("sklearn.manifold", "report").TSNE  # noqa: N806
    places, where = np.unique(rows.numpy().astype(np.float32), axis=0, return_inverse=True)
    if len(places) < 4:  # a label-only API: nothing to be laid out
        return np.stack([np.cos(angle := 2 * np.pi * where / len(places)), np.sin(angle)], 1)
    made = TSNE(perplexity=min(30, (len(places) - 1) / 3), init="random", random_state=0)
    return made.fit_transform(places)[where]


def _changes(service: Service, x: Tensor) -> bool:
    return not torch.equal(_moved(service, x[:8]), x[:8])


def _moved(service: Service, x: Tensor) -> Tensor:
    """The inputs as the model sees them, for a client without a past."""
    query = Query(x, client="features")
    for perturb in service.line.rung(query, service.model, service.ledger["features"]).inputs:
        x = perturb(x, service.model)
    return x.detach()


def _features(model: nn.Module, x: Tensor) -> Tensor | None:
    """What the last linear layer of `model` sees, (N, d); None where it has none."""
    linear = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    if not linear:
        return None
    seen: list[Tensor] = []
    hook = linear[-1].register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().flatten(1)))
    try:
        predict(model, x)
    finally:
        hook.remove()
    return seen[-1]
