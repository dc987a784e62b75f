"""KnockoffNets and CopycatCNN beside those of ART.

Both send 5,000 queries to a Fashion-MNIST victim, and train the same network for the same epochs in the same batches.
Only their time is compared: Feint's learning rate rises and falls, while ART's is constant. ART's adaptive attack takes
5,000 steps on single images at this rate, and ended at chance.
"""

import functools
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.attacks.extraction import CopycatCNN as ArtCopycatCNN  # pyright: ignore[reportMissingImports]
from art.attacks.extraction import KnockoffNets as ArtKnockoffNets  # pyright: ignore[reportMissingImports]
from art.estimators.classification import PyTorchClassifier  # pyright: ignore[reportMissingImports]

import feint
from benchmarks.speed.clock import processor_seconds
from benchmarks.speed.vectors import PAIRS
from feint import Defense, Matrix, Service, Training
from feint.attacks import HardLabels, KnockoffNets, KnockoffNetsAdaptive, Lens
from feint.models.cache import cached_in

QUERIES, BATCH, RATE = 5000, 128, 0.05
Row = dict[str, str | float]
ArtAttack = Callable[..., Any]
ART_RANDOM = partial(ArtKnockoffNets, sampling_strategy="random", use_probability=True, verbose=False)
ART_ADAPTIVE = partial(ArtKnockoffNets, sampling_strategy="adaptive", use_probability=True, verbose=False)
ART_READS = {
    "as it is": ART_RANDOM,
    "labels only": partial(ArtKnockoffNets, sampling_strategy="random", use_probability=False, verbose=False),
}
Method = type[KnockoffNets] | type[KnockoffNetsAdaptive]
DEFENSES: dict[str, tuple[list[Any], list[Any]]] = {"none": ([], [])}  # and all output defenses of ART: ours, theirs
DEFENSES |= {name: ([ours], [theirs]) for name, (ours, theirs) in PAIRS.items() if theirs}


def lenet() -> list[Row]:
    """A network so small that the framework's own cost shows."""
    return compare("lenet", epochs=10, seeds=range(3))


def resnet20() -> list[Row]:
    """A network whose convolutions are what counts."""
    return compare("resnet20", epochs=3, seeds=range(1))


def copycat() -> list[Row]:
    """The same with labels only: CopycatCNN (Correia-Silva et al., IJCNN 2018) is KnockoffNets through HardLabels."""
    return compare("lenet", epochs=10, seeds=range(3), lenses=(HardLabels(),), art_attack=ArtCopycatCNN)


def adaptive() -> list[Row]:
    """The adaptive policies: a round of 64 queries at a time, and one query at a time."""
    return compare("lenet", epochs=10, seeds=range(1), method=KnockoffNetsAdaptive, art_attack=ART_ADAPTIVE)


def cells() -> list[Row]:
    """A matrix: every defense, read as it is and by its labels. Feint trains once where two attackers read the same."""
    torch.set_num_threads(1)  # processor time counts the waiting of threads, too
    victim, images = victim_and_data()
    network = feint.models.networks.get("lenet", images)
    knockoff = KnockoffNets(images.pool, network, Training(epochs=10, batch_size=BATCH, learning_rate=RATE))
    matrix = Matrix(
        victim,
        images.test,
        attacks={"as it is": knockoff, "labels only": knockoff.through(HardLabels())},
        defenses={name: Defense(outputs=it) for name, (it, _) in DEFENSES.items()},
        budgets=[QUERIES],
        seeds=[0],
    )
    thefts = [cell for cell in matrix.cells() if cell.attack]
    with tempfile.TemporaryDirectory() as folder, cached_in(Path(folder)):
        ours, rows = processor_seconds(lambda: [matrix.row(cell) for cell in thefts])
    told = [("Feint", ours, [row.scores["stealer_accuracy"] for row in rows])]
    for tool, layout in (("ART 1.20.1", torch.contiguous_format), ("ART 1.20.1, channels last", torch.channels_last)):
        theirs, shares = 0.0, list[float]()
        for cell in thefts:
            attack, after = ART_READS[cell.attack], DEFENSES[cell.defense][1]
            seconds, surrogate, _ = art(victim, network, images, 10, 0, attack, after=after, layout=layout)
            judging, share = processor_seconds(partial(feint.metrics.stealer_accuracy, surrogate, images.test))
            theirs += seconds + judging
            shares.append(share)
        told.append((tool, theirs, shares))
    return [
        {"tool": tool, "cells": len(thefts), "cpu_seconds": seconds, "stealer_accuracy": float(np.mean(shares))}
        for tool, seconds, shares in told
    ]


