"""KnockoffNets adaptive beside random, on pools of which most classes are of no use to the attacker.

No suite: the pool is put together of two sets, and a row says where the queries went.

The victim is the published CIFAR-10 ResNet-20; LeNets are trained on 5,000 answers. The pools: CIFAR-100 in its 20
superclasses, and CIFAR-100's five superclasses of vehicles and large animals with the 43 traffic signs of GTSRB, each
a group of its own.
"""

import time
from functools import partial
from itertools import product

import numpy as np

from benchmarks.tables.rows import Jobs, Row, published_resnet20
from feint import Service, data
from feint.attacks import KnockoffNets, KnockoffNetsAdaptive
from feint.data import Split
from feint.evaluation import metrics
from feint.models import networks
from feint.models.training import Training
from feint.progress import ProgressCallback
from feint.transcript import checksums

SUPERCLASSES = {
    "aquatic mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food containers": "bottle bowl can cup plate",
    "fruit and vegetables": "apple mushroom orange pear sweet_pepper",
    "household electrical devices": "clock keyboard lamp telephone television",
    "household furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large carnivores": "bear leopard lion tiger wolf",
    "large man-made outdoor things": "bridge castle house road skyscraper",
    "large natural outdoor scenes": "cloud forest mountain plain sea",
    "large omnivores and herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium-sized mammals": "fox porcupine possum raccoon skunk",
    "non-insect invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles 1": "bicycle bus motorcycle pickup_truck train",
    "vehicles 2": "lawn_mower rocket streetcar tank tractor",
}
USEFUL = (
    "large carnivores",
    "large omnivores and herbivores",
    "medium-sized mammals",
    "vehicles 1",
    "vehicles 2",
)
BUDGET, SEEDS = 5000, range(3)
TRAINING = Training(epochs=20, batch_size=32, learning_rate=0.02, flip=True)
Pool = tuple[Split, tuple[int, ...], int]  # inputs with their classes, the group of each, how many groups are useful


def natural() -> Pool:
    """All of CIFAR-100; the useful superclasses are the first groups."""
    images = data.load("cifar100")
    names = [*USEFUL, *(name for name in SUPERCLASSES if name not in USEFUL)]
    groups = {word: names.index(name) for name, words in SUPERCLASSES.items() for word in words.split()}
    return images.train, tuple(groups[name] for name in images.classes), len(USEFUL)


def signs() -> Pool:
    """The useful superclasses, and traffic signs."""
    (images, groups, useful), other = natural(), data.load("gtsrb").train
    classes = [i for i, group in enumerate(groups) if group < useful]
    kept = np.isin(images.arrays[1], classes)
    labels = np.concatenate([np.searchsorted(classes, images.arrays[1][kept]), other.arrays[1] + len(classes)])
    pool = Split.of(np.concatenate([images.values[kept], other.values]), labels)
    kinds = int(other.labels.max()) + 1
    return pool, (*(groups[i] for i in classes), *range(useful, useful + kinds)), useful


POOLS = {"natural": natural, "signs": signs}


def row(pool: str, attack: str, seed: int) -> Row:
    """One theft: where its queries went, what it brought, and what it cost."""
    inputs, hierarchy, useful = POOLS[pool]()
    victim = published_resnet20()
    test = data.load("cifar10").test
    surrogate = networks.get("lenet", data.load("cifar10"))
    attacks = {
        "random": KnockoffNets(inputs, surrogate, TRAINING),
        "adaptive": KnockoffNetsAdaptive(inputs, surrogate, TRAINING, hierarchy),
    }
    oracle, started = Service(victim).oracle(client="attacker", budget=BUDGET), time.process_time()
    stolen = attacks[attack].steal(oracle, seed=seed)
    seconds = time.process_time() - started
    known = {
        checksum: hierarchy[label] < useful
        for checksum, label in zip(checksums(inputs.inputs()).tolist(), inputs.labels.tolist(), strict=True)
    }
    asked = [known[it] for it in checksums(oracle.transcript.x).tolist()]
    return {
        "pool": pool, "attack": attack, "seed": seed, "asked": oracle.asked, "cpu_seconds": seconds,
        "useful_share": sum(asked) / len(asked), "useful_in_pool": sum(known.values()) / len(known),
        "stealer_accuracy": metrics.stealer_accuracy(stolen, test),
        "fidelity": metrics.fidelity(stolen, victim, test), "n_test": len(test),
    }  # fmt: skip


def jobs(progress: ProgressCallback) -> Jobs:
    """Yield one job for each theft."""
    for pool, seed, attack in product(POOLS, SEEDS, ("random", "adaptive")):
        yield f"{pool}-{attack}-{seed}", partial(row, pool, attack, seed)
