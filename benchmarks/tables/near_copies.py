"""What near copies of an input buy an attacker against keyed noise: distances to undefended answers, and gradients.

No suite: nothing is stolen. Each input is sent alone, through the lens of an attacker who knows the scale of the noise.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.tables.rows import Jobs, Row, published_resnet20
from feint import data
from feint.attacks import NearCopies
from feint.bench.demo import SETTINGS
from feint.defenses.outputs import GaussianNoise
from feint.models import networks
from feint.models.training import train
from feint.progress import ProgressCallback
from feint.query import Query
from feint.service import Defense, Service
from feint.victims import predict

COPIES = 1, 4, 16, 64, 256
SHARES = 0.0, 0.5, 0.9
INPUTS = 50
SCALE = 0.2
LEVELS = 0.45, 1.0  # steps of the differences, in levels of a pixel
KEY = "an experiment's, not a secret"


def jobs(progress: ProgressCallback) -> Jobs:
    """Yield one job for each victim and share of the noise that near copies have in common."""
    for victim in ("digits", "cifar10"):
        for share in SHARES:
            yield f"{victim}, {share:g}", partial(row, victim, share, progress)


def row(name: str, share: float, progress: ProgressCallback) -> Row:
    """Return the mean L1 distance to the undefended answers for each number of copies, and the cosines of gradients."""
    model, x = _victim(name, progress)
    noise = GaussianNoise(KEY, scale=SCALE, perceptual=share)
    service = Service(model, Defense(outputs=[noise]))
    with torch.no_grad():
        clean = predict(model, x)
    distances = {}
    for copies in COPIES:
        lens = NearCopies(copies, noise=noise)
        oracle = lens(service.oracle(client="attacker", budget=copies * INPUTS))
        answers = torch.cat([oracle.ask(image[None]) for image in x])
        distances[str(copies)] = (answers - clean).abs().sum(-1).mean().item()
    cosines = {f"{step:g}": _cosine(service, x, step / 255) for step in LEVELS} if name == "digits" else {}
    return {"victim": name, "perceptual": share, "scale": SCALE, "inputs": len(x), "l1": distances, "cosine": cosines}


def _victim(name: str, progress: ProgressCallback) -> tuple[nn.Module, Tensor]:
    """Return a victim, and test images of which each pixel can move by a level."""
    images = data.load(name)
    x = images.test.inputs(slice(0, INPUTS)).clamp(1 / 255, 254 / 255)
    if name == "cifar10":
        return published_resnet20().eval(), x
    setting = SETTINGS[name]
    network = networks.get(setting.network, images)
    return train(network, images.train, training=setting.training, progress=progress).eval(), x


def _cosine(service: Service, x: Tensor, step: float) -> float:
    """Return the median cosine of the top probability's gradient to that read from one request of differences."""
    moves = step * torch.eye(x[0].numel()).reshape(-1, *x.shape[1:])
    cosines = []
    for image in x[:, None]:
        leaf = image.clone().requires_grad_()
        p = service.model(leaf).softmax(-1)
        p.amax().backward()
        ahead, behind = service(Query(torch.cat([image + moves, image - moves]))).p[:, p.argmax()].chunk(2)
        assert leaf.grad is not None
        cosines.append(F.cosine_similarity(ahead - behind, leaf.grad.flatten(), dim=0))
    return torch.stack(cosines).nan_to_num(0).median().item()
