"""Changes and accounts as the scripts of the Redis store take and return them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from feint.gateway.changes import AccountName, ChangeSet, Snapshot

pack, unpack = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(dict[str, float]).decode


def part(name: AccountName, changes: ChangeSet) -> dict[str, Any]:
    """Return changes as the script takes them; totals and rows themselves are further arguments."""
    return {
        "version": changes.version,
        "kind": name.kind,
        "name": name.name,
        "evidence": repr(changes.totals.get("evidence", 0.0)),
        "now": changes.now,
        "tokens": list(changes.tokens),
        "expires": list(changes.tokens.values()),
        "rows": [(name, dropped, len(new)) for name, (dropped, new) in changes.rows.items()],
        "added": changes.added,
        "after": changes.after,
        "writer": changes.writer,
    }


def rows(changes: ChangeSet) -> Iterable[bytes]:
    """Return each row to append, in order."""
    return (row.tobytes() for _, new in changes.rows.values() for row in np.asarray(new, "<f4"))


def _pairs(flat: Sequence[Any]) -> dict[str, Any]:
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def added(reply: Sequence[Any]) -> Snapshot:
    """Return version, totals and writer of an account."""
    version, totals, writer = reply
    return Snapshot(int(version or 0), unpack(totals) if totals else {}, writer=(writer or b"").decode())


def whole(reply: Sequence[Any]) -> Snapshot:
    """Return an account with its rows, and those of the tokens that were asked about."""
    account, named, used = added(reply[0]), _pairs(reply[1]), _pairs(reply[2])
    arrays = {name: np.stack([np.frombuffer(row, "<f4") for row in many]) for name, many in named.items()}
    return replace(account, rows=arrays, used={token: float(until) for token, until in used.items()})
