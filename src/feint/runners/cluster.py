"""Runner on a Ray cluster of one machine or many, whose nodes may join and leave."""

import functools
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

from feint._optional import require
from feint.errors import BadInput, Unreachable
from feint.runners.job import Job, use_threads

POLL = 1.0  # seconds between two looks at the nodes of the cluster
RETRIES = 3  # Ray's own default: a node that leaves is not the item's fault


def ray(
    job: Job[Any, Any], items: Iterable[Any], *, address: str | None = None, cpus: float = 1, gpus: float = 0
) -> Generator[Any]:
    """Map a job over items on a Ray cluster.

    The item of a process or node that dies is tried again elsewhere, three times. Then it is lost, and the others
    continue. Closing the generator cancels its tasks.

    `MissingData` is raised without Ray, `Unreachable` without a cluster or where a node cannot load the job, and
    `BadInput` where no node has the cores or GPUs for an item.

    Args:
        job: The job.
        items: Items, taken as nodes have room for them.
        address: Address of the cluster. By default it is the one that this process is connected to, that of
            RAY_ADDRESS, or a new one on this machine that ends with the generator.
        cpus: Cores for each item, or a fraction of one.
        gpus: GPUs for each item, or a fraction of one.

    Yields:
        Results in order of completion.
    """
    items = iter(items)
    for first in items:  # no cluster is started without an item
        with _connected(address) as cluster:
            tasks = _Tasks(cluster, job, {"CPU": cpus, "GPU": gpus})
            try:
                yield from tasks.over(chain([first], items))
            finally:
                tasks.cancel()


class _Tasks:
    """Running items of one job."""

    def __init__(self, cluster: Any, job: Job[Any, Any], needs: dict[str, float]) -> None:
        self._cluster, self._job = cluster, job
        self._needs = {what: amount for what, amount in needs.items() if amount}
        self._threads = max(1, int(needs["CPU"]))
        self._job_ref = cluster.put(cluster.cloudpickle.dumps(job))  # each node fetches it once
        options = {"num_cpus": needs["CPU"], "num_gpus": needs["GPU"], "max_retries": RETRIES}
        self._run = cluster.remote(**options)(_run)
        self._running: dict[Any, Any] = {}
        if not self._capacity():
            raise BadInput(
                f"{self._needs} for each item, which no node of the cluster has",
                f"at most what one of {[node['Resources'] for node in cluster.nodes() if node['Alive']]} has",
                "ask for less, or start such a node first",
            )

    def over(self, items: Iterator[Any]) -> Iterator[Any]:
        """Yield the results in order of completion."""
        while True:
            for item in islice(items, max(0, self._capacity() - len(self._running))):
                self._running[self._run.remote([self._job_ref], item, self._threads)] = item
            if not self._running:
                return
            done, _ = self._cluster.wait(list(self._running), timeout=POLL)
            for task in done:
                yield self._result(task, self._running.pop(task))

    def cancel(self) -> None:
        """Cancel the running items."""
        for task in self._running:
            self._cluster.cancel(task, force=True)

    def _result(self, task: Any, item: Any) -> Any:
        errors = self._cluster.exceptions
        try:
            return self._cluster.get(task)
        except errors.RayTaskError as error:  # a job raises no error: this node could not load it
            raise Unreachable(
                f"a node that cannot run the job ({error.cause!r})",
                "the same Feint, and all that it needs, on every node",
                "install it there",
            ) from error
        except errors.RayError as error:
            return self._job.lost(item, f"its process or node died {RETRIES + 1} times on Ray ({type(error).__name__})")

    def _capacity(self) -> int:
        """Return the number of items for which the present nodes have room; an item is never split over two nodes."""
        return sum(
            min(int(node["Resources"].get(what, 0) / amount + 1e-6) for what, amount in self._needs.items())
            for node in self._cluster.nodes()
            if node["Alive"]
        )


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Yield Ray, connected to a cluster; an earlier connection stays open."""
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


def _run(job_refs: list[Any], item: Any, threads: int) -> Any:
    """Run an item on a node. The job's reference is in a list, since Ray would load it again for every item."""
    use_threads(threads)
    return _load_job(job_refs[0])(item)


@functools.lru_cache(maxsize=1)  # a worker runs many items of one job, whose own caches are worth keeping
def _load_job(job_ref: Any) -> Any:
    cluster = require("ray", "ray")
    return cluster.cloudpickle.loads(cluster.get(job_ref))
