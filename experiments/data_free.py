"""Thefts without any images: DFME, MAZE and DFMS-HL on two undefended victims that were trained here.

    python -m experiments.data_free [digits] [fashion_mnist] [--attack EXPRESSION] [--seeds N] [--most N]

The victims are an MLP on digits and a LeNet on Fashion-MNIST; the thief's network is the victim's, and he owns nothing
else. Small generators and batches, since two cores have minutes where the papers' GPUs had hours. Rows go to
results/data_free/ and results/data_free.jsonl; what is there is not made again.
"""

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

import torch

from feint import data, train
from feint.attacks import DFME, DFMSHL, MAZE, Attack, Differences, HalfCosine, LoopConfig
from feint.bench.demo import SETTINGS
from feint.bench.matrix import Matrix
from feint.cli.terminal import bars
from feint.evaluation import jsonl
from feint.models import networks
from feint.models.networks import Network
from feint.service import Defense

OUT = Path(__file__).parents[1] / "results" / "data_free"
BUDGETS = {"digits": (100_000, 500_000), "fashion_mnist": (150_000, 1_000_000, 5_000_000)}


def attacks(name: str, network: Network) -> Mapping[str, Attack]:
    """The three of them, with the sizes that were tried on this set."""
    common = {"latent": 64, "width": 16, "schedule": HalfCosine()}
    if name == "digits":
        return {
            "DFME": DFME(network, LoopConfig(128, latent=64, width=16)),
            "MAZE": MAZE(network, LoopConfig(64, replay_steps=10, **common)),
            "DFMS-HL": DFMSHL(
                network, LoopConfig(128, surrogate_steps=1, replay_steps=2, generator_rate=2e-4, **common)
            ),
        }
    slower = {"surrogate_rate": 0.02, "generator_rate": 5e-4, "replay_steps": 5}  # LeNet does not normalise
    labels = LoopConfig(128, surrogate_steps=1, replay_steps=4, surrogate_rate=0.03, generator_rate=2e-4, **common)
    return {
        "DFME": DFME(network, LoopConfig(128, **slower, **common)),
        "MAZE": MAZE(network, LoopConfig(64, **slower, **common), Differences(directions=1)),
        "DFMS-HL": DFMSHL(network, labels, start=30_000, warm_up=300),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(BUDGETS), help="digits, fashion_mnist")
    parser.add_argument("--work", type=Path, default=Path("feint-experiments"), help="where trainings are kept")
    parser.add_argument("--attack", default="", help="attacks whose name has a match for this expression")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--most", type=int, default=5_000_000, help="leave out larger budgets")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with bars() as progress:
        for name in options.names:
            images, setting = data.load(name), SETTINGS[name]
            network = networks.get(setting.network, images)
            progress.folder = options.work / "trainings"
            victim = train(network, images.train, training=setting.victim, progress=progress)
            progress.folder = None
            matrix = Matrix(
                victim,
                images.test,
                attacks={it: attack for it, attack in attacks(name, network).items() if re.search(options.attack, it)},
                defenses={"none": Defense()},
                budgets=[budget for budget in BUDGETS[name] if budget <= options.most],
                seeds=range(options.seeds),
                name=name,
            )
            matrix.run(folder=OUT, progress=progress)
    jsonl.collect(OUT)


if __name__ == "__main__":
    main()
