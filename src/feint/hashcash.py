"""Proofs of work after HashCash, with SHA-256: cheap to check, and as expensive to make as the service likes.

A stamp is a line `1:bits:expires:client:query:salt:counter` whose SHA-256 begins with `bits` zero bits. It names the
client and the query that it was made for, and the time in seconds at which it expires. This module needs neither torch
nor the model, so that a client can use it.
"""

import hashlib
import re
import secrets
from itertools import count

from feint.errors import BadInput, Puzzle

FORM = re.compile("1:([0-9]{1,3}):([0-9]{1,12}):([0-9a-f]{32}):([0-9a-f]{32}):[0-9A-Za-z]{1,64}:[0-9a-f]{1,32}")
SKEW = 60  # seconds by which a stamp may seem to expire too late, since two clocks differ


def digest(*parts: bytes) -> str:
    """Return 32 hexadecimal digits of SHA-256 over these parts and their lengths."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()[:32]


def zero_bits(stamp: str) -> int:
    """Return the number of zero bits with which the stamp's hash begins."""
    return 256 - int.from_bytes(hashlib.sha256(stamp.encode()).digest(), "big").bit_length()


def solve(puzzle: Puzzle, *, salt: str = "") -> str:
    """Find a stamp for the puzzle by trying counters.

    Args:
        puzzle: The puzzle that a service returned.
        salt: Salt of the stamp. Without one a new salt is drawn, so that no two stamps are equal.

    Returns:
        The stamp, after 2^bits tries on average.

    Raises:
        BadInput: if the puzzle asks for fewer than 0 or more than 256 bits.
    """
    if not 0 <= puzzle.bits <= 256:
        raise BadInput(f"a puzzle of {puzzle.bits} bits", "0 to 256", "ask the service for another")
    prefix = f"1:{puzzle.bits}:{puzzle.expires}:{puzzle.client}:{puzzle.query}:{salt or secrets.token_hex(8)}:"
    shared, limit = hashlib.sha256(prefix.encode()), (2 ** (256 - puzzle.bits) - 1).to_bytes(32, "big")

    def solves(counter: int) -> bool:
        tried = shared.copy()  # the common prefix is hashed once
        tried.update(b"%x" % counter)
        return tried.digest() <= limit

    return f"{prefix}{next(filter(solves, count())):x}"


def expiry(stamp: str) -> int:
    """Return the time in seconds at which a stamp without a flaw expires."""
    return int(stamp.split(":")[2])


def flaw(stamp: str, puzzle: Puzzle, *, now: float) -> str:
    """Return the reason why the stamp does not solve the puzzle, or "" where it does.

    Whether the stamp was used before is not checked here.
    """
    if not stamp:
        return "no stamp"
    form = FORM.fullmatch(stamp)
    if form is None:
        return "a malformed stamp"
    bits, expires, client, query = int(form[1]), int(form[2]), form[3], form[4]
    if client != puzzle.client:
        return "a stamp of another client"
    if query != puzzle.query:
        return "a stamp for another query"
    if expires <= now:
        return f"a stale stamp, void for {now - expires:.0f} seconds"
    if expires > puzzle.expires + SKEW:
        return "a stamp that is valid for too long"
    if bits < puzzle.bits:
        return f"a stamp of {bits} bits, which are too few"
    return "" if zero_bits(stamp) >= bits else f"a forged stamp: its hash does not begin with {bits} zero bits"
