"""What a ladder with the sequential test leaves an attacker who reads labels alone and trains a strong network.

The attacker wants 10,000 answers to CIFAR-100 images from the published ResNet-20, as 1 to 1,000 clients; or hides the
queries among copies of ordinary images; or has images of the task itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.tables.evidence import Setting, setting_of_cifar10
from benchmarks.tables.rows import Jobs, Row
from feint import data, victims
from feint.attacks.variation import altered, varied
from feint.bench.demo import SETTINGS
from feint.defense import Defense, Ladder
from feint.defenses.access import Refuse
from feint.defenses.outputs import LabelFlip
from feint.errors import Refused
from feint.evaluation import metrics
from feint.ledger import Ledger
from feint.models.training import learn
from feint.progress import ProgressCallback
from feint.query import Query
from feint.service import Service
from feint.signature import Domain

BUDGET = 10_000  # answers that the attacker wants
ORDINARY, VEHICLES = 20, (1, 9)  # images of the task that fillers are made of: of cars and trucks, the surest classes
TURN = 50  # queries of a client before the next client's, at most
FILLERS = {"copies": altered, "varied": varied}
KEY = "an experiment's, not a secret"
POLICIES = {
    "flipped labels": Defense(outputs=[LabelFlip(KEY)]),
    "refusal": Defense(access=[Refuse()]),
}
Batch = tuple[str, Tensor, Tensor]  # a client, its inputs (N, …), and the rows (N,) that the attacker wants, or −1


@dataclass(frozen=True)
class Campaign:
    """How the attacker asks.

    Attributes:
        clients: Number of accounts.
        filler: Name of the queries among which the others are hidden; empty for none.
        share: Share of the queries that the attacker wants.
    """

    clients: int = 1
    filler: str = ""
    share: float = 1.0

    def batches(self, x: Tensor, ordinary: Tensor) -> Iterator[Batch]:
        """Yield the queries in their order: clients take turns."""
        generator, domain = torch.Generator().manual_seed(0), data.load("cifar10").test.domain
        each = max(1, min(TURN, len(x) // self.clients))
        for turn, rows in enumerate(torch.arange(len(x)).split(max(1, round(each * self.share)))):
            wanted, parts = rows, x[rows]
            if self.filler:
                others = FILLERS[self.filler](ordinary, each - len(rows), domain, generator)
                order = torch.randperm(each, generator=generator)
                parts = torch.cat([parts, others])[order]
                wanted = torch.cat([rows, rows.new_full((len(others),), -1)])[order]
            yield f"attacker-{turn % self.clients}", parts, wanted


class Known(nn.Module):
    """A model that computes many answers at once and then returns them one by one."""

    def __init__(self, model: nn.Module, domain: Domain) -> None:
        super().__init__()
        self.model, self.domain, self.rows = model, domain, dict[bytes, Tensor]()

    def learn(self, x: Tensor) -> None:
        """Compute the next answers, of inputs as they are and as a keyed policy shows them, in place of the last."""
        both = torch.cat([x, torch.from_numpy(self.domain.quantize(x.numpy()))])
        self.rows = dict(zip((row.numpy().tobytes() for row in both), victims.logits(self.model, both), strict=True))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.rows[row.contiguous().numpy().tobytes()] for row in x])


CAMPAIGNS = {  # those that matter most come first
    "1,000 accounts": Campaign(clients=1000),
    "1 account": Campaign(),
    "1 account, filler varied": Campaign(filler="varied", share=0.28),
    "1 account, filler copies": Campaign(filler="copies", share=0.28),
    "100 accounts": Campaign(clients=100),
    "10 accounts": Campaign(clients=10),
}
FLIPPED = "1,000 accounts", "1 account"  # the most and the least answers before an accusation; others lie between


def jobs(progress: ProgressCallback) -> Jobs:
    """What each way to ask gets before a refusal; then copies, by policy; then a copy from the task's own images."""
    setting, pool = setting_of_cifar10(), data.load("cifar10").pool
    for name, campaign in CAMPAIGNS.items():
        yield f"asked-{name}", partial(counted, setting, name, campaign, pool)
    for name, campaign in CAMPAIGNS.items():
        for policy in POLICIES if name in FLIPPED else ("refusal",):
            yield f"ladder-{name}-{policy}", partial(theft, setting, name, policy, campaign, pool, progress)
    own = partial(theft, setting, "own images", "refusal", Campaign(), setting.honest, progress)
    yield "ladder-own images-refusal", own


