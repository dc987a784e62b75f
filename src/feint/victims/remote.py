"""Models whose answers cost something, like servers, as victims."""

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from feint.errors import Refused, Unreachable
from feint.models.simplex import log_probabilities
from feint.paid.answer_cache import AnswerCache, answers_file
from feint.paid.interrupts import finishing
from feint.paid.meter import Meter
from feint.signature import Columns, Domain, mark
from feint.victims.adapter import AdaptedModel

Ask = Callable[
    [Tensor], tuple[Tensor, Refused | None]
]  # an oracle's try_ask: answers (n, K) and the refusal of the others

PAUSE = 10.0  # seconds for which a predictor that did not answer is not asked again


class FromAnswers(nn.Module):
    """Adapter of a predictor that returns probabilities: returns their logarithms, without a gradient.

    Every input is sent once, also where several threads ask, and its answer is cached by its mark: a defense in front
    of the adapter costs no further query. A predictor whose answers vary therefore looks deterministic. A call raises
    the predictor's refusal. After an `Unreachable` every call of the next `PAUSE` seconds raises the same error at
    once, instead of waiting again.

    Args:
        ask: Function of inputs (N, …) to answers (n, K) and a refusal or None, like `Oracle.try_ask`.
        name: Name of the predictor, whose digest is in the `state_dict`.
        domain: Domain of the inputs.
        classes: Number K of classes.
        folder: Directory in which the answers are stored as well; None keeps them in memory.
        file: The file itself, instead of one in a directory.
        meter: Price and ceiling of the calls.
        class_names: Names of the classes; numbers by default.
        recorded: Whether all answers there will ever be are added to the cache, so that nothing is called.
        remarks: Function that returns remarks on the answers so far, by topic.
        decode: Function of answers to logits; by default `log_probabilities`.

    Attributes:
        meter: Price and ceiling of the calls.
        recorded: Whether nothing is ever called.
        gone: The last `Unreachable` of the predictor, or None.
    """

    digest: Tensor

    def __init__(
        self,
        ask: Ask,
        *,
        name: str,
        domain: Domain,
        classes: int,
        folder: Path | None = None,
        file: Path | None = None,
        meter: Meter | None = None,
        recorded: bool = False,
        class_names: tuple[str, ...] = (),
        remarks: Callable[[], Mapping[str, str]] = dict,
        decode: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self._ask, self.domain, self.classes, self._remarks = ask, domain, classes, remarks
        self._decode = decode or log_probabilities
        self.class_names = class_names or tuple(map(str, range(classes)))
        self.meter, self.recorded = meter or Meter(), recorded
        self.cache = AnswerCache(folder / "answers.sqlite" if folder is not None else file)
        self.gone: Unreachable | None = None
        self._until, self._most = 0.0, None
        self._calling = threading.Lock()  # one call at a time: the next thread may find its answer in the cache
        digest = bytearray(hashlib.sha256(name.encode()).digest())
        self.register_buffer("digest", torch.frombuffer(digest, dtype=torch.uint8))

    @property
    def asked(self) -> int:
        """Number of inputs with an answer, now or in an earlier process."""
        return len(self.cache)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Remarks on the answers: rounding, missing scores, labels alone."""
        return tuple(self.cache.remarks.values())

    def calls(self, x: Tensor) -> int:
        """Return how many calls the answers to inputs (N, …) would take: none for those that are known."""
        return len(self.cache.missing(mark(x.detach().cpu().numpy())))

    def remember(self, most: int) -> None:
        """Keep only the last `most` answers from now on, and store none: as a server does, whose clients never stop."""
        self._most, self.cache.path = most, None

    def forward(self, x: Tensor) -> Tensor:
        if not len(x):
            return torch.zeros(0, self.classes)
        if self._most is not None:  # before the batch, all of whose answers are needed at its end
            self.cache.forget(self._most)
        marks = mark(x.detach().cpu().numpy())
        if self.cache.missing(marks):
            with self._calling:
                for rows in torch.tensor(self.cache.missing(marks), dtype=torch.long).split(self.meter.size):
                    self._fetch(x[rows], [marks[row] for row in rows.tolist()])
        return self._decode(torch.from_numpy(self.cache.get(marks)))

    def _fetch(self, x: Tensor, marks: list[bytes]) -> None:
        """Send inputs, and cache the answers."""
        if self.gone is not None and time.monotonic() < self._until:
            raise self.gone.with_traceback(None)  # or it would hold the frames of all who got it
        if not len(x):
            return
        with finishing():  # or Ctrl-C would lose answers that are paid for
            self.meter.charge(len(x))
            try:
                p, refusal = self._ask(x)
            except Unreachable as error:
                self.gone, self._until = error, time.monotonic() + PAUSE
                raise
            if len(p):
                self.cache.add(marks[: len(p)], p.cpu().numpy().astype(np.float32), self._remarks())
        if refusal is not None:
            raise refusal


def metered(model: AdaptedModel) -> nn.Module:
    """Return a model whose answers are kept and counted, where they cost something; other models as they are.

    Scores are kept as the raw model returns them, so that another order of the classes costs no further call.
    """
    raw, outputs = model.raw, model.adapter.outputs
    if raw.meter is None:
        return model
    about = [raw.digest, identity(model.domain), repr(model.adapter.inputs)]
    if outputs.values == "labels":  # no numbers: the rows are kept as the adapter reads them
        about += [repr(outputs), repr(model.class_names)]
        ask, decode = (lambda x: model(x).softmax(-1)), log_probabilities
    else:
        ask = lambda x: model.scores(x).reshape(len(x), -1)  # noqa: E731
        decode = partial(outputs.decode, classes=model.classes)
    return FromAnswers(
        lambda x: (ask(x), None), name=repr((about, outputs)), domain=model.domain, classes=model.classes,
        file=answers_file(raw.place, repr(about)), meter=raw.meter, class_names=model.class_names,
        remarks=lambda: raw.remarks, decode=decode,
    )  # fmt: skip


def identity(domain: Domain) -> str:
    """Return what the marks of a domain's inputs depend on."""
    if isinstance(domain, Columns):
        return repr([(column.name, column.categories) for column in domain.columns])
    return f"{type(domain).__name__} {domain.shape}"
