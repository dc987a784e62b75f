"""The victims of the suite `springboard` as copies of themselves: what the best copy that there could be enables."""

from functools import partial

from benchmarks.tables.rows import Jobs, Row
from feint import bench, data, train
from feint.models import networks
from feint.progress import ProgressCallback
from feint.service import Service


def jobs(progress: ProgressCallback) -> Jobs:
    """Yield one job for each victim of the suite."""
    for name in bench.load("springboard").victims:
        yield name, partial(victim, name, progress)


def victim(name: str, progress: ProgressCallback) -> Row:
    """Return the scores of a victim that stands in for the surrogate."""
    chosen = bench.load("springboard")
    entry, images = chosen.victims[name], data.load(chosen.victims[name].data)
    assert entry.training is not None
    model = train(networks.get(entry.network, images), images.train, training=entry.training, progress=progress)
    springboard = chosen.springboard_on(name, images.train)
    assert springboard is not None
    return springboard.scores(model, Service(model), images.test)
