"""The door of a gateway that is tried out: one key, made when it starts and known only to whoever saw it then."""

import hmac
import secrets

from feint.errors import NoKey
from feint.gateway.gateway import Caller


class OneKey:
    """A `Doorkeeper` with a single `key`, which opens everything."""

    def __init__(self) -> None:
        self.key = secrets.token_urlsafe(24)
        self._caller = Caller("first", roles=frozenset({"infer", "admin"}))

    def caller(self, key: str) -> Caller:
        """Who has this key. Raises `NoKey`."""
        if not hmac.compare_digest(key.encode(), self.key.encode()):
            raise NoKey("no API key" if not key else "an API key that is not known here", "the one", "give it")
        return self._caller
