"""Ordinary clients against the sequential test: cameras, one class, bursts, a health check, and a whole population.

Every query goes through the running test with its input, so that near copies count once as they do in a service. The
victim and the halves of the test images are those of `evidence`; the months of a population have different images.
"""

import functools
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.tables.evidence import Setting, setting_of_cifar10
from benchmarks.tables.rows import Jobs, Row
from feint import victims
from feint.data import Split
from feint.defenses.access import SequentialTest
from feint.defenses.access.clients import threshold, upper_bound
from feint.defenses.access.slices import slices
from feint.gateway.array_query import ArrayQuery
from feint.ledger import Account
from feint.progress import ProgressCallback

DECLARED = "classes", "jpeg", "scale", "noise", "shift"
CAMERAS = "jpeg:95", "jpeg:90", "jpeg:75", "scale:0.875", "noise:0.02", "brightness:0.7", "brightness:1.3", "shift:2"
CAT, SCENES, FRAMES, REQUEST = 3, 500, 10, 10
CHECKS_A_YEAR, CHECKS_A_WEEK, BETWEEN = 24 * 365, 24 * 7, 200
SHARES = 1.0, 0.5, 0.25
Client = tuple[Split, np.ndarray]  # images, and the rows that the client sends


class Ordinary:
    """Images of honest clients by camera, and the two tests."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    @functools.cache  # noqa: B019, one lives as long as the process
    def test(self, declared: str) -> SequentialTest:
        """Return the test without slices, or with those declared."""
        if declared == "none":
            return self.setting.plain
        return SequentialTest(slices=DECLARED).fit(self.setting.victim, self.setting.calibration)

    @functools.cache  # noqa: B019
    def images(self, camera: str, *, month: int | None = None, scenes: int = 0, still: bool = False) -> Split:
        """Return honest images as a camera takes them, or `FRAMES` frames of each of `scenes` of them."""
        split = self.setting.honest
        if month is not None:
            split = split.take(slice(month, None, 2), part=f"{split.part}, month {month}")
        if scenes:
            split = frames(split.take(slice(0, scenes), part=f"{split.part}, scenes"), still=still)
        return split if camera == "none" else next(iter(slices(camera, split)))[1]

    @functools.cache  # noqa: B019
    def logits(self, images: Split) -> Tensor:
        """Return the victim's logits."""
        return torch.cat([victims.logits(self.setting.victim, x) for x in images.inputs().split(500)])

    @functools.cache  # noqa: B019
    def scores(self, declared: str, images: Split) -> Tensor:
        """Return the scores that the test ranks."""
        return self.test(declared).ranked_score(images.inputs(), self.logits(images))

    def highest(self, declared: str, clients: Iterator[Client]) -> list[float]:
        """Return the highest evidence of each client."""
        martingale = self.test(declared).martingale()
        reached = []
        for images, rows in clients:
            account, known, most = Account("client"), self.scores(declared, images).numpy(), 0.0
            for part in np.split(rows, range(REQUEST, len(rows), REQUEST)):
                query = ArrayQuery(images.inputs(torch.from_numpy(part)).numpy(), "client")
                most = martingale.observe(known[part], query, account)
            reached.append(most)
        return reached


def frames(scenes: Split, *, still: bool) -> Split:
    """Return `FRAMES` takes of each scene: up to a tenth darker, noise of 0.01, moved by a pixel unless `still`."""
    generator, takes = np.random.default_rng(0), []
    for image in scenes.inputs().numpy():
        for _ in range(FRAMES):
            moved = image if still else np.roll(image, generator.integers(-1, 2, 2), (-2, -1))
            takes.append(moved * generator.uniform(0.9, 1) + generator.normal(0, 0.01, image.shape))
    x = scenes.domain.clip(np.stack(takes).astype(np.float32))
    labels = scenes.arrays[1].repeat(FRAMES, 0)
    return Split.of(scenes.domain.encode(x), labels, domain=scenes.domain, name="frames", part=scenes.part)


def jobs(progress: ProgressCallback) -> Jobs:
    """Each ordinary client without and with slices; then a population, and what its threshold means for attackers."""
    ordinary = Ordinary(setting_of_cifar10())
    kinds = {"as they are": "none", **{camera: camera for camera in CAMERAS}}
    for declared in ("none", "declared"):
        for kind, camera in kinds.items():
            clients = partial(independent, ordinary, camera)
            yield f"ordinary-{declared}-{kind}", partial(alone, ordinary, declared, kind, clients)
        for kind, clients in {
            "only cats": partial(independent, ordinary, "none", CAT),
            "bursts of ten frames, a still camera": partial(bursts, ordinary, still=True),
            "bursts of ten frames, moved by a pixel": partial(bursts, ordinary, still=False),
            "one image every hour for a year": partial(checks, ordinary),
            "one image after every 200 others for a week": partial(mixed_checks, ordinary),
        }.items():
            yield f"ordinary-{declared}-{kind}", partial(alone, ordinary, declared, kind, clients)
    for declared in ("none", "declared"):
        yield f"population-{declared}", partial(months, ordinary, declared)


