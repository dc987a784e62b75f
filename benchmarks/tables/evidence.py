"""The sequential test on CIFAR-10: how soon it accuses, whom it never should, and what its ladder leaves an attacker.

No suite: streams of queries are drawn from scores, thousands of clients at once, and honest clients steal nothing.

The victim is the published ResNet-20. Half of the test images calibrate the test; honest clients draw from the other
half, attackers from CIFAR-100.
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.tables.rows import Jobs, Row, published_resnet20
from feint import data, victims
from feint.bench.demo import SETTINGS
from feint.data import Split
from feint.defense import Defense, Ladder
from feint.defenses.access import Refuse, SequentialTest
from feint.defenses.outputs import APGPClosedForm, LabelFlip
from feint.errors import Refused
from feint.evaluation import metrics
from feint.ledger import Ledger
from feint.models.networks import Classifier
from feint.models.training import learn
from feint.progress import ProgressCallback
from feint.query import Query
from feint.service import Service

SHARES = 1.0, 0.5, 0.25, 0.1, 0.05
BUDGET = 10_000
Test = Callable[[], SequentialTest]
POLICIES = {
    "flipped labels": Defense(outputs=[LabelFlip(key="an experiment's, not a secret")]),
    "APGP top-1": Defense(outputs=[APGPClosedForm(top=1)]),
    "refusal": Defense(access=[Refuse()]),
}


class Setting:
    """The victim, and who draws from what: each set's logits are computed once."""

    def __init__(self, victim: Classifier, calibration: Split, honest: Split, pool: Split, outliers: Split) -> None:
        self.victim, self.calibration, self.honest = victim, calibration, honest
        self.pool, self.outliers = pool, outliers

    @functools.cached_property
    def plain(self) -> SequentialTest:
        """The test with bets that are set."""
        return SequentialTest().fit(self.victim, self.calibration)

    @functools.cached_property
    def learned(self) -> SequentialTest:
        """The test with a bet that was learned from outliers."""
        return SequentialTest().fit(self.victim, self.calibration, outliers=self.outliers)

    def test(self, bets: str, **numbers: float) -> SequentialTest:
        """Return the test with these `bets`, plain or learned, and other numbers."""
        return replace(getattr(self, bets), **numbers)

    @functools.cache  # noqa: B019, one setting lives as long as the process
    def scores(self, drift: str) -> Tensor:
        """The scores of honest inputs that drifted."""
        return self._scores(DRIFTS[drift](self.honest.inputs()))

    @functools.cached_property
    def odd(self) -> Tensor:
        """The scores of 5,000 inputs of the pool."""
        return self._scores(self.pool.inputs(slice(0, 5000)))

    def _scores(self, x: Tensor) -> Tensor:
        return torch.cat([self.plain.score(part, victims.logits(self.victim, part)) for part in x.split(500)])


@functools.cache
def setting_of_cifar10() -> Setting:
    """Return the published victim, with each half of the test images in its part."""
    images = data.load("cifar10")
    calibration, honest = (images.test.share(i, 2) for i in range(2))
    return Setting(published_resnet20(), calibration, honest, images.pool, data.load("gtsrb").train.share(0, 4))


def streams(progress: ProgressCallback) -> Jobs:
    """How many queries until the accusation, by the share of attack queries; how many honest clients are accused."""
    setting, generator = setting_of_cifar10(), torch.Generator().manual_seed(0)
    for name, bets in {"energy": "plain", "energy, a bet learned from GTSRB": "learned"}.items():
        for alpha in (1e-3, 1e-4):
            at = partial(setting.test, bets, alpha=alpha)
            for share in SHARES:
                yield f"delay-{name}-{alpha}-{share}", partial(delay, setting, at, share, generator)
            yield f"honest-{name}-{alpha}", partial(honest, setting, at, "none", generator)
    for tolerance in (1.0, 1.5, 2.0):
        at = partial(setting.test, "plain", tolerance=tolerance)
        for drift in DRIFTS:
            yield f"drift-{drift}-{tolerance}", partial(honest, setting, at, drift, generator)
        yield f"delay-tolerant-{tolerance}", partial(delay, setting, at, 1.0, generator)


