"""Every lens against eight defenses on CIFAR-10: which way of looking at the answers wins against which defense.

    python -m experiments.lenses --weights FILE.npz [--defense EXPRESSION] [--lens EXPRESSION] [--only EXPRESSION]

The victim is the published ResNet-20. The thief has 2,500 queries in all, asks CIFAR-100 images and trains a ResNet-20;
one seed. Lenses that repeat a query pay for it from the same 2,500. Rows go to results/lenses/ and
results/lenses.jsonl; what is there is not made again, so that several runs, two side by side too, may share the work.
Thieves who read the same are trained once.
The first rows are the most telling: answers as they are, labels, then the lens that was made for each defense.
"""

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from feint import data, victims
from feint.attacks import (
    Averaged,
    HardLabels,
    KnockoffNets,
    KnownParameters,
    Lens,
    PartialBayes,
    PartialBayesBound,
    RankTargets,
    Recovered,
    Sharpened,
    Smoothed,
    Timing,
)
from feint.bench.demo import SETTINGS
from feint.bench.matrix import Matrix
from feint.cli.terminal import bars
from feint.data import Dataset
from feint.defenses.inputs import APMSA
from feint.defenses.outputs import (
    APGP,
    MAD,
    AdaptiveMisinformation,
    MADArgmax,
    ModelGuardS,
    ModelGuardW,
    ReverseSigmoid,
)
from feint.evaluation import jsonl
from feint.evaluation.results import Cell, Results
from feint.models import networks
from feint.models.networks import Classifier
from feint.models.training import Training
from feint.progress import ProgressCallback
from feint.service import Defense, SuspectedDefense
from feint.victims import Trained

OUT = Path(__file__).parents[1] / "results" / "lenses"
QUERIES = 2500
DEFENSES = (
    "none",
    "reverse sigmoid",
    "APGP top-1",
    "APGP all-order",
    "APMSA",
    "ModelGuard-W",
    "ModelGuard-S",
    "MAD-argmax",
    "MAD",
    "adaptive misinformation",
)
SIGMOID = ReverseSigmoid(beta=1.0, gamma=0.1)
LEARNED = "generator", "surrogate", "misinformation"  # the fields of the methods here that hold what they learn
BRIEF = Training(epochs=4, learning_rate=0.01)
MADE_FOR = {
    "reverse sigmoid": ("known parameters",),
    "APGP top-1": ("sharpened, T 0.01",),
    "APGP all-order": ("rank targets",),
    "APMSA": ("timing", "sharpened, T 0.1"),
    "MAD": ("averaged over 3",),
    "adaptive misinformation": ("smoothed over 3",),
}