def alone(ordinary: Ordinary, declared: str, kind: str, clients) -> Row:
    reached = ordinary.highest(declared, clients())
    return {
        "slices": list(DECLARED) if declared != "none" else [], "kind": kind, "clients": len(reached),
        "accused": sum(evidence >= 1 for evidence in reached), "highest": max(reached), "seed": 0,
    }  # fmt: skip


def independent(ordinary: Ordinary, camera: str, label: int | None = None) -> Iterator[Client]:
    """100 clients who send 1,000 images each, of one camera, or 500 of one class."""
    images, generator = ordinary.images(camera), np.random.default_rng(0)
    rows = np.arange(len(images)) if label is None else np.flatnonzero(images.labels.numpy() == label)
    for _ in range(100):
        yield images, generator.permutation(rows)[:1000]


def bursts(ordinary: Ordinary, *, still: bool) -> Iterator[Client]:
    """100 clients who send 100 scenes, ten frames of each."""
    images, generator = ordinary.images("none", scenes=SCENES, still=still), np.random.default_rng(0)
    for _ in range(100):
        yield images, burst(generator.permutation(SCENES)[:100])


def burst(scenes: np.ndarray) -> np.ndarray:
    return (scenes[:, None] * FRAMES + np.arange(FRAMES)).ravel()


def unusual(ordinary: Ordinary) -> np.ndarray:
    """The 20 images of the lowest energy scores, of the 5,000."""
    return ordinary.scores("none", ordinary.images("none")).argsort()[:20].numpy()


def checks(ordinary: Ordinary) -> Iterator[Client]:
    """One image each hour for a year, one of the 20 least ordinary."""
    for row in unusual(ordinary):
        yield ordinary.images("none"), np.full(CHECKS_A_YEAR, row)


def mixed_checks(ordinary: Ordinary) -> Iterator[Client]:
    """The same image after every 200 other queries, which make the test forget it."""
    generator = np.random.default_rng(0)
    for row in unusual(ordinary)[:5]:
        drawn = generator.integers(len(ordinary.images("none")), size=(CHECKS_A_WEEK, BETWEEN))
        yield ordinary.images("none"), np.concatenate([drawn, np.full((CHECKS_A_WEEK, 1), row)], 1).ravel()


def population(ordinary: Ordinary, month: int, n: int = 1000, length: int = 400) -> Iterator[Client]:
    """Clients with Dirichlet(0.5) classes; half have one of the cameras, and half send bursts of ten frames."""
    generator = np.random.default_rng(month)
    for _ in range(n):
        camera = generator.choice(CAMERAS) if generator.random() < 0.5 else "none"
        bursting = generator.random() < 0.5
        images = ordinary.images(str(camera), month=month, scenes=SCENES // 4 if bursting else 0)
        mix = generator.dirichlet(np.full(10, 0.5))
        labels = images.labels.numpy()[:: FRAMES if bursting else 1]
        weights = mix[labels] / np.bincount(labels, minlength=10)[labels]
        rows = generator.choice(
            len(labels), length // FRAMES if bursting else length, p=weights / weights.sum()
        )  # fmt: skip
        yield images, burst(rows) if bursting else rows


def months(ordinary: Ordinary, declared: str) -> Row:
    """Calibrate the threshold on the clients of one month, and count those of the next who reach it."""
    last, this = (ordinary.highest(declared, population(ordinary, month)) for month in (0, 1))
    calibrated = threshold(last, 0.01)
    accused = sum(evidence >= calibrated.level for evidence in this)
    return {
        "slices": list(DECLARED) if declared != "none" else [], "clients": len(this), "queries": 400, "seed": 0,
        "accused_at_1": sum(evidence >= 1 for evidence in this), "level": calibrated.level, "accused": accused,
        "average": calibrated.average, "bound": calibrated.bound, "bound_of_accused": upper_bound(accused, len(this)),
        "attackers": {str(share): list(attack(ordinary, declared, share, calibrated.level)) for share in SHARES},
    }  # fmt: skip


def attack(ordinary: Ordinary, declared: str, share: float, level: float) -> Iterator[float | None]:
    """Median queries until a client is accused of whose queries so many are CIFAR-100, at 1 and at the level."""
    test, generator = ordinary.test(declared), torch.Generator().manual_seed(0)
    honest = ordinary.scores(declared, ordinary.images("none"))
    odd = scores_of_pool(ordinary, declared)
    drawn = torch.randint(5000, (2, 100, 3000), generator=generator)
    mixed = torch.where(torch.rand(100, 3000, generator=generator) < share, odd[drawn[0]], honest[drawn[1]])
    evidence = torch.cat([test.replay(part) for part in mixed.split(20)])
    for at in (1.0, level):
        reached = evidence >= at
        first = torch.where(reached.any(1), reached.double().argmax(1) + 1, torch.inf).median().item()
        yield first if first <= 3000 else None


def scores_of_pool(ordinary: Ordinary, declared: str) -> Tensor:
    pool = ordinary.setting.pool.take(slice(0, 5000), part="first 5,000")
    return ordinary.scores(declared, pool)
