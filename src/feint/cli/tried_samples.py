"""Inputs that `feint serve --check` sends to each model."""

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from feint.gateway.backends.base import LoadedModel
    from feint.openinference.model_spec import ModelSpec

TRIED = 1000  # samples that are sent at most


class TriedSamples(NamedTuple):
    """Samples that --check sends.

    Attributes:
        data: Data set, file or directory; "" for made-up inputs.
        label: Column of the label.
    """

    data: str
    label: str | None


async def try_inputs(loaded: "LoadedModel", samples: TriedSamples) -> str:
    """Return what came of sending inputs to a model: the samples, or made-up ones where there are none."""
    from feint.gateway.server import trial

    assert loaded.spec is not None
    assert loaded.spec.domain is not None
    ways = "by JSON, binary data and gRPC"
    if not samples.data:
        done = await trial.send(loaded, loaded.spec.domain.sample(4, 0))
        return done.refusal or f"{len(done.p)} made-up inputs, answered {ways}"
    from feint.evaluation.sample_accuracy import inspect_command
    from feint.victims.inspection import is_chance

    x, labels = _samples(samples, loaded.spec)
    done = await trial.send(loaded, x)
    if not len(done.p):
        return f"nothing is answered: {done.refusal}"
    labels = labels[done.answered]
    right = done.p.argmax(1) == labels
    if is_chance(right, labels):
        print(
            f"feint: mind: no better than chance on {samples.data}: {inspect_command('MODEL', *samples)} looks for "
            "another scale, layout and order of classes", file=sys.stderr,
        )  # fmt: skip
    refused = f"; {len(x) - len(labels):,} more were refused: {done.refusal}" if done.refusal else ""
    return f"right on {right.mean():.1%} of {len(labels):,} samples, sent {ways}{refused}"


def _samples(samples: TriedSamples, spec: "ModelSpec") -> "tuple[Any, Any]":
    """Return inputs and labels as a model takes them."""
    import numpy as np
    import torch

    from feint.cli.common import print_remarks
    from feint.data.files import samples_at

    reading = samples_at(samples.data, spec.domain, classes=spec.labels or spec.classes, label=samples.label)
    print_remarks(reading, samples.data)
    split = reading.split
    rows = np.random.default_rng(0).permutation(len(split))[:TRIED]
    return split.inputs(torch.from_numpy(rows)).numpy(), split.labels.numpy()[rows]
