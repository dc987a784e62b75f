"""Every error that Feint raises on purpose.

    FeintError
    ├── BadInput          an argument of the wrong type, shape or range
    │   ├── UnknownName   no method, network or data set of that name; the nearest one is named
    │   ├── BadRecipe     a recipe with an unknown field or a value outside its range
    │   ├── Undecided     a model whose file does not say how it is used
    │   ├── Diverged      a training whose weights are no longer finite
    │   ├── MixedSizes    images of several sizes where one is expected
    │   ├── TooLarge      a request with more bytes or more inputs than a gateway accepts
    │   ├── Compressed    a request whose size is unknown, since its body is compressed
    │   └── TooSlow       a request that did not arrive in time
    ├── MissingData       a data set, file or optional package is not there
    ├── NotFitted         a defense that learns is used before it was fitted
    ├── NotWritten        a file or directory could not be written: a full disk, no permission
    ├── NotExportable     a member of a recipe, or a model, cannot go into an ONNX graph
    ├── Unreachable       a server does not answer, or fails
    │   ├── TimedOut      … within its time limit
    │   └── StoreLost     … and it is the store that holds the ledger
    │       └── StoreRolledBack  … which answers, and has lost data
    ├── CallLimit         the owner's ceiling on calls to a paid model is reached
    ├── Failed            a step of the line failed: nothing was answered
    ├── DamagedFile       a stored recipe or its tensors are broken, foreign or incomplete
    └── Refused           the service will not answer this client
        ├── NoKey         … without a known API key
        │   └── NoRole    … with a known key that lacks the role
        ├── OverBudget    … because no queries are left
        ├── RateLimited   … before `retry_after` seconds have passed
        ├── ProofRequired … without a stamp that solves its `puzzle`
        └── Suspected     … because of the evidence against the client

Each message is one line: what was got, what was expected, and the remedy.
"""

import copy
import difflib
import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any, Self

MOST_LISTED = 50  # names in one message; of more, the nearest are listed


def one_line(error: object, most: int | None = None) -> str:
    """Return the text of an error on one line, cut after `most` characters."""
    return " ".join(str(error).split())[:most]


def require_kind(argument: object, kind: type, what: str, remedy: str) -> None:
    """Raise `BadInput` for an argument of another type, which would fail far from where it was given."""
    if not isinstance(argument, kind):
        raise BadInput(f"{argument!r:.60} as {what}", f"a {kind.__name__}", remedy)


class FeintError(Exception):
    """Root of all errors: what was `got`, what was `expected`, and a `remedy`."""

    def __init__(self, got: str, expected: str, remedy: str) -> None:
        super().__init__(got, expected, remedy)  # all three, so that the error survives a pickle

    def __str__(self) -> str:
        got, expected, remedy = self.args
        return f"got {got}; expected {expected}; {remedy}"

    def with_context(self, context: str) -> Self:
        """Return this error with `context` before its `got`, as in "--defense NAME: …"."""
        got, expected, remedy = self.args
        error = copy.copy(self)  # with further attributes, like `retry_after`
        error.args = (f"{context}: {got}", expected, remedy)
        return error


class BadInput(FeintError, ValueError):
    """An argument has the wrong type, shape or range."""


class UnknownName(BadInput):
    """No method, network or data set has that name."""

    @classmethod
    def among(cls, kind: str, name: str, known: Iterable[str]) -> "UnknownName":
        """Return the error for `name`, which is not among the `known` names of a `kind`; its remedy is the nearest."""
        names = sorted(known)
        by_lower = {entry.lower(): entry for entry in names}
        near = [by_lower[entry] for entry in difflib.get_close_matches(name.lower(), by_lower, n=5, cutoff=0.5)]
        listed = names if len(names) <= MOST_LISTED else [*(near or names[:5]), f"… ({len(names)} in all)"]
        return cls(
            f"the {kind} {name!r}",
            f"one of {', '.join(listed)}",
            f"did you mean {near[0]!r}?" if near else "choose one of these",
        )


class BadRecipe(BadInput):
    """A recipe has an unknown field, or a value outside its range."""


