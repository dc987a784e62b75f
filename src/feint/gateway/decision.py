"""What became of one request: the only thing that metrics, logs, traces and the page are told."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Decision:
    """One request's way along the line; it holds neither inputs nor probabilities.

    `outcome` is answered, refused or failed; `reason` the name of the error's class, or "". `client` is "" where nobody
    was let in: for want of a key, say. `seconds` are those of each stage (access, model, outputs, ledger). `rung` is
    where the client stands, `applied` the rung whose answer it got (0 in shadow mode). `moved` is the mean L1 distance
    between undefended and defended rows, None where it is not known. `trace` is the
    id of its trace, "" for none.
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
    asked: float = 0.0  # queries that this client has been answered so far, this one among them
    moved: float | None = None
    conflicts: int = 0
    trace: str = ""
    seconds: dict[str, float] = field(default_factory=dict)


Record = Callable[[Decision], None]
