"""File of a SQLite ledger: its tables, creation, connections and checkpoints."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from feint.errors import DamagedFile, MissingData, NotWritten

KIND, FORMAT = 0x6665696E, 3  # "fein" in the header: a file of keys is SQLite too
ACCOUNTS = """
CREATE TABLE accounts (id INTEGER PRIMARY KEY, model TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
                       version INTEGER NOT NULL, evidence REAL, totals BLOB NOT NULL, writer TEXT NOT NULL DEFAULT '',
                       UNIQUE (model, kind, name)) STRICT;
"""
OTHERS = """
CREATE TABLE tokens (account INTEGER NOT NULL, token TEXT NOT NULL, expires REAL NOT NULL,
                     PRIMARY KEY (account, token)) STRICT, WITHOUT ROWID;
CREATE TABLE rows (id INTEGER PRIMARY KEY, account INTEGER NOT NULL, name TEXT NOT NULL, width INTEGER NOT NULL,
                   numbers BLOB NOT NULL) STRICT;
CREATE INDEX named ON rows (account, name);
"""
LEDGER = """
CREATE TABLE ledger (id TEXT NOT NULL, commits INTEGER NOT NULL, erased INTEGER NOT NULL) STRICT;
INSERT INTO ledger VALUES (lower(hex(randomblob(8))), 0, 0)
"""
INDEXES = """
DROP INDEX IF EXISTS expiring;
CREATE INDEX IF NOT EXISTS expiry ON tokens (account, expires)
"""  # a file of this format may be older than the second
MIGRATIONS = {  # to the present format, by the earlier one
    1: f"""
ALTER TABLE accounts RENAME TO earlier; {ACCOUNTS}
INSERT INTO accounts (id, model, kind, name, version, evidence, totals)
SELECT id, model, iif(shared, 'shared', 'client'), client, version, evidence, totals FROM earlier;
DROP TABLE earlier; {LEDGER}
""",  # it knew no groups
    2: f"ALTER TABLE accounts ADD COLUMN writer TEXT NOT NULL DEFAULT ''; {LEDGER}",
}
LONG = 4096  # pages of the log from which it is begun anew, although commits must wait for that: 16 MiB
PATIENCE = 5.0  # seconds for which an opening waits for others that open the same file
# Seconds for which a log that is begun anew waits for whoever reads the file, as a backup or a shell does. Nobody can
# commit meanwhile: with 5 seconds a long log and one open reader kept all commits out, and the ledger counted as lost.
BRIEF = 0.05


def create(path: Path) -> None:
    """Create the file where there is none, readable by its owner alone, and try it; bring an earlier format up to date.

    Raises:
        MissingData: If its folder does not exist.
        NotWritten: If it cannot be written.
        DamagedFile: If it is no ledger of this format.
    """
    if not path.parent.is_dir():
        raise MissingData(f"the ledger {path}, whose folder does not exist", "a folder", f"mkdir -p {path.parent}")
    try:
        path.touch(mode=0o600)
        with closing(connect(path, wait=PATIENCE)) as file:
            file.execute("BEGIN IMMEDIATE")  # one of those who open it at once makes it
            empty = not file.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
            kind, form = _header(file)
            if empty or (kind == KIND and form in MIGRATIONS):
                for statement in (ACCOUNTS + OTHERS + LEDGER if empty else MIGRATIONS[form]).split(";"):
                    file.execute(statement)
                file.execute(f"PRAGMA application_id = {KIND}")
                file.execute(f"PRAGMA user_version = {FORMAT}")
            if _header(file) != [KIND, FORMAT]:
                raise DamagedFile(f"{path}", f"a ledger of format {FORMAT}", "name another file, or move this away")
            for statement in INDEXES.split(";"):
                file.execute(statement)
            file.execute("COMMIT")
            _logged(file)
    except sqlite3.OperationalError as error:
        raise NotWritten(
            f"the ledger {path} ({error})",
            "a file that can be written",
            "give the gateway the right to write its folder",
        ) from error
    except sqlite3.DatabaseError as error:
        raise DamagedFile(f"{path} ({error})", "a ledger", "move it away, or bring back a copy") from error
    except OSError as error:
        raise NotWritten(
            f"the ledger {path} ({error.strerror})", "a file that can be written", "check its folder and disk"
        ) from error


def open_existing(path: Path) -> sqlite3.Connection:
    """Return a connection to a file that `create` made, which waits for no lock. Raises `sqlite3.Error`."""
    # `checkpoint` moves the log, in a thread: it waits for the disk
    return _of_this_format(connect(path), "synchronous = NORMAL", "wal_autocheckpoint = 0")


def open_to_read(path: Path) -> sqlite3.Connection:
    """Return a connection that only reads, for which an unused file needs no folder that can be written.

    `sqlite3.DatabaseError` is raised for a file that cannot be read, or is no ledger of this format.
    """
    unused = log_identity(f"{path}-wal") is None  # SQLite's log is there as long as anybody writes
    return _of_this_format(connect(path, wait=PATIENCE, mode="ro&immutable=1" if unused else "ro"))


def connect(path: Path, *, wait: float = 0.0, mode: str = "rw") -> sqlite3.Connection:
    """Return a connection to an existing file, which waits `wait` seconds for locks; transactions are begun by hand."""
    where = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(where, uri=True, timeout=wait, isolation_level=None, check_same_thread=False)


def checkpoint(path: Path) -> None:
    """Checkpoint the write-ahead log while others go on.

    A long log is restarted, or it would grow as long as there is a writer.

    Raises:
        sqlite3.OperationalError: Another process is using the file all the time, or it cannot be written.
    """
    with closing(connect(path, wait=BRIEF)) as file:
        _, pages, _ = file.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if pages > LONG and file.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0]:
            raise sqlite3.OperationalError("another process is using the file")


def empty_log(path: Path) -> None:
    """Bring the write-ahead log into the file and truncate it, so that it holds nothing of what was there before.

    Raises:
        sqlite3.OperationalError: Another process is reading the file all the time, or it cannot be written.
    """
    deadline = time.monotonic() + PATIENCE
    with closing(connect(path, wait=BRIEF)) as file:
        while file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            if time.monotonic() > deadline:
                raise sqlite3.OperationalError("another process is using the file")
            time.sleep(BRIEF)


def identity(path: Path | str) -> tuple[int, int]:
    """Return device and inode of the file, which may have been replaced. Raises `OSError`."""
    status = os.stat(path)  # noqa: PTH116
    return status.st_dev, status.st_ino


def log_identity(path: str) -> tuple[int, int] | None:
    """Return device and inode of the write-ahead log at `path`, None where there is none."""
    try:
        return identity(path)
    except FileNotFoundError:
        return None


def _of_this_format(file: sqlite3.Connection, *pragmas: str) -> sqlite3.Connection:
    """Set pragmas of a connection and return it; one to anything but a ledger of this format is closed."""
    try:
        if _header(file) != [KIND, FORMAT]:
            raise sqlite3.DatabaseError("another format")
        for pragma in pragmas:
            file.execute(f"PRAGMA {pragma}")
    except BaseException:
        file.close()
        raise
    return file


def _header(file: sqlite3.Connection) -> list[int]:
    return [file.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in ("application_id", "user_version")]


def _logged(file: sqlite3.Connection) -> None:
    """Switch to the write-ahead log; SQLite itself does not wait for locks here."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            file.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
