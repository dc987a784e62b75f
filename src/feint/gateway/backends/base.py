"""Loaded models, whichever backend runs them."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from feint.gateway.backends.upstream import UpstreamModel
from feint.gateway.served_pipeline import ServedPipeline
from feint.openinference.model_spec import ModelSpec
from feint.paid.meter import Meter

OUTPUT = "probabilities"  # the one output that clients see


def noop() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class LoadedModel:
    """A loaded model.

    Attributes:
        spec: The model as clients see it; None while its upstream never answered.
        pipeline: Its defended pipeline.
        notes: Lines that are printed at the start.
        warnings: Problems that the operator should fix.
        rungs: Number of rungs; a plain defense has one.
        safest: The rung that answers while the ledger is lost, None if no rung defends its answers.
        upstream: The server that runs it, if another one does.
        connect: Asks the upstream for `spec`.
        close: Closes what is open.
        fingerprint: Fingerprint of the model and its defense, as far as they are here, and of how answers are read.
        opening: Called once before clients ask.
        meter: Price and ceiling of its calls, where they cost something.
    """

    spec: ModelSpec | None
    pipeline: ServedPipeline
    notes: Sequence[str]
    warnings: Sequence[str] = ()
    safest: int | None = None
    rungs: int = 1
    upstream: UpstreamModel | None = None
    connect: Callable[[], Awaitable[ModelSpec]] | None = None
    close: Callable[[], None] = noop
    fingerprint: str = ""
    opening: Callable[[], None] = noop
    meter: Meter | None = None
