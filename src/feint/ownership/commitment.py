"""Commitments to marks: digests in a chain, dated by the owner's clock or by a time-stamping authority."""

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from feint.errors import BadInput, DamagedFile, MissingData, NotWritten
from feint.ownership.mark import Mark
from feint.recipes.store import atomic_write, digest

SALT = "salt"
TABLE = """create table if not exists commitments (
    number integer primary key, digest text not null, time real not null, entry text not null,
    authority text not null, token blob not null)"""


@dataclass(frozen=True)
class Commitment:
    """Entry of a ledger of commitments.

    Attributes:
        digest: SHA-256 of salt and marks, in hexadecimal digits.
        time: Time of the entry, in seconds since the epoch: the authority's where there is one, or the owner's.
        entry: SHA-256 of the entry before, the digest and the time: an entry cannot be changed without all later ones.
        authority: Address of the time-stamping authority; "" for none.
        token: Its token of RFC 3161; empty for none.
    """

    digest: str
    time: float
    entry: str
    authority: str = ""
    token: bytes = b""


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
    """
    file = path / SALT
    if not file.is_file():
        raise MissingData(f"{path} without a salt", "marks as they were committed", "commit to them: feint commit")
    return file.read_text().strip()


def draw_salt(path: Path) -> str:
    """Return the salt of the marks in a directory, drawn and stored at the first call.

    Without it the digest of marks that somebody guesses could be compared.
    """
    file = path / SALT
    if not file.exists():
        with atomic_write(file) as partial:
            partial.touch(mode=0o600)
            partial.write_text(secrets.token_hex(32))
    return salt_of(path)


def commit(
    ledger: Path, committed: str, *, authority: str = "", token: bytes = b"", at: float | None = None
) -> Commitment:
    """Append a digest to a ledger of commitments. One that it has already is returned as it is.

    A file that is no ledger of commitments, or of which an entry was changed, raises `DamagedFile`.

    Args:
        ledger: SQLite file, made where there is none.
        committed: The digest.
        authority: Address of the time-stamping authority.
        token: Its token.
        at: Time that the token states; by default now.

    Returns:
        The entry.

    Raises:
        NotWritten: The file cannot be written.
    """
    entries = read_ledger(ledger) if ledger.exists() else []
    known = [entry for entry in entries if entry.digest == committed and entry.authority == authority]
    if known:
        return known[0]
    moment = time.time() if at is None else at
    before = entries[-1].entry if entries else ""
    entry = Commitment(committed, moment, _chained(before, committed, moment, token), authority, token)
    try:
        ledger.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(ledger)) as connection, connection:
            connection.execute(TABLE)
            connection.execute(
                "insert into commitments values (?, ?, ?, ?, ?, ?)",
                (len(entries) + 1, entry.digest, entry.time, entry.entry, entry.authority, entry.token),
            )
    except (OSError, sqlite3.Error) as error:
        raise NotWritten(f"{ledger}: {error}", "a file that can be written", "choose another --ledger") from error
    return entry


def read_ledger(ledger: Path) -> list[Commitment]:
    """Read a ledger.

    Returns:
        All entries, in their order.

    Raises:
        MissingData: There is no such file.
        DamagedFile: It is no ledger of commitments, or an entry is not the one that was written.
    """
    if not ledger.is_file():
        raise MissingData(f"{ledger}, which does not exist", "a ledger of commitments", "write one: feint commit")
    with _reading(ledger) as connection:
        rows = connection.execute("select * from commitments order by number").fetchall()
    before, entries = "", []
    for number, committed, moment, entry, authority, token in rows:
        if number != len(entries) + 1 or entry != _chained(before, committed, moment, token):
            raise DamagedFile(
                f"{ledger}, whose entry {number} was changed", "entries as they were written", "restore it"
            )
        entries.append(Commitment(committed, moment, entry, authority, token))
        before = entry
    return entries


def find(ledger: Path, committed: str) -> Commitment:
    """Return the earliest entry of a digest. Errors as in `read_ledger`.

    Raises:
        BadInput: The ledger has no such entry: these are other marks, or another salt.
    """
    entries = [entry for entry in read_ledger(ledger) if entry.digest == committed]
    if not entries:
        raise BadInput(
            f"marks that {ledger} does not have", "marks as they were committed", "name the right ledger or marks"
        )
    return min(entries, key=lambda entry: entry.time)


@contextmanager
def _reading(ledger: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise DamagedFile(f"{ledger} ({error})", "a ledger of commitments", "name another") from error


def _chained(before: str, committed: str, moment: float, token: bytes) -> str:
    return hashlib.sha256(f"{before}\n{committed}\n{moment!r}\n{token.hex()}".encode()).hexdigest()