class Asked(NamedTuple):
    """What an attacker has asked.

    Attributes:
        labels: Label by row of the attacker's inputs, of the queries that were answered.
        queries: Number of queries.
        clients: Accounts that were used.
        accused: Number of those that were accused.
    """

    labels: dict[int, int]
    queries: int
    clients: int
    accused: int


def ask(setting: Setting, policy: str, campaign: Campaign, x: Tensor) -> Asked:
    """Ask for labels. An account that was refused is not used again."""
    ledger, known, labels = Ledger(), Known(setting.victim, setting.images.domain), dict[int, int]()
    service = Service(known, Ladder([setting.plain], [Defense(), POLICIES[policy]]), ledger=ledger)
    queries, clients, refused = 0, set[str](), set[str]()
    for client, batch, wanted in campaign.batches(x, vehicles(setting.honest)):
        clients.add(client)
        if client in refused:
            continue
        known.learn(batch)
        for query, row in zip(batch.split(1), wanted.tolist(), strict=True):  # whoever asks one by one loses least
            queries += 1
            try:
                label = int(service(Query(query, client)).p.argmax())
            except Refused:
                refused.add(client)
                break
            labels |= {row: label} if row >= 0 else {}
    return Asked(labels, queries, len(clients), sum(ledger[client].total("rung") > 0 for client in clients))


def vehicles(honest: data.Split) -> Tensor:
    """Return the images that fillers are made of."""
    return honest.inputs(torch.isin(honest.labels, torch.tensor(VEHICLES)).nonzero()[:ORDINARY, 0])


def counted(setting: Setting, name: str, campaign: Campaign, pool: data.Split) -> Row:
    """Count the answers before refusals."""
    asked = ask(setting, "refusal", campaign, pool.inputs(drawn(pool)))
    return {
        "campaign": name, "clients": asked.clients, "wanted": BUDGET, "asked": asked.queries, "seed": 0,
        "answered": len(asked.labels), "accused": asked.accused, "pool": f"{pool.name}/{pool.part}",
    }  # fmt: skip


def drawn(pool: data.Split) -> Tensor:
    """Return the rows of the pool that the attacker wants answered."""
    return torch.randperm(len(pool), generator=torch.Generator().manual_seed(0))[:BUDGET]


def theft(
    setting: Setting, name: str, policy: str, campaign: Campaign, pool: data.Split, progress: ProgressCallback
) -> Row:
    """Ask, train on the labels that were answered, and judge the copy on the half that no attacker owns."""
    chosen = drawn(pool)
    asked = ask(setting, policy, campaign, pool.inputs(chosen))
    rows, judged = np.array(sorted(asked.labels)), setting.calibration
    truth = victims.answers(setting.victim, judged)
    targets = nn.functional.one_hot(torch.tensor([asked.labels[row] for row in rows]), truth.shape[1]).float()
    x, tried = torch.from_numpy(pool.values[chosen[rows].numpy()]), SETTINGS["cifar10"].surrogate_on(setting.images)
    stolen = learn(tried.network, x, targets, tried.training, progress=progress)
    return {
        "policy": policy, "campaign": name, "clients": asked.clients, "pool": f"{pool.name}/{pool.part}",
        "attack": "KnockoffNets, labels only", "surrogate": tried.network.name, "epochs": tried.training.epochs,
        "seed": 0, "asked": asked.queries, "answered": len(rows), "accused": asked.accused, "n_test": len(judged),
        **metrics.theft(metrics.StolenAnswers(victims.answers(stolen, judged), truth, judged.labels)),
        "defender_accuracy": metrics.accuracy(truth, judged.labels),
    }  # fmt: skip
