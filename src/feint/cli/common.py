"""Victims of commands, their samples, and checks of options."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from feint.errors import BadInput

if TYPE_CHECKING:
    from torch import nn

    from feint.data import Split
    from feint.data.files import Reading
    from feint.models.networks import Network
    from feint.paid.meter import Meter
    from feint.signature import Domain


def require_at_least(least: int, number: int, name: str) -> int:
    """Return `number`, or raise `BadInput` if it is below `least`."""
    if number < least:
        raise BadInput(f"{number} {name}", f"{least} or more", "raise it")
    return number


def person() -> str:
    """Return the name of the person at the keyboard, for audit logs."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return "unknown"


def named_network(
    name: str | None, data: str | None, label: str | None = None, *, domain: "Domain | None" = None, classes: int = 0
) -> "Network | None":
    """Return the network of this name; None without a name.

    Args:
        name: Name of the network.
        data: Data set, file or directory of samples that shows inputs and classes.
        label: Column of the label in a file.
        domain: Domain of the inputs where there is no data.
        classes: Number of classes where there is no data.

    Raises:
        BadInput: There is a name and neither data nor a domain with classes.
    """
    if name is None:
        return None
    from feint.data import load
    from feint.data.files import is_file
    from feint.models import networks
    from feint.models.networks import Network

    if data is not None and not is_file(data):
        return networks.get(name, load(data.partition("/")[0]))
    if data is not None:
        domain, names = task_of(data, label)
        classes = len(names)
    if domain is None or not classes:
        raise BadInput(f"--network {name} without data", "inputs and classes of the network", "name them: --data NAME")
    return Network(name, domain, classes)


def load_victim(
    place: str,
    data: str | None,
    network: str | None,
    label: str | None = None,
    *,
    domain: "Domain | None" = None,
    classes: int = 0,
    max_calls: int | None = None,
) -> "nn.Module":
    """Load the victim at `place`, which keeps its answers, and print what its calls cost before the first one.

    Errors as in `limit_calls`.

    Args:
        place: A model.toml, victim.toml, file, directory, or package.module:name.
        data: Data set or samples, whose domain decides what the model leaves open.
        network: Network of the weights, for a file of weights alone.
        label: Column of the label in a file, which is no input.
        domain: Domain that decides it where there is no data.
        classes: Number of classes of the network where there is no data.
        max_calls: Ceiling on the calls to a paid model.

    Returns:
        The victim, a module from inputs of its domain to logits.
    """
    from feint.victims import AdaptedModel, FromAnswers

    model = load_model(place, data, network, label, domain=domain, classes=classes)
    if isinstance(model, AdaptedModel):
        model.remember()
    if isinstance(model, FromAnswers) and not model.recorded:
        limit_calls(place, model.meter, max_calls, known=model.asked)
    return model


def load_model(
    place: str,
    data: str | None,
    network: str | None,
    label: str | None = None,
    *,
    domain: "Domain | None" = None,
    classes: int = 0,
) -> "nn.Module":
    """Load a model without a call; arguments and result are those of `load_victim`."""
    from feint import victims
    from feint.victims.discovery import states_domain

    left_open = None if states_domain(place) else domain or _domain(data, label)
    built = named_network(network, data, label, domain=domain, classes=classes)
    return victims.load_any(place, network=built, domain=left_open)


def limit_calls(place: str, meter: "Meter", most: int | None, *, known: int = 0) -> None:
    """Set the ceiling on the calls to a model, and print what they cost at most.

    Args:
        place: The model, for messages.
        meter: Its price and count.
        most: The ceiling.
        known: Number of answers that are kept from earlier runs.

    Raises:
        BadInput: The model costs something, and there is no ceiling; or its price is below 0.
    """
    if not 0 <= meter.price_per_1000 < math.inf:
        raise BadInput(f"--price-per-1000 {meter.price_per_1000:g}", "0 or more", "change it")
    if meter.price_per_1000 and most is None:
        raise BadInput(
            f"{place}, which costs {meter.price(1000)} for 1,000 calls", "a ceiling on the calls", "--max-calls N"
        )
    meter.most = None if most is None else require_at_least(1, most, "calls")
    earlier = f"; {known:,} answers are known from earlier runs" if known else ""
    ceiling = "no ceiling on the calls (--max-calls)" if most is None else f"at most {most:,} calls"
    print(f"feint: {place}: {ceiling}, {meter.price(most or 1)}{earlier}", file=sys.stderr)


