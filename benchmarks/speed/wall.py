"""What the line and the wall add to a bare forward pass of ResNet-20 on 128 images."""

import subprocess
import sys
from functools import partial

import torch

from benchmarks.speed.clock import least
from feint import Query, Service
from feint.models.networks import Network
from feint.signature import Pixels


def cost() -> list[dict[str, str | float]]:
    """Milliseconds a batch, bare and through a service without a defense."""
    torch.set_num_threads(2)
    model = Network("resnet20", Pixels((3, 32, 32)), 10).build().eval()
    x = torch.rand(128, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    service, oracle = Service(model), Service(model).oracle(client="attacker", budget=10**9)

    @torch.no_grad()
    def bare() -> torch.Tensor:
        return model(x).softmax(-1)

    seconds = least(
        {"bare forward": bare, "Service": lambda: service(Query(x)), "Oracle": lambda: oracle.ask(x)}, repeats=60
    )
    return [
        {"path": name, "ms_batch_128": value * 1e3, "ratio": value / seconds["bare forward"]}
        for name, value in seconds.items()
    ]


def imports() -> list[dict[str, str | float]]:
    """Seconds from the start of a fresh process to the end of its imports, the least of five."""
    names = "[getattr(feint, name) for name in feint.__all__]"
    codes = {"torch": "import torch", "feint": "import feint", "feint, all names": f"import feint; {names}"}
    jobs = {name: partial(subprocess.run, [sys.executable, "-c", code], check=True) for name, code in codes.items()}
    return [{"import": name, "seconds": value} for name, value in least(jobs, repeats=5).items()]


def loading() -> list[dict[str, str | float]]:
    """Seconds to load CIFAR-10 in a fresh process once it was decoded, imports left out."""
    timed = "t = time.perf_counter(); feint.data.load('cifar10'); print(time.perf_counter() - t)"
    code = f"import time, feint; feint.data; {timed}"
    runs = [subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True) for _ in range(4)]
    return [{"data": "cifar10, decoded before", "seconds": min(float(run.stdout) for run in runs[1:])}]


THEFT = """
import feint
from feint import Service, Training
from feint.attacks import KnockoffNets
from feint.evaluation import memory
images = feint.data.load("cifar10")
network = feint.networks.get("resnet20", images)
service = Service(network.build())
KnockoffNets(images.pool, feint.networks.get("lenet", images), Training(epochs=1)).steal(
    service.oracle(client="attacker", budget=50_000)
)
print(service.ledger.queries, memory.peak_mb())
"""


def memory() -> list[dict[str, str | float]]:
    """The most memory of a process that steals with 50,000 CIFAR-100 images, all that it loads included."""
    told = subprocess.run([sys.executable, "-c", THEFT], capture_output=True, text=True, check=True).stdout
    asked, peak = told.split()
    return [{"attack": "KnockoffNets, CIFAR-100 pool", "asked": int(asked), "peak_mb": float(peak)}]
