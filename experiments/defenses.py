"""Every defense at three strengths on CIFAR-10: what it leaves to an honest client, and what to a thief.

    python -m experiments.defenses --weights FILE.npz [--half 0|1] [--only WORD]

The victim is the published ResNet-20. The thief asks 10,000 CIFAR-100 images and trains a ResNet-20 for 8 epochs, with
probabilities and with labels only; one seed. Rows go to results/defenses/; what is there is not made again, so that
several runs, and two halves side by side, may share the work.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from feint import data, networks, victims
from feint.attacks import HardLabels, KnockoffNets
from feint.data import Dataset
from feint.defenses.outputs import APGPClosedForm
from feint.evaluation.matrix import Matrix
from feint.networks import Classifier
from feint.progress import bars
from feint.service import Defense
from feint.training import Training

ROOT = Path(__file__).parents[1]
THIEF = Training(epochs=8, batch_size=32, learning_rate=0.05, crop=4, flip=True)

Made = dict[str, Defense]


def outputs(victim: Classifier, images: Dataset) -> Made:
    """Output defenses, from gentle to harsh."""
    recipes = {
        "none": [],
        **{f"APGPClosedForm top-1, strength {s}": [APGPClosedForm(top=1, strength=s)] for s in (0.25, 0.5, 1.0)},
        **{f"APGPClosedForm all-order, strength {s}": [APGPClosedForm(strength=s)] for s in (0.25, 0.5, 1.0)},
    }
    return {name: Defense(outputs=steps) for name, steps in recipes.items()}


ROOMS: list[Callable[[Classifier, Dataset], Made]] = [outputs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="the published ResNet-20, an .npz file")
    parser.add_argument("--work", type=Path, default=Path("feint-experiments"), help="where trainings are kept")
    parser.add_argument("--half", type=int, choices=(0, 1), help="every second defense only, for two processes")
    parser.add_argument("--only", default="", help="defenses whose name holds this word")
    options = parser.parse_args()
    images = data.load("cifar10")
    network = networks.get("resnet20", images)
    victim = victims.load_published(options.weights, network)
    made = {name: it for room in ROOMS for name, it in room(victim, images).items() if options.only in name}
    if options.half is not None:
        made = dict(list(made.items())[options.half :: 2])
    knockoff = KnockoffNets(images.pool, network, THIEF)
    matrix = Matrix(
        victim,
        images.test,
        attacks={"probabilities": knockoff, "labels only": knockoff.through(HardLabels())},
        defenses=made,
        budgets=[10_000],
        seeds=[0],
    )
    with bars() as watch:
        watch.folder = options.work / "trainings"
        matrix.run(folder=ROOT / "results" / "defenses", watch=watch)


if __name__ == "__main__":
    main()
