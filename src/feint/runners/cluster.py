"""Ray: a cluster of one machine or many, whose nodes may come and go."""

import functools
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

from feint._optional import require
from feint.errors import BadInput, Unreachable
from feint.runners.job import Job, use_threads

LOOK = 1.0  # seconds after which to look again which nodes there are
RETRIES = 3  # Ray's own number: a node that is taken away says nothing about the item


def ray(
    job: Job[Any, Any], items: Iterable[Any], *, address: str | None = None, cpus: float = 1, gpus: float = 0
) -> Generator[Any]:
    """What `job` makes of `items` on the Ray cluster at `address`, each with so many cores and GPUs, or parts of one.

    Without an address it is the cluster that this process is connected to, that of RAY_ADDRESS, or one that is started
    on this machine and ended with the generator. As many items are taken as the nodes have room for. One whose process
    or node dies is tried again elsewhere, three times; then it is lost, and the others go on. Closing the generator
    cancels what it started. Raises `MissingData` without Ray, `Unreachable` without a cluster or where a node cannot
    load the job, `BadInput` where no node has room for an item.
    """
    items = iter(items)
    for first in items:  # none left: no cluster is started to find that out
        with _connected(address) as cluster:
            tasks = _Tasks(cluster, job, {"CPU": cpus, "GPU": gpus})
            try:
                yield from tasks.over(chain([first], items))
            finally:
                tasks.cancel()


class _Tasks:
    """The items of one job that are on their way."""

    def __init__(self, cluster: Any, job: Job[Any, Any], needs: dict[str, float]) -> None:
        self._cluster, self._job = cluster, job
        self._needs = {what: amount for what, amount in needs.items() if amount}
        self._threads = max(1, int(needs["CPU"]))
        self._held = cluster.put(cluster.cloudpickle.dumps(job))  # once, for every node to fetch once
        options = {"num_cpus": needs["CPU"], "num_gpus": needs["GPU"], "max_retries": RETRIES}
        self._run = cluster.remote(**options)(_run)
        self._running: dict[Any, Any] = {}
        if not self._room():
            raise BadInput(
                f"{self._needs} for each item, which no node of the cluster has",
                f"at most what one of {[node['Resources'] for node in cluster.nodes() if node['Alive']]} has",
                "ask for less, or start such a node first",
            )

    def over(self, items: Iterator[Any]) -> Iterator[Any]:
        """The results, as they come."""
        while True:
            for item in islice(items, max(0, self._room() - len(self._running))):
                self._running[self._run.remote([self._held], item, self._threads)] = item
            if not self._running:
                return
            done, _ = self._cluster.wait(list(self._running), timeout=LOOK)
            for task in done:
                yield self._result(task, self._running.pop(task))

    def cancel(self) -> None:
        """End what is running."""
        for task in self._running:
            self._cluster.cancel(task, force=True)

    def _result(self, task: Any, item: Any) -> Any:
        errors = self._cluster.exceptions
        try:
            return self._cluster.get(task)
        except errors.RayTaskError as error:  # a job raises nothing: this node could not even load it
            raise Unreachable(
                f"a node that cannot run the job ({error.cause!r})",
                "the same Feint, and all that it needs, on every node",
                "install it there",
            ) from error
        except errors.RayError as error:
            return self._job.lost(item, f"its process or node died {RETRIES + 1} times on Ray ({type(error).__name__})")

    def _room(self) -> int:
        """How many items fit on the nodes that there are now; an item is never spread over two."""
        return sum(
            min(int(node["Resources"].get(what, 0) / amount + 1e-6) for what, amount in self._needs.items())
            for node in self._cluster.nodes()
            if node["Alive"]
        )


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster; a connection that was there before stays."""
    cluster = require("ray", "ray")
    ours = not cluster.is_initialized()
    try:
        if ours:
            cluster.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="warning")
        yield cluster
    except ConnectionError as error:
        raise Unreachable(f"no Ray cluster at {address}", "the address of a running one", "start it first") from error
    finally:
        if ours:
            cluster.shutdown()


def _run(held: list[Any], item: Any, threads: int) -> Any:
    """What happens on a node. The job's reference is in a list, since Ray would load it again for every item."""
    use_threads(threads)
    return _loaded(held[0])(item)


@functools.lru_cache(maxsize=1)  # a worker runs many items of one job, and what a job remembers is worth keeping
def _loaded(held: Any) -> Any:
    cluster = require("ray", "ray")
    return cluster.cloudpickle.loads(cluster.get(held))
