"""Commitments to marks: digests in a chain, dated by the owner's clock or by a time-stamping authority."""

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from feint.errors import BadInput, DamagedFile, MissingData, NotWritten
from feint.ownership.mark import Mark
from feint.recipes.store import atomic_write, digest

SALT = "salt"
LAST = 253402300800.0  # the year 10,000, in seconds since the epoch
COLUMNS = "number, digest, time, entry, authority, token"
TABLE = """create table commitments (
    number integer primary key, digest text not null, time real not null, entry text not null,
    authority text not null, token blob not null)"""


@dataclass(frozen=True)
class Commitment:
    """Entry of a ledger of commitments.

    Attributes:
        digest: SHA-256 of salt and marks, in hexadecimal digits.
        time: Time of the entry, in seconds since the epoch: the authority's where there is one, or the owner's.
        entry: SHA-256 of the entry before and all else of this one: an entry cannot be changed without all later ones.
        authority: Address of the time-stamping authority; "" for none.
        token: Its token of RFC 3161; empty for none.
        is_verified: Whether the authority's signature was checked (`feint.ownership.time_stamp.verify`).
    """

    digest: str
    time: float
    entry: str
    authority: str = ""
    token: bytes = b""
    is_verified: bool = False


def salted_digest(salt: str, marks: Mapping[str, Mark]) -> str:
    """Return the SHA-256 of a salt and of marks: of every input, label, right class and account."""
    lines = [
        " ".join([name, repr(mark.domain), f"{mark.classes}", digest(mark.tensors), *map(repr, mark.accounts)])
        for name, mark in sorted(marks.items())
    ]
    return hashlib.sha256("\n".join([salt, *lines]).encode()).hexdigest()


def salt_of(path: Path) -> str:
    """Return the salt of committed marks in a directory.

    Raises:
        MissingData: The directory has none.
        DamagedFile: It is no text.
    """
    file = path / SALT
    if not file.is_file():
        raise MissingData(f"{path} without a salt", "marks as they were committed", "commit to them: feint commit")
    try:
        return file.read_text("ascii").strip()
    except UnicodeDecodeError as error:
        raise DamagedFile(f"{file} ({error})", "the salt as feint commit wrote it", "restore it") from error


@contextmanager
def drawn_salt(path: Path) -> Iterator[str]:
    """Yield the salt of the marks in a directory, drawn and stored where there is none.

    Without it the digest of marks that somebody guesses could be compared. It is stored before the ledger has its
    digest, which nobody could open otherwise; one that was drawn now is removed again when nothing was committed.
    """
    file = path / SALT
    is_new = not file.exists()
    if is_new:
        with atomic_write(file) as partial:
            partial.touch(mode=0o600)
            partial.write_text(secrets.token_hex(32))
    try:
        yield salt_of(path)
    except BaseException:
        if is_new:
            file.unlink()
        raise


def commit(
    ledger: Path, committed: str, *, authority: str = "", token: bytes = b"", at: float | None = None
) -> Commitment:
    """Append a digest to a ledger of commitments. One that it has already is returned as it is.

    A file that is no ledger of commitments, or of which an entry was changed, raises `DamagedFile`; one that cannot be
    written `NotWritten`.

    Args:
        ledger: SQLite file, made where there is none.
        committed: The digest.
        authority: Address of the time-stamping authority.
        token: Its token.
        at: Time that the token states; by default now.

    Returns:
        The entry.

    Raises:
        BadInput: The clock is behind an entry of the ledger.
    """
    with _writing(ledger) as connection:
        entries = _entries(ledger, connection)
        known = [entry for entry in entries if entry.digest == committed and entry.authority == authority]
        if known:
            return known[0]
        moment = time.time() if at is None else at
        before = entries[-1].entry if entries else ""
        chained = _chained(before, committed, moment, token, authority)
        entry = Commitment(committed, moment, chained, authority, token)
        if not _in_order([*entries, entry]):
            raise BadInput(
                f"a clock that is behind the last entry of {ledger}", "a later time",
                "set the clock, or let an authority date it: --tsa URL",
            )  # fmt: skip
        row = (len(entries) + 1, entry.digest, entry.time, entry.entry, entry.authority, entry.token)
        connection.execute(f"insert into commitments ({COLUMNS}) values (?, ?, ?, ?, ?, ?)", row)
    return entry


