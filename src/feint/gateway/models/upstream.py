"""A model that another Open Inference Protocol v2 server runs, asked over REST or gRPC.

Whatever it says beside the one output is dropped, and what it says of its failures stays here.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from feint.errors import BadInput, Failed
from feint.gateway import settings
from feint.gateway.asked import Array
from feint.gateway.client.protocol import UNREADABLE
from feint.gateway.models.graphs import softmax
from feint.gateway.simplex import probabilities

TYPES = {"FP32": "<f4", "FP64": "<f8"}


@dataclass(frozen=True)
class Seen:
    """What is known of the upstream's model: the `shape` that clients send, and `inner`, the upstream's own."""

    input: str
    datatype: str
    shape: tuple[int, ...]
    inner: tuple[int, ...]
    output: str
    classes: int


class Wire(Protocol):
    """How an upstream is talked to. All raise `Unreachable`."""

    async def metadata(self) -> Mapping[str, Any]:
        """The model's metadata, as in the protocol's JSON."""
        ...

    async def infer(self, seen: Seen, x: Array) -> Array:
        """The chosen output for `x` (N, …) in the upstream's own shape and type. Raises `Failed` too."""
        ...

    async def ready(self) -> bool:
        """Whether the model can answer."""
        ...

    def close(self) -> None: ...


class Upstream:
    """One model of a v2 server. `about` reads what it is, and tries it once, before `infer` is called."""

    def __init__(self, at: settings.Upstream, wire: Wire) -> None:
        self.at, self._wire = at, wire
        self._seen: Seen | None = None
        self.ready, self.close = wire.ready, wire.close

    async def about(self) -> Seen:
        """What the upstream's metadata and one black input tell. Raises `Unreachable`, or `BadInput` where it is no
        classifier that can stand here."""
        seen = read(await self._wire.metadata(), self.at)
        black = np.zeros((1, *seen.shape), np.float32)
        try:
            raw = await self._asked(seen, black)
            self._seen = Seen(**{**_fields(seen), "classes": raw.shape[-1] if raw.ndim == 2 else 0})
            self._answer(raw, 1)
        except Failed as error:
            self._seen = None
            raise BadInput(
                f"{self.at.upstream}, for a black input: {error.args[0]}", "probabilities",
                "set output, or logits = true, shape or datatype",
            ) from error  # fmt: skip
        if self.at.classes not in (0, self._seen.classes):
            raise BadInput(f"{self._seen.classes} classes of {self.at.upstream}", str(self.at.classes), "mend classes")
        return self._seen

    async def infer(self, x: Array) -> Array:
        """The undefended probabilities (N, K) of `x` (N, …). Raises `Unreachable` or `Failed`."""
        seen = self._seen or await self.about()
        if not len(x):  # scikit-learn behind MLServer fails on it
            return np.zeros((0, seen.classes), np.float32)
        return self._answer(await self._asked(seen, x), len(x))

    async def _asked(self, seen: Seen, x: Array) -> Array:
        return await self._wire.infer(seen, x.reshape(len(x), *seen.inner).astype(TYPES[seen.datatype], copy=False))

    def _answer(self, raw: Array, rows: int) -> Array:
        """Probabilities of what came. Raises `Failed`."""
        seen = self._seen
        if seen is None or raw.shape != (rows, seen.classes) or seen.classes < 2 or not np.isfinite(raw).all():
            raise Failed("an upstream's answer that is none", "finite rows, one for each input", "tell the operator")
        p = softmax(raw.astype(np.float64)) if self.at.logits else raw
        return probabilities(p, rows, seen.classes)


def _fields(seen: Seen) -> dict[str, Any]:
    return {name: getattr(seen, name) for name in seen.__dataclass_fields__}


def read(metadata: Mapping[str, Any], at: settings.Upstream) -> Seen:
    """What the metadata say of the input and the output, where the settings do not. Raises `BadInput`."""
    try:
        inputs = {str(it["name"]): it for it in metadata.get("inputs") or ()}
        outputs = [str(it["name"]) for it in metadata.get("outputs") or ()]
        given = inputs.get(at.input or next(iter(inputs), ""), {})
        inner = tuple(int(it) for it in given.get("shape", (-1, *(at.shape or ())))[1:])
        inner = (math.prod(inner),) if at.flat else inner
        shape = at.shape or inner
        wanted = at.output or (outputs[0] if len(outputs) == 1 else "")
        datatype = given.get("datatype", at.datatype)
        known = datatype if datatype in TYPES else at.datatype
        fits = min(inner, default=0) < 0 or math.prod(inner) == math.prod(shape)
    except UNREADABLE as error:
        raise BadInput(
            f"{at.upstream} with metadata that say nothing", "an Open Inference server", "check it"
        ) from error
    if not shape or min(shape) < 1 or not fits:
        raise BadInput(f"{at.upstream}, which takes {inner}", "inputs of a known size", "set shape = [C, H, W]")
    if not wanted:
        raise BadInput(f"{at.upstream} with the outputs {outputs}", "one output", "set output = NAME")
    if len(inputs) > 1 and not at.input:
        raise BadInput(f"{at.upstream} with the inputs {list(inputs)}", "one input", "set input = NAME")
    name = at.input or next(iter(inputs), "x")
    return Seen(name, known, shape, inner if min(inner) > 0 else shape, wanted, at.classes)


def _rest(at: settings.Upstream, model: str) -> Wire:
    from feint.gateway.models.upstream_rest import Rest

    return Rest(at, model)


def _rpc(at: settings.Upstream, model: str) -> Wire:
    from feint.gateway.models.upstream_rpc import Rpc

    return Rpc(at, model)


WIRES: dict[str, Callable[[settings.Upstream, str], Wire]] = {"http": _rest, "https": _rest, "grpc": _rpc}


def upstream_at(at: settings.Upstream, model: str) -> Upstream:
    """The model of that name there, not yet asked."""
    return Upstream(at, WIRES[at.upstream.partition("://")[0]](at, model))
