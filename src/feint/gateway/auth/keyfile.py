"""File of API keys: their hashes in SQLite, read by every replica.

A key is `feint_ID_SECRET`: twelve hexadecimal digits that identify it in lists and logs, and 256 random bits.
Slow hashes protect secrets that people choose. 2^256 secrets cannot be tried, so one BLAKE2b is as safe and takes 1 µs.
"""

import hashlib
import os
import re
import secrets
import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from feint.errors import BadInput, DamagedFile, MissingData, NotWritten, UnknownName
from feint.gateway.app import NAME
from feint.gateway.redaction import KEY_ID

ROLES = "infer", "metrics", "admin"
FORM = re.compile(KEY_ID + r"([A-Za-z0-9_-]{43})")
LAYOUT = 3
ANONYMOUS = "anonymous"  # the client that all are who have no key
TABLE = """
CREATE TABLE keys (id TEXT PRIMARY KEY, hash BLOB NOT NULL, client TEXT NOT NULL, tenant TEXT NOT NULL,
                   roles TEXT NOT NULL, created REAL NOT NULL, expires REAL, revoked REAL,
                   linked TEXT NOT NULL DEFAULT '', models TEXT NOT NULL DEFAULT '') STRICT
"""
COLUMNS = "linked", "models"  # that layouts 1 and 2 lack, which are still read


@dataclass(frozen=True, slots=True)
class Key:
    """An API key without its secret.

    Times are in seconds since the epoch, None where there is none. `group` is that of the client, "" for none. The key
    is good for `models`, for all where there are none.
    """

    id: str
    hash: bytes
    client: str
    tenant: str
    roles: frozenset[str]
    created: float
    expires: float | None = None
    revoked: float | None = None
    group: str = ""
    models: frozenset[str] = frozenset()

    def state(self, now: float) -> str:
        """Return "active", "expired" or "revoked"."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "active"

    @classmethod
    def of(cls, row: tuple) -> Self:
        """Return the key in a row of the table."""
        number, digest, client, tenant, roles, created, expires, revoked, *later = row
        group, models = (*later, "", "")[:2]
        times = created, expires, revoked
        return cls(number, digest, client, tenant, frozenset(roles.split()), *times, group, frozenset(models.split()))


class Keys:
    """File of keys, opened for administration. A new one is readable by its owner alone, an old one is migrated."""

    def __init__(self, path: Path | str, *, new: bool = False) -> None:
        self.path = Path(path)
        if new and not self.path.exists():
            _make(self.path)
        with closing(opened(self.path, "rw")) as file:
            layout = _layout(file)
        if layout < LAYOUT:
            for column in COLUMNS[layout - 1 :]:
                self._do(f"ALTER TABLE keys ADD COLUMN {column} TEXT NOT NULL DEFAULT ''", ())
            self._do(f"PRAGMA user_version = {LAYOUT}", ())

    def add(
        self,
        client: str,
        *,
        tenant: str = "",
        group: str | None = None,
        roles: Iterable[str] = ("infer",),
        models: Iterable[str] = (),
        expires: float | None = None,
    ) -> tuple[str, Key]:
        """Make a key. `UnknownName` is raised for an unknown role.

        Args:
            client: Owner of the key: the name in the ledger.
            tenant: Organisation of the client; a client belongs to one tenant.
            group: Group of linked clients to which the client belongs from now on, with all of its keys; "" for none,
                None for that of its keys so far.
            roles: Some of `ROLES`.
            models: Names of the models that the key is good for, none for all.
            expires: Time of expiry in seconds since the epoch, if any.

        Returns:
            The key's text, which is stored nowhere else, and the key.

        Raises:
            BadInput: If a name cannot be used, or the client belongs to another tenant.
        """
        models = frozenset(models)
        _check_names(client, tenant, group, *models)
        if client == ANONYMOUS:
            raise BadInput(f"the client {client}, which stands for all who have no key", "another name", "choose one")
        for role in roles:
            if role not in ROLES:
                unknown = UnknownName.among("role", role, ROLES)
                raise unknown
        keys = [key for key in self.all() if key.client == client]
        owners = {key.tenant for key in keys}
        if not client or owners - {tenant}:
            got = f"the client {client!r} of the tenant {tenant!r}"
            raise BadInput(got, f"that of {min(owners, default='a client')!r}", "choose another name for one of them")
        number, secret, now = secrets.token_hex(6), secrets.token_urlsafe(32), time.time()
        linked = group if group is not None else next((key.group for key in keys), "")
        key = Key(number, hashed(secret), client, tenant, frozenset(roles), now, expires, group=linked, models=models)
        listed = [" ".join(sorted(names)) for names in (key.roles, models)]
        row = number, key.hash, client, tenant, listed[0], now, expires, None, linked, listed[1]
        self._do("INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        if any(key.group != linked for key in keys):
            self.link(client, linked)
        return f"feint_{number}_{secret}", key

    def link(self, client: str, group: str) -> list[Key]:
        """Put a client with all of its keys into a group of linked clients.

        `BadInput` is raised for a name that cannot be used.

        Args:
            client: The client.
            group: Name of the group, "" for none.

        Returns:
            The client's active keys.

        Raises:
            UnknownName: If there are none.
        """
        _check_names(group)
        if not any(key.client == client for key in self.named(client)):
            raise UnknownName(f"{client!r}, the id of a key", "a client", "see feint keys list")
        self._do("UPDATE keys SET linked = ? WHERE client = ?", (group, client))
        return self.named(client)

    def all(self) -> list[Key]:
        """Return every key, the oldest first."""
        with closing(opened(self.path, "ro")) as file:
            return [Key.of(row) for row in file.execute("SELECT * FROM keys ORDER BY created, id")]

    def named(self, name: str) -> list[Key]:
        """Return the active key with this id, or the active keys of this client; raise `UnknownName`."""
        now = time.time()
        active = [key for key in self.all() if key.state(now) == "active"]
        keys = [key for key in active if key.id == name] or [key for key in active if key.client == name]
        if not keys:
            raise UnknownName(f"{name!r}", "the id of an active key, or a client who has one", "see feint keys list")
        return keys

    def revoke(self, name: str) -> list[Key]:
        """Revoke the key with this id, or all keys of this client, at once; raise `UnknownName`."""
        keys = self.named(name)
        for key in keys:
            self._do("UPDATE keys SET revoked = ? WHERE id = ?", (time.time(), key.id))
        return keys

    def erase(self, client: str) -> int:
        """Delete all keys of a client, those that are revoked too, with their names; return how many there were."""
        count = sum(key.client == client for key in self.all())
        if count:
            self._do("DELETE FROM keys WHERE client = ?", (client,))
        return count

    def rotate(self, name: str, *, grace: float, expires: float | None = None) -> tuple[str, Key, Key]:
        """Replace a key, which stays valid for `grace` seconds; return the new text, the new key and the old one."""
        old, *more = self.named(name)
        if more:
            ids = ", ".join(key.id for key in (old, *more))
            raise BadInput(f"{name!r}, who has {len(more) + 1} active keys", "one key", f"name one of {ids}")
        text, new = self.add(old.client, tenant=old.tenant, roles=sorted(old.roles), models=old.models, expires=expires)
        until = min(time.time() + grace, old.expires or float("inf"))
        self._do("UPDATE keys SET expires = ? WHERE id = ?", (until, old.id))
        return text, new, old

    def _do(self, statement: str, values: tuple) -> None:
        try:
            with closing(opened(self.path, "rw")) as file, file:
                file.execute("PRAGMA secure_delete = ON")
                file.execute(statement, values)
        except sqlite3.Error as error:
            raise NotWritten(f"{self.path} ({error})", "a file that can be written", "try again") from error


def hashed(secret: str) -> bytes:
    """Return the hash of a key's secret: 32 bytes of BLAKE2b."""
    return hashlib.blake2b(secret.encode(), digest_size=32, person=b"feint key").digest()


