"""Every attack on the same three undefended victims, with 1,000, 5,000 and 10,000 queries.

    python -m experiments.attacks [digits] [fashion_mnist] [cifar10 --weights FILE.npz] [--attack EXPRESSION] [--most N]

The victims are an MLP on digits, a LeNet on Fashion-MNIST and the published ResNet-20 on CIFAR-10; the thief's network
is the victim's. His images are Fashion-MNIST's for digits, scaled to 8×8 pixels, the held-out part for Fashion-MNIST
itself, and CIFAR-100's for CIFAR-10. Rows go to results/attacks/ and results/attacks.jsonl; what is there is not made
again, so that several runs, two side by side too, may share the work. Attacks on linear models and trees have
experiments/equations.py.
"""

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F

from feint import data, train, victims
from feint.attacks import (
    DFAL,
    DFME,
    DFMSHL,
    JBDA,
    MAZE,
    ActiveThief,
    Attack,
    AwayFromLabel,
    Evasive,
    HardLabels,
    KCentre,
    KnockoffNets,
    KnockoffNetsAdaptive,
    LoopConfig,
    NextClasses,
    RandomTargets,
    SeedSamples,
    Tuned,
)
from feint.bench.demo import SETTINGS
from feint.bench.matrix import Matrix
from feint.cli.terminal import bars
from feint.data import Dataset, Split
from feint.evaluation import jsonl
from feint.models import networks
from feint.models.networks import Classifier, Network
from feint.models.perturbation import CW, FGSM, PGD
from feint.models.training import Training
from feint.progress import ProgressCallback
from feint.service import Defense

OUT = Path(__file__).parents[1] / "results" / "attacks"
BUDGETS = 1000, 5000, 10_000
SEEDS = {"digits": 1, "fashion_mnist": 1, "cifar10": 1}


@dataclass(frozen=True)
class Theft:
    """Who is attacked, and what the thief owns."""

    victim: Classifier
    images: Dataset
    pool: Split
    training: Training

    def attacks(self) -> Mapping[str, Attack]:
        """All of them by name; those that go in rounds train briefly in all but the last."""
        network = self.victim.network
        common = {"pool": self.pool, "surrogate": network, "training": self.training}
        brief = {"between": replace(self.training, epochs=2, least_steps=60, learning_rate=0.01)}
        chunk = {"chunk": 500}  # half of the smallest budget: the first chunk is random
        knockoff = KnockoffNets(**common)
        few = LoopConfig(batch_size=32, latent=64, width=16)  # a few thousand queries are not many turns
        return {
            "KnockoffNets": knockoff,
            "KnockoffNets, labels only": knockoff.through(HardLabels()),
            "KnockoffNets, S4L": replace(knockoff, training=replace(self.training, rotation=1.0)),
            "KnockoffNets, adaptive": KnockoffNetsAdaptive(**common),
            "Tuned": Tuned(**common),
            "ActiveThief, uncertainty": ActiveThief(**common, rounds=4),
            "ActiveThief, k-centre": ActiveThief(**common, rounds=4, selection=KCentre()),
            "ActiveThief, DFAL": ActiveThief(**common, rounds=4, selection=DFAL(), among=5000),
            "Evasive": Evasive(**common),
            "FGSM": SeedSamples(**common, **brief, **chunk, step=FGSM(8 / 255)),
            "PGD": SeedSamples(**common, **brief, **chunk, step=PGD(2 / 255, 8 / 255), steps=10, start=8 / 255),
            "CW": SeedSamples(**common, **brief, **chunk, step=CW(0.01, weight=1.0), steps=30),
            "JBDA": JBDA(**common, **brief),
            "JBDA-TR": JBDA(**common, **brief, augmentation=RandomTargets()),
            "JBDA, away from the label": JBDA(**common, **brief, augmentation=AwayFromLabel()),
            "jb-top3": JBDA(**common, **brief, augmentation=NextClasses()),
            "DFME": DFME(network, few),
            "MAZE": MAZE(network, few),
            "DFMS-HL": DFMSHL(network, replace(few, surrogate_steps=1), start=500, warm_up=100),
        }


def small_fashion() -> Split:
    """Fashion-MNIST in 8×8 pixels: images that have nothing to do with digits."""
    pool = data.load("fashion_mnist").train
    small = F.interpolate(pool.inputs(), size=(8, 8), mode="area").mul(255).round().to(torch.uint8)
    return Split.of(small.numpy(), pool.arrays[1], name="fashion_mnist_8x8", part="train")


def theft(name: str, weights: Path | None, progress: ProgressCallback) -> Theft:
    """The setting `name`, its victim trained or loaded."""
    setting, images = SETTINGS[name], data.load(name)
    network: Network = networks.get(setting.network, images)
    if weights is not None:
        victim = victims.load_published(weights, network)
    else:
        victim = train(network, images.train, training=setting.victim, progress=progress)
    return Theft(victim, images, small_fashion() if name == "digits" else images.pool, setting.surrogate)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(SEEDS), help="digits, fashion_mnist, cifar10")
    parser.add_argument("--weights", type=Path, help="the published ResNet-20 for cifar10, an .npz file")
    parser.add_argument("--work", type=Path, default=Path("feint-experiments"), help="where trainings are kept")
    parser.add_argument("--attack", default="", help="attacks whose name has a match for this expression")
    parser.add_argument("--most", type=int, default=BUDGETS[-1], help="leave out larger budgets")
    options = parser.parse_args()
    with bars() as progress:
        for name in options.names:
            progress.folder = options.work / "trainings"
            setting = theft(name, options.weights if name == "cifar10" else None, progress)
            progress.folder = None  # from here on every second counts: no training is taken over from another theft
            chosen = {title: it for title, it in setting.attacks().items() if re.search(options.attack, title)}
            matrix = Matrix(
                setting.victim,
                setting.images.test,
                attacks=chosen,
                defenses={"none": Defense()},
                budgets=[budget for budget in BUDGETS if budget <= options.most],
                seeds=range(SEEDS[name]),
                name=name,
            )
            matrix.run(folder=OUT, progress=progress)
    jsonl.collect(OUT)


if __name__ == "__main__":
    main()