@functools.cache
def victim_and_data():
    """Return the trained victim and its data set."""
    images = feint.data.load("fashion_mnist")
    network = feint.models.networks.get("lenet", images)
    return feint.train(network, images.train, training=Training(epochs=5, learning_rate=RATE)), images


def compare(
    name: str,
    *,
    epochs: int,
    seeds: range,
    method: Method = KnockoffNets,
    lenses: tuple[Lens, ...] = (),
    art_attack: ArtAttack = ART_RANDOM,
) -> list[Row]:
    """Processor seconds, accuracy of the surrogate and queries counted at the victim, one row for each run."""
    torch.set_num_threads(2)
    victim, images = victim_and_data()
    network = feint.models.networks.get(name, images)
    measured: list[Row] = []
    for seed in seeds:
        thefts = {"Feint": partial(ours, victim, network, images, epochs, seed, method, lenses)}
        thefts["ART 1.20.1"] = partial(art, victim, network, images, epochs, seed, art_attack)
        for tool, theft in thefts.items():
            seconds, surrogate, asked = theft()
            accuracy = feint.metrics.stealer_accuracy(surrogate, images.test)
            measured.append(
                {"tool": tool, "network": name, "epochs": epochs, "seed": seed, "asked": asked}
                | {"cpu_seconds": seconds, "stealer_accuracy": accuracy}
            )
    return measured


def ours(victim, network, images, epochs: int, seed: int, method: Method, lenses: tuple[Lens, ...]):
    """The theft with Feint."""
    service = Service(victim)
    oracle = service.oracle(client="attacker", budget=QUERIES)
    attack = method(images.pool, network, Training(epochs=epochs, batch_size=BATCH, learning_rate=RATE))
    seconds, surrogate = processor_seconds(partial(attack.through(*lenses).steal, oracle, seed=seed))
    return seconds, surrogate, service.ledger["attacker"].queries


class Counted(torch.nn.Module):
    """The victim as ART asks it: probabilities, every row counted."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model, self.asked = model, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.asked += len(x)
        return self.model(x).softmax(-1)


def art(
    victim,
    network,
    images,
    epochs: int,
    seed: int,
    attack: ArtAttack,
    after: Sequence[Any] = (),
    layout: torch.memory_format = torch.contiguous_format,
):
    """Run the same theft with ART, on a victim behind the output defenses `after`.

    The surrogate has torch's own `layout` in memory, as in any script; Feint's networks have their channels last.

    Returns:
        Seconds of processor time, the surrogate, and the number of queries.
    """
    np.random.seed(seed)
    torch.manual_seed(seed)
    counted = Counted(victim)

    def classifier(model, **more):
        return PyTorchClassifier(
            model,
            torch.nn.CrossEntropyLoss(),
            images.shape,
            network.classes,
            clip_values=(0, 1),
            device_type="cpu",
            **more,
        )

    surrogate = network.build(seed).to(memory_format=layout)
    optimizer = torch.optim.SGD(surrogate.parameters(), lr=RATE, momentum=0.9, weight_decay=5e-4, nesterov=True)
    defended = classifier(counted, postprocessing_defences=list(after))
    attacker = attack(defended, batch_size_fit=BATCH, batch_size_query=256, nb_epochs=epochs, nb_stolen=QUERIES)
    pool, labels = images.pool.inputs().numpy(), images.pool.labels.numpy()  # its labels are what adaptive ones draw
    seconds, _ = processor_seconds(
        lambda: attacker.extract(pool, labels, thieved_classifier=classifier(surrogate, optimizer=optimizer))
    )
    return seconds, surrogate, counted.asked
