"""DFME's and MAZE's turns beside direct ports of the published loops: same networks, batches and optimisers.

The ports ask the victim's module directly, with nothing in between, once for every direction; ours asks through an
oracle that counts, checks and keeps a transcript.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.speed.clock import processor_seconds
from feint import Service
from feint.attacks import DFME, MAZE, Differences, HalfCosine, LoopConfig
from feint.attacks.data_free.generators import ImageGenerator, squash
from feint.models.networks import Network
from feint.signature import Pixels

NETWORK = Network("lenet", Pixels((1, 28, 28)), 10)
TURNS, REPEATS = 10, 3
DFME_GAME = LoopConfig(256, latent=64, width=8)
MAZE_GAME = LoopConfig(128, replay_steps=10, latent=64, width=8, schedule=HalfCosine())
Row = dict[str, str | float]
Loss = Callable[[Tensor, Tensor], Tensor]


def speed() -> list[Row]:
    """Turns in a second of processor time: the most of a few runs of each, taking turns."""
    torch.set_num_threads(1)
    victim = NETWORK.build(seed=1).eval()
    tens = Differences(directions=10)
    jobs = {
        ("DFME", "Feint"): partial(ours, victim, DFME(NETWORK, DFME_GAME), 256 * 7),
        ("DFME", "direct port"): partial(port, victim, DFME_GAME, 1, l1),
        ("MAZE", "Feint"): partial(ours, victim, MAZE(NETWORK, MAZE_GAME, tens), 128 * 15),
        ("MAZE", "direct port"): partial(port, victim, MAZE_GAME, 10, kl),
    }
    best = dict.fromkeys(jobs, math.inf)
    for _ in range(REPEATS):
        for name, job in jobs.items():
            best[name] = min(best[name], processor_seconds(job)[0])
    games = {"DFME": DFME_GAME, "MAZE": MAZE_GAME}
    return [
        {"attack": attack, "tool": tool, "network": "lenet", "batch": games[attack].batch_size}
        | {"turns_a_second": TURNS / seconds}
        for (attack, tool), seconds in best.items()
    ]


def ours(victim: nn.Module, attack: DFME | MAZE, cost: int) -> None:
    """Ten turns with Feint."""
    attack.steal(Service(victim).oracle(client="attacker", budget=TURNS * cost))


def l1(t: Tensor, s: Tensor) -> Tensor:
    """The loss of DFME, of the logits recovered from log-probabilities `t`."""
    return (t - t.mean(1, keepdim=True) - s).abs().mean(1)


def kl(t: Tensor, s: Tensor) -> Tensor:
    """The loss of MAZE."""
    return (t.exp() * (t - F.log_softmax(s, 1))).sum(1)


def port(victim: nn.Module, game: LoopConfig, directions: int, loss: Loss) -> None:
    """Ten turns of the published loop: the victim is called for each direction by itself."""
    clone = NETWORK.build(seed=0)
    generator = ImageGenerator(NETWORK.shape, latent=game.latent, width=game.width)
    to_clone = torch.optim.SGD(clone.parameters(), lr=game.surrogate_rate, momentum=0.9, weight_decay=5e-4)
    to_generator = torch.optim.Adam(generator.parameters(), lr=game.generator_rate)
    stored: list[tuple[Tensor, Tensor]] = []

    def step(x: Tensor, t: Tensor) -> None:
        to_clone.zero_grad()
        loss(t, clone(x)).mean().backward()
        to_clone.step()

    for _ in range(TURNS):
        pre = generator(torch.randn(game.batch_size, game.latent))
        estimate, epsilon, d = torch.zeros_like(pre), 1e-3, pre[0].numel()
        with torch.no_grad():
            x = squash(pre)
            t = F.log_softmax(victim(x), 1)
            here = loss(t, clone(x))
            for _ in range(directions):
                u = torch.randn_like(pre)
                u = u / u.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
                near = squash(pre + epsilon * u)
                there = loss(F.log_softmax(victim(near), 1), clone(near))
                estimate += d / directions * ((there - here) / epsilon).view(-1, 1, 1, 1) * u
        to_generator.zero_grad()
        pre.backward(-estimate / len(pre))
        to_generator.step()
        for i in range(game.surrogate_steps):
            if i or not game.replay_steps:  # with replay, which is MAZE, the generator's own batch is the first
                with torch.no_grad():
                    x = squash(generator(torch.randn(game.batch_size, game.latent)))
                    t = F.log_softmax(victim(x), 1)
            step(x, t)
            stored.append((x, t))
        for place in torch.randint(len(stored), (game.replay_steps,)).tolist():
            step(*stored[place])