@dataclass(frozen=True)
class Theft:
    """Who is attacked, and what the thief owns."""

    victim: Classifier
    images: Dataset
    training: Training

    @property
    def knockoff(self) -> KnockoffNets:
        return KnockoffNets(self.images.pool, self.victim.network, self.training)

    def defense(self, name: str, progress: ProgressCallback) -> Defense:
        """The defense of this name, fitted to the victim."""
        few, outliers = self.images.train.share(0, 10), data.load("gtsrb").train.share(0, 10)

        def fitted(recipe: Any) -> Defense:
            return Defense(outputs=[recipe.fit(self.victim, few, outliers=outliers, progress=progress)])

        made: Mapping[str, Callable[[], Defense]] = {
            "none": Defense,
            "reverse sigmoid": lambda: Defense(outputs=[SIGMOID]),
            "APGP top-1": lambda: fitted(APGP(top=1)),
            "APGP all-order": lambda: fitted(APGP()),
            "APMSA": lambda: Defense(inputs=[APMSA()]),
            "ModelGuard-W": lambda: Defense(outputs=[ModelGuardW(1.0)]),
            "ModelGuard-S": lambda: Defense(outputs=[ModelGuardS(1.0)]),
            "MAD-argmax": lambda: fitted(MADArgmax(1.0)),
            "MAD": lambda: fitted(MAD(0.9)),  # from 1.0 on the label of a sure answer is lost
            "adaptive misinformation": lambda: fitted(AdaptiveMisinformation(0.7, training=BRIEF)),
        }
        return made[name]()

    def lenses(self, defense: Defense) -> dict[str, tuple[Lens, ...]]:
        """All ways to look at the answers of `defense`, by name."""
        pool, network = self.images.pool, self.victim.network
        suspected, known = SuspectedDefense(unfitted(defense)), SuspectedDefense(defense, leaked=True)
        brief = replace(self.training, epochs=10, least_steps=0)
        ways: dict[str, tuple[Lens, ...]] = {
            "as they are": (),
            "labels only": (HardLabels(),),
            "known parameters": (KnownParameters(SIGMOID),),
            "timing": (Timing(),),
            "recovered": (Recovered(suspected, pool, network, brief, first=QUERIES, pairs=10_000),),
            "partial Bayes": (PartialBayes(suspected, pool, network, brief, first=QUERIES, samples=10),),
            "partial Bayes, published": (PartialBayesBound(known, Trained.of(self.victim), first=QUERIES, samples=10),),
            "sharpened, T 0.1": (Sharpened(0.1),),
            "sharpened, T 0.01": (Sharpened(0.01),),
            "rank targets": (RankTargets(),),
            "averaged over 3": (Averaged(3),),
            "smoothed over 3": (Smoothed(3),),
            "smoothed over 3, labels only": (HardLabels(), Smoothed(3)),
        }
        if defense.outputs[:1] != (SIGMOID,):
            del ways["known parameters"]  # what is not a map of single probabilities
        if not defense.inputs:
            del ways["timing"]  # what takes every answer as long
        if not (defense.inputs or defense.outputs):
            return {name: ways[name] for name in ("as they are", "labels only", "smoothed over 3")}
        if defense.inputs:  # no clean answer tells what becomes of it
            return {name: way for name, way in ways.items() if not name.startswith("partial Bayes")}
        return ways

    def matrix(self, name: str, progress: ProgressCallback) -> Matrix:
        """Every lens against the defense of this name."""
        defense = self.defense(name, progress)
        attacks = {
            title: self.knockoff.through(*lenses) if lenses else self.knockoff
            for title, lenses in self.lenses(defense).items()
        }
        return Matrix(
            self.victim, self.images.test, attacks=attacks, defenses={name: defense}, budgets=[QUERIES], seeds=[0]
        )


def unfitted(defense: Defense) -> Defense:
    """The defense as a recipe: what the attacker knows of it before he fits its parts himself."""

    def emptied(step: Any) -> Any:
        return replace(step, **{field.name: None for field in fields(step) if field.name in LEARNED})

    return replace(defense, outputs=[emptied(step) for step in defense.outputs])


def soon(matrix: Matrix, cell: Cell) -> int:
    """Which cells are run first: those with the smallest number."""
    place = list(matrix.attacks[cell.defense]).index(cell.attack)
    return 1 if cell.attack in MADE_FOR.get(cell.defense, ()) else place


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="the published ResNet-20, an .npz file")
    parser.add_argument("--work", type=Path, default=Path("feint-experiments"), help="where trainings are kept")
    parser.add_argument("--defense", default="", help="defenses whose name has a match for this expression")
    parser.add_argument("--lens", default="", help="lenses whose name has a match for this expression")
    parser.add_argument("--only", default="", help="rows whose “defense, lens” has a match for this expression")
    options = parser.parse_args()
    images = data.load("cifar10")
    victim = victims.load_published(options.weights, networks.get("resnet20", images))
    theft = Theft(victim, images, replace(SETTINGS["cifar10"].surrogate, batch_size=64))
    with bars() as progress:
        progress.folder = options.work / "trainings"
        names = [name for name in DEFENSES if re.search(options.defense, name)]
        matrices = [theft.matrix(name, progress) for name in names]
        cells = [
            (matrix, cell)
            for matrix in matrices
            for cell in matrix.cells()
            if re.search(options.lens, cell.attack) and re.search(options.only, f"{cell.defense}, {cell.attack}")
        ]
        cells = sorted([it for it in cells if it[1].attack], key=lambda it: soon(*it))
        for done, (matrix, cell) in enumerate(cells):
            progress.step("lenses", done, len(cells))
            if matrix.fingerprint(cell) not in Results.load(OUT):  # another run may have made it by now
                Results().add(matrix.row(cell, progress=progress), OUT)
        progress.step("lenses", len(cells), len(cells))
    jsonl.collect(OUT)


if __name__ == "__main__":
    main()
