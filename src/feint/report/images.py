"""t-SNE figures of answers and input features before and after a defense."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor, nn

from feint._optional import require
from feint.data import Split
from feint.errors import BadInput
from feint.i18n import Catalog
from feint.query import Query
from feint.report import plots
from feint.report.figures import svg
from feint.service import Service
from feint.signature import mark
from feint.victims import penultimate, predict

SHOWN = 300  # test inputs in a figure: t-SNE takes about a second for so many


@dataclass(frozen=True)
class ImageExamples:
    """The models and inputs of the t-SNE figures.

    Attributes:
        services: The victim behind each defense, by the name of the defense; the undefended one first.
        test: Test inputs.
    """

    services: Mapping[str, Service]
    test: Split


@dataclass(frozen=True)
class Figure:
    """A figure with its title, its caption and its text for screen readers."""

    title: str
    svg: str
    caption: str
    alt: str


def pictures(examples: ImageExamples, say: Catalog) -> Iterator[Figure]:
    """Yield figures of the answers of every defense, and of the input features of defenses that change inputs."""
    x = examples.test.inputs(slice(0, SHOWN))
    bare, *defended = examples.services.items()
    clean = predict(bare[1].model, x)
    labels, flat = clean.argmax(-1), _embed(clean)
    features = _features(bare[1].model, x)
    changed = any(_changes(service, x) for _, service in defended)
    embedded = _embed(features) if features is not None and changed else None
    for name, service in defended:
        service = Service(service.model, replace(service.defense, access=()))
        after = _embed(service(Query(x, client="report")).p)
        yield _figure("answers", name, flat, after, labels, say)
        defended_features = _features(service.model, _defended(service, x)) if _changes(service, x) else None
        if embedded is not None and defended_features is not None:
            yield _figure("features", name, embedded, _embed(defended_features), labels, say)


def _figure(kind: str, name: str, before: np.ndarray, after: np.ndarray, labels: Tensor, say: Catalog) -> Figure:
    words = {"n": len(labels), "classes": len(labels.unique()), "defense": name}
    drawing = svg(plots.clouds(before, after, labels, say))
    return Figure(say(f"{kind} title", **words), drawing, say(f"{kind} note", **words), say("alt tsne", **words))


def _embed(rows: Tensor) -> np.ndarray:
    """Embed rows (N, K) in the plane, (N, 2). Equal rows get equal points."""
    TSNE = require("sklearn.manifold", "report").TSNE  # noqa: N806
    unique, where = np.unique(rows.numpy().astype(np.float32), axis=0, return_inverse=True)
    if len(unique) < 4:  # a label-only API: too few points for t-SNE
        return np.stack([np.cos(angle := 2 * np.pi * where / len(unique)), np.sin(angle)], 1)
    tsne = TSNE(perplexity=min(30, (len(unique) - 1) / 3), init="random", random_state=0)
    return tsne.fit_transform(unique)[where]


def _changes(service: Service, x: Tensor) -> bool:
    return mark(_defended(service, x[:8]).numpy()) != mark(x[:8].numpy())


def _defended(service: Service, x: Tensor) -> Tensor:
    """Return the inputs after the input defenses, for a client without earlier queries."""
    query = Query(x, client="features")
    for perturb in service.line.rung(query, service.model, service.ledger["features"]).inputs:
        x = perturb(x, service.model)
    return x.detach()


def _features(model: nn.Module, x: Tensor) -> Tensor | None:
    """Return the inputs (N, d) of the model's last linear layer; None for a model without one."""
    try:
        return penultimate(model, x)
    except BadInput:
        return None
