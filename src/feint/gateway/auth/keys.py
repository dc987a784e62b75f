"""Authentication by a file of API keys, answered from memory in microseconds."""

import hmac
import sqlite3
import time
from pathlib import Path

from feint.errors import FeintError, NoKey, StoreLost
from feint.gateway.app import Caller
from feint.gateway.auth.keyfile import ANONYMOUS, FORM, Key, hashed, opened
from feint.recipes.recipe import fingerprint

FRESH = 0.5  # seconds between two checks of the file: each takes 10 µs
NOBODY = bytes(32)


class KeyFileAuth:
    """Authenticator over a file of keys, which are held in memory and read again within a second of a change.

    Unknown keys leave no trace in memory. While the file cannot be read, no client is let in.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._looked, self._inode, self._version = -FRESH, 0, 0
        self._file: sqlite3.Connection | None = None
        self._known: dict[str, tuple[Key, Caller]] = {}
        self._look()

    def authenticate(self, key: str) -> Caller:
        """Return the client of a key. `StoreLost` is raised if the file is gone.

        Raises:
            NoKey: If the key is unknown, expired or revoked.
        """
        if time.monotonic() - self._looked >= FRESH:
            self._look()
        form = FORM.fullmatch(key)
        if form is None:
            raise NoKey("no API key" if not key else "a malformed API key", "one that is known here", "ask for a key")
        known = self._known.get(form[1])
        if not hmac.compare_digest(hashed(form[2]), known[0].hash if known else NOBODY) or known is None:
            raise NoKey("an API key that is not known here", "one that is", "ask for a key")
        if (state := known[0].state(time.time())) != "active":
            raise NoKey(f"an API key that is {state}", "one that is valid", "ask for a new key")
        return known[1]

    def fingerprint(self) -> str:
        """Return a fingerprint of the keys, without their secrets; raise `StoreLost` as `authenticate` does."""
        self._look()
        return fingerprint([_shown(key) for _, (key, _) in sorted(self._known.items())])

    def check(self) -> None:
        """Read the file again where it was changed; raise `StoreLost` as `authenticate` does."""
        self._look()

    def _look(self) -> None:
        """Read the file again where it was changed or replaced."""
        try:
            if (inode := self.path.stat().st_ino) != self._inode or self._file is None:
                self.close()
                self._file, self._inode, self._version = opened(self.path, "ro"), inode, 0
            version = self._file.execute("PRAGMA data_version").fetchone()[0]
            if version != self._version:
                keys = [Key.of(row) for row in self._file.execute("SELECT * FROM keys")]
                self._known = {
                    key.id: (key, Caller(key.client, key.tenant, key.roles, key.group, key.models, key.id))
                    for key in keys
                }
                self._version = version
        except (OSError, sqlite3.Error, FeintError) as error:
            raise StoreLost(
                "a file of keys that is gone", f"{self.path.name}", "restore it: until then no client is let in"
            ) from error
        self._looked = time.monotonic()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


class AnonymousAuth:
    """Authenticator for whom clients without a key are one client, "anonymous"; a key that is sent has to be good.

    Args:
        authenticator: Authenticator of keys; without one every key is ignored.
    """

    def __init__(self, authenticator: KeyFileAuth | None = None) -> None:
        self.authenticator, self._nobody = authenticator, Caller(ANONYMOUS)

    def authenticate(self, key: str) -> Caller:
        """Return the client of a key; raise `NoKey` for one that is not good."""
        if not key or self.authenticator is None:
            return self._nobody
        return self.authenticator.authenticate(key)

    def fingerprint(self) -> str:
        """Return a fingerprint of the keys, as `KeyFileAuth.fingerprint`."""
        return f"anybody {self.authenticator.fingerprint() if self.authenticator else ''}"

    def close(self) -> None:
        """Close the file of keys, if there is one."""
        if self.authenticator is not None:
            self.authenticator.close()


def _shown(key: Key) -> list[object]:
    sets = [sorted(key.roles), sorted(key.models)]
    return [key.id, key.client, key.tenant, key.group, key.expires, key.revoked is not None, *sets]


def open(path: Path | str) -> KeyFileAuth:
    """Open a file of keys; raise `MissingData` if there is none, `DamagedFile` if it is no file of keys."""
    opened(Path(path), "ro").close()
    return KeyFileAuth(path)
