"""Every defense at three strengths on CIFAR-10: what it leaves to an honest client, and what to a thief.

    python -m experiments.defenses --weights FILE.npz [--method NAME] [--only EXPRESSION] [--utility]

The victim is the published ResNet-20. The thief asks 10,000 CIFAR-100 images and trains a ResNet-20, with
probabilities and with labels only; one seed. Rows go to results/defenses/ and results/defenses.jsonl; what is there is
not made again, so that several runs, two side by side too, may share the work. Thieves who saw the same answers are
trained once.
"""

import argparse
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from feint import data, victims
from feint.attacks import HardLabels, KnockoffNets
from feint.bench.demo import SETTINGS
from feint.bench.matrix import Matrix
from feint.cli.terminal import bars
from feint.data import Dataset, Split
from feint.defenses.inputs import APMSA, JPEG, BitDepth, Blur, Input, InputLaundering, RandomResize
from feint.defenses.outputs import (
    APGP,
    GRAD2,
    MAD,
    AdaptiveMisinformation,
    APGPClosedForm,
    Gated,
    GaussianNoise,
    HighConfidence,
    InformationLaundering,
    LabelOnly,
    MADArgmax,
    ModelGuardS,
    ModelGuardW,
    Output,
    ReverseSigmoid,
    Rounding,
    Temperature,
    TopK,
    UniformNoise,
)
from feint.evaluation import jsonl
from feint.models import networks
from feint.models.networks import Classifier
from feint.models.training import Training
from feint.progress import ProgressCallback
from feint.service import Defense

ROOT = Path(__file__).parents[1]

KEY = "an experiment's, not a secret"

Steps = dict[str, Any]  # the same method, from gentle to harsh


def methods(victim: Classifier, images: Dataset, progress: ProgressCallback) -> dict[str, Callable[[], Steps]]:
    """Every method by name; made when it is asked for, since some of them learn."""
    few, outliers = images.train.share(0, 10), data.load("gtsrb").train.share(0, 10)

    def fitted(recipe: Any, inputs: Split = few) -> Any:
        return recipe.fit(victim, inputs, outliers=outliers, progress=progress)

    def poisoned(method: Any, *epsilons: float) -> Steps:
        drawn = fitted(method)  # the strength plays no part in what is learned
        return {f"ε {it}": replace(drawn, epsilon=it) for it in epsilons}

    def misled() -> Steps:
        misinformation = fitted(AdaptiveMisinformation(training=Training(epochs=4, learning_rate=0.01)))
        return {f"τ {it}": replace(misinformation, tau=it) for it in (0.5, 0.7, 0.9)}

    def gated(harsh: Any) -> Steps:
        held_out = images.test.share(0, 2)
        return {f"share {it}": fitted(Gated(harsh, share=it), held_out) for it in (0.01, 0.05, 0.2)}

    return {
        "none": lambda: {"": ()},
        "label only": lambda: {"": LabelOnly()},
        "reverse sigmoid": lambda: {
            "β 0.21, γ 0.2": ReverseSigmoid(0.21, 0.2),
            "β 1, γ 0.1": ReverseSigmoid(1.0, 0.1),
            "β 1, γ 0.4": ReverseSigmoid(1.0, 0.4),
        },
        "MAD": lambda: poisoned(MAD(), 0.5, 0.9, 1.0),  # from 1.0 on the label of a sure answer is lost
        "MAD-argmax": lambda: poisoned(MADArgmax(), 0.5, 1.0, 2.0),
        "GRAD²": lambda: poisoned(GRAD2(), 0.5, 0.9, 1.0),
        "GRAD², label kept": lambda: poisoned(GRAD2(keep_label=True), 0.5, 1.0, 2.0),
        "ModelGuard-W": lambda: {f"ε {it}": ModelGuardW(it) for it in (0.5, 1.0, 2.0)},
        "ModelGuard-S": lambda: {f"ε {it}": ModelGuardS(it) for it in (0.5, 1.0, 2.0)},
        "adaptive misinformation": misled,
        "APGP top-1": lambda: {f"ε {it}": fitted(APGP(top=1, epsilon=it)) for it in (0.5, 1.0, 2.0)},
        "APGP all-order": lambda: {f"ε {it}": fitted(APGP(epsilon=it)) for it in (0.5, 1.0, 2.0)},
        "APGP top-1 behind an energy gate": lambda: gated(APGPClosedForm(top=1)),
        "information laundering": lambda: {f"price {it}": fitted(InformationLaundering(it)) for it in (0.2, 0.5, 0.8)},
        "Gaussian noise": lambda: {f"scale {it}": GaussianNoise(KEY, it) for it in (0.05, 0.2, 0.5)},
        "uniform noise": lambda: {f"scale {it}": UniformNoise(KEY, it) for it in (0.1, 0.3, 1.0)},
        "temperature": lambda: {f"T {it}": Temperature(it) for it in (2.0, 5.0, 20.0)},
        "rounding": lambda: {f"{it} decimals": Rounding(it) for it in (3, 2, 1)},
        "top-k": lambda: {f"k {it}": TopK(it) for it in (5, 3, 2)},
        "high confidence": lambda: {f"threshold {it}": HighConfidence(it) for it in (0.1, 0.25, 0.5)},
        "APMSA": lambda: {"": APMSA()},
        "JPEG": lambda: {f"quality {it}": JPEG(it) for it in (90, 75, 50)},
        "bit depth": lambda: {f"{it} bits": BitDepth(it) for it in (5, 4, 3)},
        "blur": lambda: {f"σ {it}": Blur(it) for it in (0.4, 0.5, 0.7)},
        "random resize": lambda: {f"least {it}": RandomResize(KEY, it) for it in (0.95, 0.9, 0.85)},
        "input laundering": lambda: {f"price {it}": fitted(InputLaundering(KEY, price=it)) for it in (0.02, 0.05, 0.1)},
    }


def line(step: Any) -> Defense:
    """The step in its place."""
    if isinstance(step, Input):
        return Defense(inputs=[step])
    return Defense(outputs=[step] if isinstance(step, Output) else [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="the published ResNet-20, an .npz file")
    parser.add_argument("--work", type=Path, default=Path("feint-experiments"), help="where trainings are kept")
    parser.add_argument("--method", help="one method, by its name in the table")
    parser.add_argument("--utility", action="store_true", help="what is left to an honest client only, no thefts")
    parser.add_argument("--only", default="", help="defenses whose name has a match for this expression")
    options = parser.parse_args()
    images = data.load("cifar10")
    network = networks.get("resnet20", images)
    victim = victims.load_published(options.weights, network)
    with bars() as progress:
        progress.folder = options.work / "trainings"
        chosen = methods(victim, images, progress)
        if options.method:
            chosen = {options.method: chosen[options.method]}
        steps = {f"{name}, {how}".rstrip(", "): step for name, make in chosen.items() for how, step in make().items()}
    made = {name: line(step) for name, step in steps.items() if re.search(options.only, name)}
    knockoff = KnockoffNets(images.pool, network, SETTINGS["cifar10"].surrogate)
    matrix = Matrix(
        victim,
        images.test,
        attacks={} if options.utility else {"probabilities": knockoff, "labels only": knockoff.through(HardLabels())},
        defenses=made,
        budgets=[10_000],
        seeds=[0],
    )
    with bars() as progress:
        progress.folder = options.work / "trainings"
        matrix.run(folder=ROOT / "results" / "defenses", progress=progress)
    jsonl.collect(ROOT / "results" / "defenses")


if __name__ == "__main__":
    main()