def opened(path: Path, mode: str) -> sqlite3.Connection:
    """Connect to an existing file of keys; raise `MissingData` or `DamagedFile`."""
    if not path.is_file():
        raise MissingData(f"{path}, which does not exist", "a file of keys", "make one: feint keys add CLIENT")
    file = None
    try:
        file = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=5, check_same_thread=False)
        if (layout := _layout(file)) not in range(1, LAYOUT + 1):
            raise sqlite3.DatabaseError(f"layout {layout}")
    except sqlite3.Error as error:
        if file is not None:
            file.close()
        raise DamagedFile(f"{path} ({error})", "a file of keys", "name another, or bring back a copy") from error
    return file


def _layout(file: sqlite3.Connection) -> int:
    return file.execute("PRAGMA user_version").fetchone()[0]


def _check_names(*names: str | None) -> None:
    for name in filter(None, names):
        if not NAME.fullmatch(name):
            raise BadInput(f"the name {name!r}", "letters, digits and . _ @ : + -, 128 at most", "choose another")


def _make(path: Path) -> None:
    """Make a new file, which is complete as soon as it exists."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.touch(mode=0o600)
        with closing(sqlite3.connect(partial)) as file, file:
            file.execute(TABLE)
            file.execute(f"PRAGMA user_version = {LAYOUT}")
        with suppress(FileExistsError):  # another process was faster
            os.link(partial, path)
    except (OSError, sqlite3.Error) as error:
        raise NotWritten(f"{path} ({error})", "a file that can be written", "choose another place") from error
    finally:
        with suppress(OSError):  # where nothing could be written, nothing is to be deleted
            partial.unlink(missing_ok=True)
