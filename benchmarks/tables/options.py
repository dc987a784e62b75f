"""What options of a strong attacker bring: pretrained weights, the pool's own labels, a proxy, mirror images.

No suite: a proxy that chooses queries has no recipe of its own. The pool is of another task than the victim's, so that
its labels teach nothing about the victim by themselves: Fashion-MNIST for digits, CIFAR-100 for the others.
"""

from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product

from benchmarks.tables.rows import Jobs, Row, published_resnet20
from feint import Service, data
from feint.attacks import ActiveThief, Attack, HardLabels, KCentre, KnockoffNets
from feint.attacks.surrogates import MIRRORED, RESNET
from feint.bench.demo import SETTINGS
from feint.data import Split
from feint.data.pools import parse_split
from feint.evaluation import metrics
from feint.models import networks
from feint.models.networks import Classifier, Network
from feint.models.training import Pretrained, Training, train
from feint.progress import ProgressCallback
from feint.victims import Trained

PUBLIC = Training(epochs=5, batch_size=64, learning_rate=0.05)  # of networks that learn the pool's own labels


@dataclass(frozen=True)
class Scene:
    """Victim, by the name of its data, with the pool and the budget of its attacker, and the number of seeds."""

    pool: str
    budget: int
    seeds: int = 3


SCENES = {
    "digits": Scene("fashion_mnist/train", 1000),
    "cifar10": Scene("cifar100/train", 5000, seeds=1),
    "fashion_mnist": Scene("cifar100/train", 5000),
}
ANSWERS = {"probabilities": (), "labels": (HardLabels(),)}


def knockoff(pool: Split, network: Network, training: Training, scene: Scene) -> Attack:
    """Return the attack without options."""
    return KnockoffNets(pool, network, training)


def pretrained(pool: Split, network: Network, training: Training, scene: Scene) -> Attack:
    """Return the attack whose surrogate begins with the weights of a network that learned the pool's own labels."""
    return KnockoffNets(pool, network, replace(training, start=Pretrained(scene.pool, PUBLIC)))


def auxiliary(pool: Split, network: Network, training: Training, scene: Scene) -> Attack:
    """Return the attack whose surrogate learns the pool's own labels beside the answers."""
    return KnockoffNets(pool, network, replace(training, auxiliary=0.5))


def proxy(pool: Split, network: Network, training: Training, scene: Scene) -> Attack:
    """Return the attack whose queries are chosen by a network that learned the pool's own labels."""
    other = replace(network, classes=int(pool.labels.max()) + 1)
    chooses = Trained.of(train(other, pool, training=PUBLIC, seed=1))
    return ActiveThief(pool, network, training, KCentre(), proxy=chooses)


def mirrored(pool: Split, network: Network, training: Training, scene: Scene) -> Attack:
    """Return the attack whose surrogate averages over mirror images when it predicts."""
    return KnockoffNets(pool, replace(network, name=MIRRORED), training)


OPTIONS = {
    "none": knockoff,
    "pretrained weights": pretrained,
    "own labels": auxiliary,
    "k-centre by a proxy": proxy,
    "mirror images": mirrored,
}


@cache
def _victim(name: str) -> Classifier:
    if name == "cifar10":
        return published_resnet20()
    images, setting = data.load(name), SETTINGS[name]
    return train(networks.get(setting.network, images), images.train, training=setting.training)


def row(name: str, option: str, answers: str, seed: int) -> Row:
    """Return the scores of one theft."""
    scene, images, victim = SCENES[name], data.load(name), _victim(name)
    tried = SETTINGS[name].surrogate_on(images)
    attack = OPTIONS[option](parse_split(scene.pool).scaled(images.shape), tried.network, tried.training, scene)
    oracle = Service(victim).oracle(client="attacker", budget=scene.budget)
    surrogate = attack.through(*ANSWERS[answers]).steal(oracle, seed=seed)
    return {
        "victim": name, "option": option, "answers": answers, "seed": seed, "pool": scene.pool, "asked": oracle.asked,
        "stealer_accuracy": metrics.stealer_accuracy(surrogate, images.test),
        "fidelity": metrics.fidelity(surrogate, victim, images.test), "n_test": len(images.test),
    }  # fmt: skip


def jobs(progress: ProgressCallback) -> Jobs:
    """Yield one job for each theft, those of the first seed first."""
    for name, scene in SCENES.items():
        for seed, answers, option in product(range(scene.seeds), ANSWERS, OPTIONS):
            if option != "mirror images" or SETTINGS[name].surrogate == RESNET:
                yield f"{name}-{option}-{answers}-{seed}", partial(row, name, option, answers, seed)