def delay(setting: Setting, make: Test, share: float, generator: torch.Generator) -> Row:
    test, ordinary, odd = make(), setting.scores("none"), setting.odd
    n, length = 200, 3000
    attack = torch.rand(n, length, generator=generator) < share
    drawn = torch.randint(5000, (2, n, length), generator=generator)
    mixed = torch.where(attack, odd[drawn[0]], ordinary[drawn[1]])
    accused = torch.cat([test.replay(part) >= 1 for part in mixed.split(50)])
    first = torch.where(accused.any(1), accused.double().argmax(1) + 1, torch.inf)
    median = first.median().item()
    return {
        "alpha": test.alpha, "tolerance": test.tolerance, "share": share, "streams": n, "length": length,
        "accused": accused.any(1).double().mean().item(), "median_queries": median if median <= length else None,
    }  # fmt: skip


def honest(setting: Setting, make: Test, drift: str, generator: torch.Generator) -> Row:
    test, scores = make(), setting.scores(drift)
    n, length = 1000, 2000
    drawn = torch.stack([torch.randperm(len(scores), generator=generator)[:length] for _ in range(n)])
    accused = sum((test.replay(scores[part]) >= 1).any(1).sum().item() for part in drawn.split(50))
    return {
        "alpha": test.alpha, "tolerance": test.tolerance, "drift": drift, "streams": n, "length": length,
        "accused": accused / n,
    }  # fmt: skip


def noisy(x: Tensor) -> Tensor:
    return (x + 0.02 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)


DRIFTS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "noise of 0.02": noisy,
    "a tenth darker": lambda x: x * 0.9,
    "shifted by 2 pixels": lambda x: x.roll((2, 2), (2, 3)),
}


class Remembered(nn.Module):
    """A model that looks its logits up, for inputs that it was shown before: thousands of queries one by one."""

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        super().__init__()
        z = torch.cat([victims.logits(model, part) for part in x.split(500)])
        self.known = {row.numpy().tobytes(): it for row, it in zip(x, z, strict=True)}

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.known[row.contiguous().numpy().tobytes()] for row in x])


def ladder(progress: ProgressCallback) -> Jobs:
    """What an attacker gets from labels: 10,000 CIFAR-100 images as 1 to 1,000 clients, or the task's own images."""
    setting = setting_of_cifar10()
    for clients in (1, 10, 100, 1000):
        for policy in POLICIES:
            yield f"ladder-{policy}-{clients}", partial(theft, setting, policy, clients, setting.pool, progress)
    for policy in POLICIES:
        yield f"ladder-own-{policy}", partial(theft, setting, policy, 1, setting.honest, progress)


def theft(setting: Setting, policy: str, clients: int, pool: Split, progress: ProgressCallback) -> Row:
    chosen = torch.randperm(len(pool), generator=torch.Generator().manual_seed(0))[:BUDGET]
    x = pool.inputs(chosen)
    ledger = Ledger()
    service = Service(
        Remembered(setting.victim, x), Ladder([setting.plain], [Defense(), POLICIES[policy]]), ledger=ledger
    )
    learned: list[tuple[int, int]] = []
    for row in range(len(x)):  # clients take turns, one query each
        client = f"thief-{row % clients}"
        try:
            label = service(Query(x[row : row + 1], client)).p.argmax().item()
        except Refused:
            continue
        learned.append((row, int(label)))
    rows, labels = (torch.tensor(it) for it in zip(*learned, strict=True))
    clean = victims.predict(setting.victim, x[:1]).shape[1]
    images = torch.from_numpy(pool.values[chosen[rows].numpy()])
    targets = nn.functional.one_hot(labels, clean).float()
    stolen = learn(setting.victim.network, images, targets, SETTINGS["cifar10"].surrogate, progress=progress)
    names = [f"thief-{i}" for i in range(min(clients, len(x)))]
    judged = setting.calibration  # the half that no attacker owns
    answers = victims.answers(stolen, judged)
    return {
        "policy": policy, "clients": clients, "pool": f"{pool.name}/{pool.part}", "attack": "KnockoffNets, labels only",
        "asked": len(x), "answered": len(rows), "accused": sum(ledger[it].total("rung") > 0 for it in names),
        "stealer_accuracy": metrics.accuracy(answers, judged.labels), "n_test": len(judged), "seed": 0,
        "defender_accuracy": metrics.accuracy(victims.answers(setting.victim, judged), judged.labels),
    }  # fmt: skip
