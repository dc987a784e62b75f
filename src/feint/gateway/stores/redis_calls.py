"""Count of the calls to a paid model in Redis or Valkey, which replicas share."""

from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from feint.errors import StoreLost
from feint.paid.meter import today

SCRIPT = """
local calls = redis.call('INCRBY', KEYS[1], ARGV[1])
if calls > tonumber(ARGV[2]) then
  redis.call('DECRBY', KEYS[1], ARGV[1])
  return 0
end
return 1
"""  # a day's key has no expiry: where the server's clock went past it and back, paid calls would be forgotten


class RedisCalls:
    """Count of the calls of each day in UTC; a round trip for each request with new inputs, 0.06 ms on one machine.

    Args:
        url: The server as redis-py takes it.
        model: The model's name.
        most: Calls in a day at most.
        timeout: The seconds that a command may take.
    """

    def __init__(self, url: str, model: str, most: int, *, timeout: float = 2.0) -> None:
        self.most, self._name = most, f"feint-calls:{quote(model, safe='')}"
        self._script = redis.Redis.from_url(
            url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0)
        ).register_script(SCRIPT)

    def add(self, count: int) -> bool:
        """Count calls, as `CountOfDay.add`; `StoreLost` is raised where the server does not answer."""
        try:
            return bool(self._script(keys=[f"{self._name}:{today()}"], args=[count, self.most]))
        except (RedisError, OSError) as error:
            raise StoreLost(
                f"a count of paid calls that cannot be read ({type(error).__name__})", "Redis or Valkey that answers",
                "try again later",
            ) from error  # fmt: skip
