"""What surrogates learn of a classifier of large images in little time: a published ResNet-20 of enlarged images.

No suite: the victim shrinks what it is asked, and nothing else tells the attacker so.
"""

import time
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.tables.rows import Jobs, Row, published_resnet20
from feint import data
from feint.attacks import default_surrogates
from feint.attacks.probing import draw_rows
from feint.attacks.surrogates import Surrogate, logits
from feint.evaluation import metrics
from feint.models.training import learn
from feint.progress import ProgressCallback
from feint.signature import Pixels

SIDE, BUDGET, JUDGED = 96, 1000, 2000
DOMAIN = Pixels((3, SIDE, SIDE))


def jobs(progress: ProgressCallback) -> Jobs:
    """What each default surrogate learns, but those that mirror images, whose training takes as long as without."""
    for surrogate in default_surrogates(DOMAIN, 10):
        if not surrogate.training.flip:
            name = f"{surrogate.network.name}-{surrogate.training.least_steps}-{surrogate.training.optimizer or 'sgd'}"
            yield name, partial(theft, surrogate, progress)


def theft(surrogate: Surrogate, progress: ProgressCallback) -> Row:
    """Return the scores of one theft."""
    victim, pool, test = published_resnet20(), data.load("cifar100").train, data.load("cifar10").test
    x = pool.inputs(draw_rows(pool, BUDGET, seed=0))
    p = logits(victim, x).softmax(-1)
    started = time.process_time()
    stolen = learn(surrogate.network, enlarged(x), p, surrogate.training, progress=progress)
    seconds = time.process_time() - started
    judged = test.inputs(slice(0, JUDGED))
    stolen_p = torch.cat([logits(stolen, enlarged(part)).softmax(-1) for part in judged.split(100)])
    scores = metrics.theft(metrics.StolenAnswers(stolen_p, logits(victim, judged).softmax(-1), test.labels[:JUDGED]))
    training = surrogate.training
    about = {"side": SIDE, "budget": BUDGET, "n_test": JUDGED, "seed": 0, "surrogate": surrogate.network.name}
    about |= {"steps": training.least_steps, "batch": training.batch_size, "optimizer": training.optimizer or "sgd"}
    return about | {"processor_seconds": round(seconds), **scores}


def enlarged(x: Tensor) -> Tensor:
    """Return images (N, 3, 32, 32) as ones of `SIDE`."""
    return F.interpolate(x, (SIDE, SIDE), mode="bicubic").clamp(0, 1)
