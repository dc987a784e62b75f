"""KnockoffNets beside that of ART: 5,000 queries to a Fashion-MNIST victim, same network, optimiser and epochs."""

import numpy as np
import torch
from art.attacks.extraction import KnockoffNets as ArtKnockoffNets
from art.estimators.classification import PyTorchClassifier

import feint
from benchmarks.clock import processor_seconds
from feint import Service, Training
from feint.attacks import KnockoffNets

QUERIES, EPOCHS, BATCH, RATE = 5000, 10, 128, 0.05


def compare(seeds: range = range(3)) -> list[dict[str, str | float]]:
    """Processor seconds, accuracy of the surrogate and queries counted at the victim, one row for each run."""
    torch.set_num_threads(2)
    images = feint.data.load("fashion_mnist")
    network = feint.networks.get("lenet", images)
    victim = feint.train(network, images.train, training=Training(epochs=5, learning_rate=RATE))
    recipe = Training(epochs=EPOCHS, batch_size=BATCH, learning_rate=RATE)
    measured: list[dict[str, str | float]] = []
    for seed in seeds:
        service = Service(victim)
        attack = KnockoffNets(images.pool, network, recipe)
        seconds, surrogate = processor_seconds(
            lambda attack=attack, service=service, seed=seed: attack.steal(
                service.oracle(client="thief", budget=QUERIES), seed=seed
            )
        )
        accuracy = feint.metrics.stealer_accuracy(surrogate, images.test)
        measured.append({"tool": "Feint", "seed": seed, "cpu_seconds": seconds, "stealer_accuracy": accuracy,
                         "asked": service.ledger["thief"].queries})  # fmt: skip
        seconds, surrogate, asked = art(victim, network, images, seed)
        accuracy = feint.metrics.stealer_accuracy(surrogate, images.test)
        measured.append({"tool": "ART 1.20.1", "seed": seed, "cpu_seconds": seconds, "stealer_accuracy": accuracy,
                         "asked": asked})  # fmt: skip
    return measured


class Counted(torch.nn.Module):
    """The victim as ART asks it: probabilities, every row counted."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model, self.asked = model, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.asked += len(x)
        return self.model(x).softmax(-1)


def art(victim, network, images, seed: int):
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
    thief = ArtKnockoffNets(
        classifier(counted), batch_size_fit=BATCH, batch_size_query=256, nb_epochs=EPOCHS, nb_stolen=QUERIES,
        sampling_strategy="random", use_probability=True, verbose=False,
    )  # fmt: skip
    pool = images.pool.inputs().numpy()
    seconds, _ = processor_seconds(
        lambda: thief.extract(pool, thieved_classifier=classifier(surrogate, optimizer=optimizer))
    )
    return seconds, surrogate, counted.asked
