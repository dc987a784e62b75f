"""KnockoffNets adaptive beside random, on pools of which most classes are of no use to the attacker.

No suite: the pool is put together of two sets, and a row says where the queries went.

The victim is the published CIFAR-10 ResNet-20; LeNets are trained on 5,000 answers. The pools: CIFAR-100 in its 20
superclasses, and CIFAR-100's five superclasses of vehicles and large animals with the 43 traffic signs of GTSRB, each
a group of its own.
"""

import time
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import torch

from benchmarks.tables.rows import Jobs, Row, published_resnet20
from feint import Service, data
from feint.attacks import Attack, KnockoffNets, KnockoffNetsAdaptive
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
DECAYS = 0.5, 0.6, 0.7, 0.8, 1.0
BEGINNINGS = ("natural", True), ("signs", False), ("signs", True)  # on `natural`, whose groups are equal, both are one
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
    inputs, hierarchy, _ = chosen = POOLS[pool]()
    surrogate = networks.get("lenet", data.load("cifar10"))
    attacks = {
        "random": KnockoffNets(inputs, surrogate, TRAINING),
        "adaptive": KnockoffNetsAdaptive(inputs, surrogate, TRAINING, hierarchy),
    }
    return {"pool": pool, "attack": attack, "seed": seed} | _theft(attacks[attack], chosen, seed)


def choice(pool: str, decay: float, proportional: bool, seed: int) -> Row:
    """Where the queries of a policy go. The surrogate, which has no part in that, sees them once."""
    inputs, hierarchy, _ = chosen = POOLS[pool]()
    surrogate = networks.get("lenet", data.load("cifar10"))
    attack = KnockoffNetsAdaptive(
        inputs, surrogate, replace(TRAINING, epochs=1), hierarchy, decay=decay, proportional=proportional
    )
    about = {"pool": pool, "attack": "choice", "decay": decay, "proportional": proportional, "seed": seed}
    return about | _theft(attack, chosen, seed)


def _theft(attack: Attack, pool: Pool, seed: int) -> Row:
    """Return where the queries of `attack` go, what they bring, and what they cost."""
    inputs, hierarchy, useful = pool
    victim, test = published_resnet20(), data.load("cifar10").test
    oracle, started = Service(victim).oracle(client="attacker", budget=BUDGET), time.process_time()
    stolen = attack.steal(oracle, seed=seed)
    seconds = time.process_time() - started
    groups = torch.tensor(hierarchy)[inputs.labels].tolist()
    known = dict(zip(checksums(inputs.inputs()).tolist(), groups, strict=True))
    asked = torch.tensor([known[it] for it in checksums(oracle.transcript.x).tolist()])
    shares = asked[asked < useful].bincount().double() / (asked < useful).sum()
    return {
        "asked": oracle.asked, "cpu_seconds": seconds,
        "useful_share": (asked < useful).double().mean().item(),
        "useful_groups": torch.special.entr(shares).sum().exp().item(),  # how many are asked, evenly
        "useful_in_pool": sum(group < useful for group in known.values()) / len(known),
        "stealer_accuracy": metrics.stealer_accuracy(stolen, test),
        "fidelity": metrics.fidelity(stolen, victim, test), "n_test": len(test),
    }  # fmt: skip


def jobs(progress: ProgressCallback) -> Jobs:
    """Yield one job for each theft, and one for each policy."""
    for pool, seed, attack in product(POOLS, SEEDS, ("random", "adaptive")):
        yield f"{pool}-{attack}-{seed}", partial(row, pool, attack, seed)
    for decay, (pool, proportional), seed in product(DECAYS, BEGINNINGS, SEEDS):
        beginning = "proportional" if proportional else "uniform"
        yield f"{pool}-decay-{decay}-{beginning}-{seed}", partial(choice, pool, decay, proportional, seed)
