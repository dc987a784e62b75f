"""What must hold where there is a GPU; skipped without one."""

import pickle
from dataclasses import replace

import pytest
import torch

from feint import Service
from feint.attacks import DFME, MAZE, ActiveThief, HardLabels, KnockoffNets, LoopConfig, SeedSamples
from feint.data import Split
from feint.defenses.inputs import APMSA
from feint.defenses.outputs import APGP, MADArgmax, ModelGuardW
from feint.models import training
from feint.models.networks import Network, default_device
from feint.models.perturbation import FGSM
from feint.models.training import Training, train
from feint.query import Query
from feint.service import Defense
from feint.victims import fingerprint, logits

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")]

NETWORK = Network("resnet20", (3, 32, 32), 10)
BRIEF = Training(epochs=2, batch_size=64, learning_rate=0.05, crop=4, flip=True)


@pytest.fixture(scope="module")
def pool():
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (600, 3, 32, 32), dtype=torch.uint8, generator=random)
    return Split.of(images.numpy(), torch.randint(0, 10, (600,), generator=random).numpy(), name="noise", part="train")


@pytest.fixture(scope="module")
def gpu_victim(pool):
    return train(NETWORK, pool, training=BRIEF)


def test_networks_live_on_the_gpu_and_answer_where_they_are_asked(gpu_victim, pool):
    assert next(gpu_victim.parameters()).device.type == default_device().type == "cuda"
    assert logits(gpu_victim, pool.inputs(slice(0, 5))).device.type == "cpu"
    assert gpu_victim(pool.inputs(slice(0, 5)).cuda()).device.type == "cuda"


def test_the_same_seed_gives_the_same_weights(gpu_victim, pool):
    assert fingerprint(train(NETWORK, pool, training=BRIEF)) == fingerprint(gpu_victim)


@pytest.mark.parametrize("rotation", [None, 1.0])
def test_recorded_passes_train_to_the_same_weights(pool, monkeypatch, rotation):
    recipe = replace(BRIEF, rotation=rotation, holdout=0.1)
    recorded = train(NETWORK, pool, training=recipe)
    monkeypatch.setattr(training, "Recorded", lambda passes, model: passes)
    assert fingerprint(train(NETWORK, pool, training=recipe)) == fingerprint(recorded)


def test_a_pickle_comes_to_life_here(gpu_victim, pool):
    again = pickle.loads(pickle.dumps(gpu_victim))
    assert fingerprint(again) == fingerprint(gpu_victim)
    assert next(again.parameters()).device.type == "cuda"
    assert not again.training


def test_a_gradient_reaches_inputs_elsewhere(gpu_victim, pool):
    x = pool.inputs(slice(0, 4)).requires_grad_()
    gpu_victim(x).sum().backward()
    assert x.grad is not None
    assert x.grad.device.type == "cpu"
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "defense",
    [
        Defense(inputs=[APMSA()]),
        Defense(outputs=[APGP(top=1)]),
        Defense(outputs=[MADArgmax(1.0)]),
        Defense(outputs=[ModelGuardW(1.0)]),
    ],
    ids=lambda defense: type((*defense.inputs, *defense.outputs)[0]).__name__,
)
def test_defenses_keep_the_label_in_batches_and_alone(gpu_victim, pool, defense):
    service = Service(gpu_victim, defense.fit(gpu_victim, pool))
    x = pool.inputs(slice(0, 200))
    p = service(Query(x)).p
    assert p.device.type == "cpu"
    assert torch.equal(p.argmax(-1), logits(gpu_victim, x).argmax(-1))
    alone = torch.cat([service(Query(row[None])).p for row in x[:20]])
    assert torch.equal(alone.argmax(-1), p[:20].argmax(-1))


FEW = LoopConfig(batch_size=16, latent=16, width=8)
ATTACKS = {
    "KnockoffNets": lambda pool: KnockoffNets(pool, NETWORK, BRIEF).through(HardLabels()),
    "SeedSamples": lambda pool: SeedSamples(pool, NETWORK, BRIEF, step=FGSM(8 / 255), chunk=100, between=BRIEF),
    "ActiveThief": lambda pool: ActiveThief(pool, NETWORK, BRIEF, rounds=2),
    "DFME": lambda pool: DFME(NETWORK, FEW),
    "MAZE": lambda pool: MAZE(NETWORK, FEW),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_steal_the_same_twice(gpu_victim, pool, name):
    stolen = [ATTACKS[name](pool).steal(Service(gpu_victim).oracle(client="attacker", budget=300)) for _ in range(2)]
    assert fingerprint(stolen[0]) == fingerprint(stolen[1])
    assert next(stolen[0].parameters()).device.type == "cuda"
