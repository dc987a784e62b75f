"""What a theft enables: how many adversarial examples transfer to the service, and whose membership the copy betrays.

    python -m experiments.springboard [digits] [fashion_mnist] [--seeds N]

The victims are an MLP on digits and a LeNet on Fashion-MNIST, trained here; the thief's network is the victim's. He
asks images of the held-out part, 700 of digits and 10,000 of Fashion-MNIST, and believes the answers or reads labels
only. What the victim itself betrays, which no thief holds, stands beside it: the best that any copy could do. Rows go
to results/springboard/ and results/springboard.jsonl, the victims' own to files of lines named springboard_victims;
what is there is not made again.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch

from experiments.rows import keep
from feint import data, train
from feint.attacks import HardLabels, KnockoffNets
from feint.bench.demo import SETTINGS
from feint.bench.matrix import Matrix
from feint.cli.terminal import bars
from feint.data import Dataset
from feint.defenses.outputs import APGP, LabelOnly, ModelGuardW, ReverseSigmoid
from feint.evaluation import jsonl
from feint.evaluation.transfer import Springboard
from feint.models import networks
from feint.models.networks import Classifier
from feint.progress import ProgressCallback
from feint.service import Defense, Service

OUT = Path(__file__).parents[1] / "results" / "springboard"
VICTIMS = OUT.with_name("springboard_victims")
QUERIES = {"digits": 700, "fashion_mnist": 10_000}
RADIUS = {"digits": 32.0, "fashion_mnist": 16.0}  # of 255; digits have 17 levels of grey, 16 apart


def defenses(victim: Classifier, images: Dataset, progress: ProgressCallback) -> Mapping[str, Defense]:
    """The five that are compared."""
    return {
        "none": Defense(),
        "APGP top-1": Defense(outputs=[APGP(top=1).fit(victim, images.train, progress=progress)]),
        "label only": Defense(outputs=[LabelOnly()]),
        "reverse sigmoid": Defense(outputs=[ReverseSigmoid(beta=1.0, gamma=0.1)]),
        "ModelGuard-W": Defense(outputs=[ModelGuardW(1.0)]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(QUERIES), help="digits, fashion_mnist")
    parser.add_argument("--work", type=Path, default=Path("feint-experiments"), help="where trainings are kept")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with bars() as progress:
        progress.folder = options.work / "trainings"
        for name in options.names:
            images, setting = data.load(name), SETTINGS[name]
            network = networks.get(setting.network, images)
            victim = train(network, images.train, training=setting.victim, progress=progress)
            springboard = Springboard(images.train, radius=RADIUS[name])
            knockoff = KnockoffNets(images.pool, network, setting.surrogate)
            matrix = Matrix(
                victim,
                images.test,
                attacks={"as they are": knockoff, "labels only": knockoff.through(HardLabels())},
                defenses=defenses(victim, images, progress),
                budgets=[QUERIES[name]],
                seeds=range(options.seeds),
                name=name,
                springboard=springboard,
            )
            keep(
                VICTIMS,
                name,
                lambda of=(springboard, victim, images): of[0].scores(of[1], Service(of[1]), of[2].test),
                f"python -m experiments.springboard {name}",
            )
            matrix.run(folder=OUT, progress=progress)
    for folder in (OUT, VICTIMS):
        jsonl.collect(folder)


if __name__ == "__main__":
    main()
