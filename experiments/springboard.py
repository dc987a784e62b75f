"""What a theft enables: how many adversarial examples transfer to the service, and whose membership the copy betrays.

    python -m experiments.springboard [digits] [fashion_mnist] [--seeds N]

The victims are an MLP on digits and a LeNet on Fashion-MNIST, trained here; the thief's network is the victim's. He
asks images of the held-out part, 700 of digits and 10,000 of Fashion-MNIST, and believes the answers or reads labels
only. What the victim itself betrays, which no thief holds, stands beside it: the best that any copy could do. Rows go
to results/springboard/; what is there is not made again.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch

from experiments.rows import keep
from feint import data, networks, train
from feint.attacks import HardLabels, KnockoffNets
from feint.data import Dataset
from feint.defenses.outputs import APGP, LabelOnly, ModelGuardW, ReverseSigmoid
from feint.demo import SETTINGS
from feint.evaluation.matrix import Matrix
from feint.evaluation.springboard import Springboard
from feint.networks import Classifier
from feint.progress import bars
from feint.service import Defense, Service
from feint.watch import Watch

OUT = Path(__file__).parents[1] / "results" / "springboard"
QUERIES = {"digits": 700, "fashion_mnist": 10_000}
RADIUS = {"digits": 32.0, "fashion_mnist": 16.0}  # of 255; digits have 17 levels of grey, 16 apart


def defenses(victim: Classifier, images: Dataset, watch: Watch) -> Mapping[str, Defense]:
    """The five that are compared."""
    return {
        "none": Defense(),
        "APGP top-1": Defense(outputs=[APGP(top=1).fit(victim, images.train, watch=watch)]),
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
    with bars() as watch:
        watch.folder = options.work / "trainings"
        for name in options.names:
            images, setting = data.load(name), SETTINGS[name]
            network = networks.get(setting.network, images)
            victim = train(network, images.train, training=setting.victim, watch=watch)
            springboard = Springboard(images.train, radius=RADIUS[name])
            knockoff = KnockoffNets(images.pool, network, setting.surrogate)
            matrix = Matrix(
                victim,
                images.test,
                attacks={"as they are": knockoff, "labels only": knockoff.through(HardLabels())},
                defenses=defenses(victim, images, watch),
                budgets=[QUERIES[name]],
                seeds=range(options.seeds),
                springboard=springboard,
            )
            keep(
                OUT / "victims",
                name,
                lambda of=(springboard, victim, images): of[0].scores(of[1], Service(of[1]), of[2].test),
                f"python -m experiments.springboard {name}",
            )
            matrix.run(folder=OUT / name, watch=watch)


if __name__ == "__main__":
    main()
