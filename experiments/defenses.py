"""Every defense at three strengths on CIFAR-10: what it leaves to an honest client, and what to a thief.

    python -m experiments.defenses --weights FILE.npz [--only EXPRESSION] [--utility]

The victim is the published ResNet-20. The thief asks 10,000 CIFAR-100 images and trains a ResNet-20, with
probabilities and with labels only; one seed. Rows go to results/defenses/; what is there is not made again, so that
several runs, two side by side too, may share the work. Thieves who saw the same answers are trained once.
"""

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from feint import data, networks, victims
from feint.attacks import HardLabels, KnockoffNets
from feint.data import Dataset
from feint.defenses.outputs import (
    APGPClosedForm,
    HighConfidence,
    LabelOnly,
    ModelGuardS,
    ModelGuardW,
    Output,
    ReverseSigmoid,
    Rounding,
    Temperature,
    TopK,
)
from feint.demo import SETTINGS
from feint.evaluation.matrix import Matrix
from feint.networks import Classifier
from feint.progress import bars
from feint.service import Defense

ROOT = Path(__file__).parents[1]

Made = dict[str, Defense]


def outputs(victim: Classifier, images: Dataset) -> Made:
    """Output defenses that need no fitting, each from gentle to harsh."""
    methods: dict[str, Sequence[Output]] = {
        "label only": [LabelOnly()],
        "reverse sigmoid": [ReverseSigmoid(0.21, 0.2), ReverseSigmoid(1.0, 0.1), ReverseSigmoid(1.0, 0.4)],
        "ModelGuard-W": [ModelGuardW(epsilon) for epsilon in (0.5, 1.0, 2.0)],
        "ModelGuard-S": [ModelGuardS(epsilon) for epsilon in (0.5, 1.0, 2.0)],
        "APGP top-1, closed form": [APGPClosedForm(top=1, strength=it) for it in (0.25, 0.5, 1.0)],
        "APGP all-order, closed form": [APGPClosedForm(strength=it) for it in (0.25, 0.5, 1.0)],
        "temperature": [Temperature(it) for it in (2.0, 5.0, 20.0)],
        "rounding": [Rounding(3), Rounding(2), Rounding(1)],
        "top-k": [TopK(5), TopK(3), TopK(2)],
        "high confidence": [HighConfidence(it) for it in (0.1, 0.25, 0.5)],
    }
    made = {f"{name}: {step}": Defense(outputs=[step]) for name, steps in methods.items() for step in steps}
    return {"none": Defense(), **made}


ROOMS: list[Callable[[Classifier, Dataset], Made]] = [outputs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="the published ResNet-20, an .npz file")
    parser.add_argument("--work", type=Path, default=Path("feint-experiments"), help="where trainings are kept")
    parser.add_argument("--utility", action="store_true", help="what is left to an honest client only, no thefts")
    parser.add_argument("--only", default="", help="defenses whose name has a match for this expression")
    options = parser.parse_args()
    images = data.load("cifar10")
    network = networks.get("resnet20", images)
    victim = victims.load_published(options.weights, network)
    made = {name: it for room in ROOMS for name, it in room(victim, images).items() if re.search(options.only, name)}
    knockoff = KnockoffNets(images.pool, network, SETTINGS["cifar10"].surrogate)
    matrix = Matrix(
        victim,
        images.test,
        attacks={} if options.utility else {"probabilities": knockoff, "labels only": knockoff.through(HardLabels())},
        defenses=made,
        budgets=[10_000],
        seeds=[0],
    )
    with bars() as watch:
        watch.folder = options.work / "trainings"
        matrix.run(folder=ROOT / "results" / "defenses", watch=watch)


if __name__ == "__main__":
    main()
