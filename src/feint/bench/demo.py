"""Demo, end to end: train a victim, defend it, steal it and compare the results."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from feint import data, victims
from feint.attacks import HardLabels, KnockoffNets, Surrogate, default_training
from feint.bench.matrix import Matrix
from feint.defenses.outputs import APGP
from feint.errors import UnknownName
from feint.evaluation.results import Results
from feint.models import networks
from feint.models.cache import cached_in
from feint.models.networks import Classifier
from feint.models.training import Training, train
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.recipes import registry, store
from feint.service import Defense


@dataclass(frozen=True)
class Setting:
    """Settings of the demo for one data set.

    Attributes:
        network: Name of the victim's network.
        training: Training of the victim.
        surrogate: Name of the surrogate's network.
        budgets: Numbers of queries that the attacker may send.
    """

    network: str
    training: Training
    surrogate: str
    budgets: tuple[int, ...]

    def surrogate_on(self, images: data.Dataset) -> Surrogate:
        """Return the surrogate with the default training, which mirrors images where the victim's does."""
        network = networks.get(self.surrogate, images)
        return Surrogate(network, replace(default_training(network), flip=self.training.flip))


SETTINGS = {
    "digits": Setting("mlp", Training(epochs=30), "mlp", (50, 200, 700)),
    "fashion_mnist": Setting(
        "lenet", Training(epochs=12, learning_rate=0.05, crop=2, flip=True), "lenet", (500, 2000, 10_000)
    ),
    "cifar10": Setting("resnet20", Training(epochs=40, crop=4, flip=True), "resnet9_32", (1000, 5000)),
}
DEFENSES = {"APGP all-order": APGP(), "APGP top-1": APGP(top=1)}


@dataclass(frozen=True)
class Demo:
    """Outcome of a run: the rows, the victim, and the defenses by name."""

    setting: Setting
    data: data.Dataset
    victim: Classifier
    defenses: Mapping[str, Defense]
    results: Results


def run(
    name: str,
    folder: Path,
    *,
    weights: Path | None = None,
    seeds: Iterable[int] = range(3),
    progress: ProgressCallback = NO_PROGRESS,
) -> Demo:
    """Run the demo and keep everything in `folder`; an interrupted run continues from there.

    An unknown name raises `UnknownName`.

    Args:
        name: Data set, one of `SETTINGS`.
        folder: Directory of victim, defenses and rows.
        weights: An .npz file of a published victim, used instead of training one.
        seeds: Seeds, for each of which every attack is repeated.
        progress: Progress callback.

    Returns:
        The settings, the data, the victim, the defenses and the rows.
    """
    with cached_in(folder / "trainings"):
        return _run(name, folder, weights, seeds, progress)


def _run(name: str, folder: Path, weights: Path | None, seeds: Iterable[int], progress: ProgressCallback) -> Demo:
    setting, images = _setting(name), data.load(name)
    network = networks.get(setting.network, images)
    if (folder / "victim").exists():
        victim = victims.load(folder / "victim")
    else:
        if weights is not None:
            victim = victims.load_published(weights, network)
        else:
            victim = train(network, images.train, training=setting.training, progress=progress)
        victims.save(folder / "victim", victim, data=name, weights=weights and weights.name)
    defended = {"none": Defense()}
    for title, method in DEFENSES.items():
        place = folder / "defenses" / str(method.preserves)
        if not place.exists():
            store.save(place, method.fit(victim, images.train, progress=progress), data=name)
        defended[title] = Defense(outputs=[registry.load(str(place))])
    surrogate = setting.surrogate_on(images)
    knockoff = KnockoffNets(images.pool, surrogate.network, surrogate.training)
    matrix = Matrix(
        victim,
        images.test,
        attacks={"KnockoffNets": knockoff, "KnockoffNets, labels only": knockoff.through(HardLabels())},
        defenses=defended,
        budgets=setting.budgets,
        seeds=seeds,
    )
    return Demo(setting, images, victim, defended, matrix.run(folder=folder / "rows", progress=progress))


def _setting(name: str) -> Setting:
    if name not in SETTINGS:
        raise UnknownName.among("data set of the demo", name, SETTINGS)
    return SETTINGS[name]
