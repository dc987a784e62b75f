"""Authentication by one random key, made at the start and printed once, for trying the gateway out."""

import hmac
import secrets

from feint.errors import NoKey
from feint.gateway.app import Caller


class SingleKeyAuth:
    """Authenticator with a single random key, which has all roles of inference and administration.

    Attributes:
        key: The key.
    """

    def __init__(self) -> None:
        self.key = secrets.token_urlsafe(24)
        self._caller = Caller("first", roles=frozenset({"infer", "admin"}))

    def authenticate(self, key: str) -> Caller:
        """Return the client of a key.

        Raises:
            NoKey: If it is another key.
        """
        if not hmac.compare_digest(key.encode(), self.key.encode()):
            raise NoKey("no API key" if not key else "an API key that is not known here", "the one", "give it")
        return self._caller