def in_range(recipe: object, field: str, expected: str, least: float, most: float = math.inf) -> None:
    """Check one number of a recipe when it is made.

    Raises:
        BadRecipe: Unless the value of `field` is finite and `least` ≤ value ≤ `most`.
    """
    value = getattr(recipe, field)
    if not is_finite(value) or not least <= value <= most:
        raise BadRecipe(f"{field}={short(value)}", expected, "change it")


def is_finite(value: Any) -> bool:
    """Return whether a value is a number that a float can hold: no boolean, not infinite, and not NaN."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    size: Any = abs(value)
    return size <= sys.float_info.max


def short(value: object) -> str:
    """Return a value as text, cut after 80 characters; of a whole number beyond all floats the size alone."""
    if isinstance(value, int) and value.bit_length() > sys.float_info.max_exp:  # Python refuses to write thousands
        return f"a number of {value.bit_length()} bits"
    return f"{value!r:.80}"


class Diverged(BadInput):
    """The weights of a training are not finite: its learning rate is too large for the network."""


class Undecided(BadInput):
    """A model's file does not say how the model is used."""


class MixedSizes(BadInput):
    """A data set has images of several sizes, and no size was given."""


class TooLarge(BadInput):
    """A request has more bytes, or more inputs, than the gateway accepts at once."""


class Compressed(BadInput):
    """A request's body is compressed, so that its size is unknown."""


class TooSlow(BadInput):
    """A request did not arrive within the gateway's time limit."""


class MissingData(FeintError):
    """A data set, a file or an optional package is not there."""


class NotFitted(FeintError):
    """A defense that learns is used before it was fitted."""


class NotWritten(FeintError):
    """A file or directory could not be written."""


class Unreachable(FeintError):
    """A server does not answer, or fails."""


class TimedOut(Unreachable):
    """A server, or a model, does not answer within its time limit."""


class StoreLost(Unreachable):
    """The store that holds the ledger does not answer, or its disk is full."""


class StoreRolledBack(StoreLost):
    """The ledger has lost data: it was emptied, evicted, or restored from a copy while a gateway ran."""


class CallLimit(FeintError):
    """The ceiling on calls to a paid model is reached."""


class Failed(FeintError):
    """A step of the line failed: nothing was answered."""


class NotExportable(FeintError):
    """A member of a recipe, or a model, cannot go into an ONNX graph."""


class DamagedFile(FeintError):
    """A stored recipe or its tensors are broken, foreign or incomplete."""


class Refused(FeintError):
    """The service will not answer this client."""


class NoKey(Refused):
    """The request carries no API key that the service knows."""


class NoRole(NoKey):
    """The API key is known, and lacks the role, or is not for the model, that the request takes."""


class OverBudget(Refused):
    """The client has no queries left for this request, for `retry_after` seconds (inf: for good)."""

    def __init__(self, got: str, expected: str, remedy: str, retry_after: float = math.inf) -> None:
        super().__init__(got, expected, remedy)
        self.retry_after = retry_after


class RateLimited(Refused):
    """The client asks too fast, or too much at once: try again after `retry_after` seconds (inf: never)."""

    def __init__(self, got: str, expected: str, remedy: str, retry_after: float = math.inf) -> None:
        super().__init__(got, expected, remedy)
        self.retry_after = retry_after  # beside `args`, so that a pickle carries it in the state


@dataclass(frozen=True)
class Puzzle:
    """Proof of work that a client has to solve.

    Attributes:
        bits: Leading zero bits of the stamp's hash: 2^bits hashes on average.
        client: Digest of the client's name.
        query: Digest of the query.
        expires: Second since the epoch from which the puzzle is void.
    """

    bits: int
    client: str
    query: str
    expires: int


class ProofRequired(Refused):
    """The query carries no valid proof of work: `feint.hashcash.solve(puzzle)` makes the stamp."""

    def __init__(self, got: str, expected: str, remedy: str, puzzle: Puzzle | None = None) -> None:
        super().__init__(got, expected, remedy)
        self.puzzle = puzzle


class Suspected(Refused):
    """The evidence against the client is too strong."""
