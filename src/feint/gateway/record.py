"""Record of one request: the source of metrics, logs, traces, the audit log and the dashboard."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from feint.gateway.request_context import RequestContext, current

EVIDENCE_STEP = 0.25  # one query's step tells the score of that query, which no answer may


@dataclass(slots=True)
class RequestRecord:
    """Outcome, evidence and timings of one request. Inputs and probabilities are not part of it.

    Attributes:
        model: The model's name.
        client: The client's name; "" where the request was not authenticated.
        queries: Number of inputs of the request.
        time: Time of arrival, in seconds since the epoch.
        outcome: answered; refused, where the request is at fault; cancelled, where the client went away or its own
            deadline was over; or failed.
        reason: The name of the error's class, or ""; beside an answer, why it was given without the ledger.
        rung: The rung that the client stands on.
        applied: The highest rung whose answer the client got: 0 in shadow mode.
        evidence: The evidence against the client.
        campaign: Whether there is a campaign alarm, None where it is not known.
        moved: The mean L1 distance between undefended and defended rows, None where it is not known.
        conflicts: Number of times that the rules ran again because the account had changed.
        seconds: The seconds of each stage: access, model, outputs, ledger. Requests that are decided together have them
            in common.
        context: Who sent it, on which path, in which trace.
    """

    model: str
    client: str
    queries: int
    time: float
    outcome: str = ""
    reason: str = ""
    rung: int = 0
    applied: int = 0
    evidence: float = 0.0
    campaign: bool | None = None
    moved: float | None = None
    conflicts: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    context: RequestContext = field(default_factory=current)

    @property
    def shown_evidence(self) -> float:
        """The evidence as observers show it."""
        return shown(self.evidence)


def shown(evidence: float) -> float:
    """Return evidence rounded down to quarters."""
    return evidence // EVIDENCE_STEP * EVIDENCE_STEP


Observer = Callable[[RequestRecord], None]


class Stopwatch:
    """Seconds of each stage of requests that are decided together, until a block ends: each is answered when all are.

    Args:
        records: Records of the requests, which have their seconds in common from now on.
    """

    def __init__(self, records: Sequence[RequestRecord]) -> None:
        before = records[0].seconds if len(records) == 1 else {}  # those of attempts before
        self._seconds = defaultdict(float, before)
        self._stage, self._since = "", 0.0
        for record in records:
            record.seconds = self._seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.begin()

    def begin(self, stage: str = "") -> None:
        """Begin a stage, and end the one before; "" begins none."""
        now = time.perf_counter()
        if self._stage:
            self._seconds[self._stage] += now - self._since
        self._stage, self._since = stage, now
