"""Watch over the replicas of a gateway: all that use one ledger should answer alike."""

import logging
from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from feint.errors import StoreLost
from feint.gateway.app import Authenticator, Gateway
from feint.gateway.backends.base import LoadedModel
from feint.gateway.endpoint import ModelEndpoint
from feint.gateway.settings import Settings
from feint.recipes.recipe import fingerprint

SILENT = 10.0  # seconds without an announcement after which another process counts as gone

log = logging.getLogger("feint.gateway")


@runtime_checkable
class HasFingerprint(Protocol):
    """Authenticator with a fingerprint of whom it lets in."""

    def fingerprint(self) -> str: ...


def facts(settings: Settings, gateway: Gateway, name: str, loaded: LoadedModel) -> dict[str, str]:
    """Return fingerprints of all that a model's answers to a client depend on.

    32 bits each: they hold no secret and no path, and nobody can try out by them what was hashed.
    """
    endpoint, table = gateway.endpoints[name], settings.models[name]
    spec = endpoint.spec
    values = {
        "mode": endpoint.shadow,
        "model": [loaded.fingerprint, repr(spec.domain), spec.classes, list(spec.labels)],
        "rules": [table.access, table.threshold, table.tenants],
        "keys": _who(gateway.authenticator),
        "limits": [gateway.limits.body, gateway.limits.batch, gateway.limits.answer],
        "ledger": [settings.ledger.when_lost, settings.ledger.readiness],
    }
    return {what: fingerprint(value, 8) for what, value in values.items()}


def _who(authenticator: Authenticator) -> str:
    if not isinstance(authenticator, HasFingerprint):
        return type(authenticator).__name__
    try:
        return authenticator.fingerprint()
    except StoreLost:  # of the file of keys, not of the ledger: nobody is let in here
        return "nobody"


class ReplicaWatch:
    """Watch for processes that use the model's ledger and answer otherwise.

    A client whom one refuses would be answered by another one. Each process announces its facts in the ledger. What
    was announced before a fact became what it is here does not count: it may have been this process.
    """

    def __init__(self, endpoint: ModelEndpoint, facts: Callable[[], Mapping[str, str]]) -> None:
        self._endpoint, self._facts = endpoint, facts
        self._known: dict[str, str] = {}
        self._since: dict[str, float] = {}

    async def look(self) -> None:
        """Announce the facts, and note in `replicas_differ` which are others elsewhere; raise as `announce` does."""
        endpoint, now, here = self._endpoint, self._endpoint.session.now(), self._facts()
        self._since |= {what: now for what, value in here.items() if self._known.get(what) != value}
        self._since = {what: min(at, now) for what, at in self._since.items()}  # where a clock was set back
        self._known = dict(here)
        announced = await endpoint.session.announce([f"{what}/{value}" for what, value in here.items()], SILENT)
        others = set[str]()
        for entry, at in announced.items():
            what, _, value = entry.partition("/")
            if here.get(what, value) != value and at > max(self._since[what], now - SILENT):
                others.add(what)
        differ = tuple(what for what in here if what in others)
        if differ and differ != endpoint.replicas_differ:
            log.warning(
                "%s: another process that uses the ledger differs in its %s: give both one settings file",
                endpoint.spec.name, ", ".join(differ),
            )  # fmt: skip
        elif endpoint.replicas_differ and not differ:
            log.warning("%s: all processes that use the ledger agree", endpoint.spec.name)
        endpoint.replicas_differ = differ
