"""Helpers of several commands: checks of options, work directories and victims."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from feint.errors import BadInput

if TYPE_CHECKING:
    from torch import nn

    from feint.models.networks import Network
    from feint.signature import Domain


def require_new(out: Path) -> None:
    """Raise `BadInput` if --out exists."""
    if out.exists():
        raise BadInput(f"--out {out}, which exists", "a new directory", "choose another, or delete it to run again")


def require_at_least(least: int, number: int, name: str) -> int:
    """Return `number`, or raise `BadInput` if it is below `least`."""
    if number < least:
        raise BadInput(f"{number} {name}", f"{least} or more", "raise it")
    return number


@contextmanager
def work_directory(out: Path) -> Iterator[Path]:
    """Yield a directory beside `out` that caches the trainings of a job, and delete it when the job is done."""
    import shutil

    from feint.models.cache import cached_in

    folder = out.with_name(f".{out.name}.partial")
    with cached_in(folder):
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


def named_network(name: str | None, data: str | None) -> "Network | None":
    """Return the network of this name for the inputs and classes of a data set; None without a name.

    Raises:
        BadInput: There is a name and no data set.
    """
    if name is None:
        return None
    if data is None:
        raise BadInput(f"--network {name} without data", "inputs and classes of the network", "name them: --data NAME")
    from feint.data import load
    from feint.models import networks

    return networks.get(name, load(data.partition("/")[0]))


def load_victim(place: str, data: str | None, network: str | None) -> "nn.Module":
    """Load the victim at `place`.

    Args:
        place: A model.toml, victim.toml, file, directory, or package.module:name.
        data: Data set or samples, whose domain decides what the model leaves open.
        network: Network of the weights, for a file of weights alone.

    Returns:
        The victim, a module from inputs of its domain to logits.
    """
    from feint import victims

    return victims.load_any(place, network=named_network(network, data), domain=_domain(place, data))


def _domain(place: str, data: str | None) -> "Domain | None":
    """Return the domain of the data, which only files of others leave open; None without data."""
    from feint.data.files import is_file, samples_at
    from feint.data.pools import parse_split
    from feint.victims.discovery import is_own

    if data is None or is_own(place):
        return None
    return samples_at(data).split.domain if is_file(data) else parse_split(data).domain