def read_ledger(ledger: Path) -> list[Commitment]:
    """Read a ledger. One that is none, or of which an entry was changed, raises `DamagedFile`.

    Returns:
        All entries, in their order.

    Raises:
        MissingData: There is no such file.
    """
    if not ledger.is_file():
        raise MissingData(f"{ledger}, which does not exist", "a ledger of commitments", "write one: feint commit")
    with closing(sqlite3.connect(f"{ledger.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        return _entries(ledger, connection)


def _entries(ledger: Path, connection: sqlite3.Connection) -> list[Commitment]:
    """Return all entries of a ledger.

    Raises:
        DamagedFile: It is no ledger of commitments, or an entry is not the one that was written.
    """
    try:
        rows = connection.execute(f"select {COLUMNS} from commitments order by number").fetchall()
    except sqlite3.Error as error:
        raise DamagedFile(f"{ledger} ({error})", "a ledger of commitments", "name another file") from error
    before, entries = "", list[Commitment]()
    for number, committed, moment, entry, authority, token in rows:
        entries.append(Commitment(committed, moment, entry, authority, token))
        if (
            number != len(entries)
            or not (isinstance(moment, float) and 0 <= moment < LAST and isinstance(token, bytes))
            or entry != _chained(before, committed, moment, token, authority)
            or not _in_order(entries)
        ):
            raise DamagedFile(
                f"{ledger}, whose entry {number} was changed", "entries as they were written", "restore it"
            )
        before = entry
    return entries


def find(ledger: Path, committed: str, *, stamped: bool = False) -> Commitment:
    """Return the earliest entry of a digest. Errors as in `read_ledger`.

    Args:
        ledger: The ledger.
        committed: The digest.
        stamped: Whether an authority must have dated it, where the owner's own clock may have done so earlier.

    Returns:
        The entry.

    Raises:
        BadInput: The ledger has no such entry: these are other marks, or another salt.
        MissingData: None has a time stamp.
    """
    entries = [entry for entry in read_ledger(ledger) if entry.digest == committed]
    if not entries:
        raise BadInput(
            f"marks that {ledger} does not have", "marks as they were committed", "name the right ledger or marks"
        )
    if stamped and not (entries := [entry for entry in entries if entry.token]):
        raise MissingData(
            "a commitment without a time stamp", "a time stamp of the authority of --tsa-root", "feint commit --tsa URL"
        )
    return min(entries, key=lambda entry: entry.time)


@contextmanager
def _writing(ledger: Path) -> Iterator[sqlite3.Connection]:
    """Yield a ledger that nobody else writes to meanwhile, with its table; what was written stays without an error."""
    try:
        ledger.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
            connection.execute("begin immediate")
            if not connection.execute("select * from sqlite_master").fetchall():
                connection.execute(TABLE)
            yield connection
            connection.execute("commit")
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            raise DamagedFile(f"{ledger} ({error})", "a ledger of commitments", "name another file") from error
        raise NotWritten(f"{ledger}: {error}", "a file that can be written", "choose another --ledger") from error
    except OSError as error:
        raise NotWritten(f"{ledger}: {error}", "a file that can be written", "choose another --ledger") from error


def _in_order(entries: Sequence[Commitment]) -> bool:
    """Return whether the last entry, if the owner's clock dated it, is no earlier than the last one that it did."""
    *before, last = entries
    earlier = next((entry.time for entry in reversed(before) if not entry.token), last.time)
    return bool(last.token) or earlier <= last.time


def _chained(before: str, committed: str, moment: float, token: bytes, authority: str) -> str:
    parts = [before, committed, repr(moment), token.hex(), *([authority] if authority else [])]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
