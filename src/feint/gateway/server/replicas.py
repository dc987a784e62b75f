"""Watch over the replicas of a gateway: all that use one ledger should serve each model in the same mode."""

import logging

from feint.gateway.endpoint import ModelEndpoint

SILENT = 10.0  # seconds without an announcement after which a process in another mode counts as gone

log = logging.getLogger("feint.gateway")


class ModeWatch:
    """Watch for processes that serve a model in another mode, shadow or enforce.

    A client whom one refuses would be answered by the other. Each process announces its mode in the account that all
    clients share. What was announced before this watch began does not count: it may have been this process.
    """

    def __init__(self, endpoint: ModelEndpoint) -> None:
        self._endpoint, self._since = endpoint, endpoint.session.now()

    async def look(self) -> None:
        """Announce the mode, and note in `replicas_differ` whether there is another; `StoreLost` is raised as it is."""
        endpoint = self._endpoint
        mode, other = ("shadow", "enforce") if endpoint.shadow else ("enforce", "shadow")
        last = (await endpoint.session.announce(mode)).get(other, 0.0)
        differ = last > max(self._since, endpoint.session.now() - SILENT)
        if differ and not endpoint.replicas_differ:
            log.warning(
                "%s: this process serves in mode %s, another one that uses the ledger in mode %s: give both one file",
                endpoint.spec.name, mode, other,
            )  # fmt: skip
        elif endpoint.replicas_differ and not differ:
            log.warning("%s: all processes that use the ledger serve in mode %s", endpoint.spec.name, mode)
        endpoint.replicas_differ = differ
