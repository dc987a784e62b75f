"""KnockoffNets and CopycatCNN beside those of ART: 5,000 queries to a Fashion-MNIST victim, with the same network,
optimiser and epochs."""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from art.attacks.extraction import CopycatCNN as ArtCopycatCNN
from art.attacks.extraction import KnockoffNets as ArtKnockoffNets
from art.estimators.classification import PyTorchClassifier

import feint
from benchmarks.clock import processor_seconds
from feint import Service, Training
from feint.attacks import HardLabels, KnockoffNets, KnockoffNetsAdaptive, Lens

QUERIES, BATCH, RATE = 5000, 128, 0.05
Row = dict[str, str | float]
ArtAttack = Callable[..., Any]
ART_RANDOM = partial(ArtKnockoffNets, sampling_strategy="random", use_probability=True, verbose=False)
ART_ADAPTIVE = partial(ArtKnockoffNets, sampling_strategy="adaptive", use_probability=True, verbose=False)
Method = type[KnockoffNets] | type[KnockoffNetsAdaptive]


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


@functools.cache
def victim_and_data():
    images = feint.data.load("fashion_mnist")
    network = feint.networks.get("lenet", images)
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
    network = feint.networks.get(name, images)
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
    oracle = service.oracle(client="thief", budget=QUERIES)
    attack = method(images.pool, network, Training(epochs=epochs, batch_size=BATCH, learning_rate=RATE))
    seconds, surrogate = processor_seconds(partial(attack.through(*lenses).steal, oracle, seed=seed))
    return seconds, surrogate, service.ledger["thief"].queries


class Counted(torch.nn.Module):
    """The victim as ART asks it: probabilities, every row counted."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model, self.asked = model, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.asked += len(x)
        return self.model(x).softmax(-1)


def art(victim, network, images, epochs: int, seed: int, attack: ArtAttack):
    """The same theft with ART."""
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

    surrogate = network.build(seed)
    optimizer = torch.optim.SGD(surrogate.parameters(), lr=RATE, momentum=0.9, weight_decay=5e-4, nesterov=True)
    thief = attack(classifier(counted), batch_size_fit=BATCH, batch_size_query=256, nb_epochs=epochs, nb_stolen=QUERIES)
    pool, labels = images.pool.inputs().numpy(), images.pool.labels.numpy()  # its labels are what adaptive ones draw
    seconds, _ = processor_seconds(
        lambda: thief.extract(pool, labels, thieved_classifier=classifier(surrogate, optimizer=optimizer))
    )
    return seconds, surrogate, counted.asked