def owner_split(place: str, model: "nn.Module", label: str | None = None) -> "tuple[Split, Sequence[str]]":
    """Load the owner's labelled inputs as a model takes them.

    Args:
        place: A data set or a part of one, as `parse_split` reads it; or a file or directory.
        model: The model.
        label: Column of the label.

    Returns:
        The inputs and labels, and the names of the classes.
    """
    from feint import victims
    from feint.data import load
    from feint.data.files import is_file, samples_of
    from feint.data.pools import parse_split

    if is_file(place):
        samples = owner_samples(place, model, label)
    else:
        names = load(place.partition("/")[0]).classes
        samples = samples_of(parse_split(place), names, victims.domain_of(model), classes=victims.label_classes(model))
        print_remarks(samples, place)
    return samples.split, samples.classes


def owner_samples(place: str, model: "nn.Module", label: str | None = None) -> "Reading":
    """Load labelled samples as a model takes them; of a data set its test part. Arguments as in `owner_split`."""
    from feint import victims
    from feint.data.files import samples_at

    samples = samples_at(
        place if Path(place).exists() else place.partition("/")[0], victims.domain_of(model),
        classes=victims.label_classes(model), label=label,
    )  # fmt: skip
    print_remarks(samples, place)
    return samples


def print_remarks(samples: "Reading", place: str) -> None:
    """Print what a reader dropped, cut, scaled or assumed."""
    for remark in samples.remarks:
        print(f"feint: {place}: {remark.text()}", file=sys.stderr)


def outlier_inputs(place: str, like: "Split", seed: int) -> "Split":
    """Return inputs of another task, and print remarks; arguments and errors as in `outliers_at`."""
    from feint.data.files import outliers_at

    reading = outliers_at(place, like, seed)
    print_remarks(reading, place)
    return reading.split


def file_inputs(place: str, like: "Split") -> "Split":
    """Return the inputs of a file or directory as those of `like` are, and print remarks; errors as in `pool_at`."""
    from feint.data.files import pool_at

    reading = pool_at(place, like.domain)
    print_remarks(reading, place)
    return reading.split


def task_of(place: str, label: str | None = None) -> "tuple[Domain, Sequence[str]]":
    """Return the domain of labelled samples and the names of their classes, for a model that tells nothing of itself.

    Args:
        place: Data set, file or directory.
        label: Column of the label.

    Returns:
        The domain and the names.
    """
    from feint.data.files import samples_at

    samples = samples_at(place, label=label)
    return samples.split.domain, samples.classes


class TaskInputs(NamedTuple):
    """Inputs of a model's task, for evidence of its ownership.

    Attributes:
        train: Labelled inputs on which other models of the task are trained.
        pool: Inputs about which copies ask.
        held_out: Labelled inputs on which the model was not trained, of which marks are made.
        classes: Names of the classes.
    """

    train: "Split"
    pool: "Split"
    held_out: "Split"
    classes: "Sequence[str]"


def task_inputs(place: str, model: "nn.Module", label: str | None = None) -> TaskInputs:
    """Load inputs of a model's task: the parts of a data set, or the two halves of the owner's samples.

    Args:
        place: A data set, or a file or directory of labelled samples on which the model was not trained.
        model: The model.
        label: Column of the label.

    Returns:
        The inputs. Of the samples one half is held out, and the other one is training set and pool.
    """
    from feint import victims
    from feint.data.files import is_file, pool_at

    if is_file(place):
        samples = owner_samples(place, model, label)
        half = samples.split.share(0, 2)
        return TaskInputs(half, half, samples.split.share(1, 2), samples.classes)
    name = place.partition("/")[0]
    (train, classes), (held_out, _) = (owner_split(f"{name}/{part}", model) for part in ("train", "test"))
    return TaskInputs(train, pool_at(name, victims.domain_of(model)).split, held_out, classes)


def check_victim(
    model: "nn.Module",
    samples: "Split",
    place: str,
    data: str,
    expected: float | None,
    classes: Sequence[str] = (),
    label: str | None = None,
) -> None:
    """Check a model's accuracy on its owner's samples, and print notes on it; errors as in `check_accuracy`."""
    from feint.evaluation.sample_accuracy import check_accuracy

    measured = check_accuracy(model, samples, expected=expected, classes=classes, place=place, data=data, label=label)
    for note in measured.notes:
        print(f"feint: {place}: {note}", file=sys.stderr)


def _domain(data: str | None, label: str | None) -> "Domain | None":
    """Return the domain of the data; None without data."""
    from feint.data.files import is_file, pool_at
    from feint.data.pools import parse_split

    if data is None:
        return None
    return pool_at(data, label=label).split.domain if is_file(data) else parse_split(data).domain
