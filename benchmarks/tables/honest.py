"""Honest clients of three victims, and what they send: other cameras, one class, bursts, files in an order, checks."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.tables.evidence import Setting, setting_of_adult, setting_of_cifar10, setting_of_fashion
from feint.data import Split
from feint.signature import Columns

FRAMES, COPIES = 10, 3  # of a scene, in a burst; of a query that is sent again
QUERIES, BURSTS = 1000, 100  # of a client
CLIENTS = 100
CHECKS_A_YEAR, CHECKS_A_WEEK, BETWEEN = 24 * 365, 24 * 7, 200

Client = tuple[Split, np.ndarray]  # inputs, and the rows that the client sends
Takes = Callable[[Split], Split]  # inputs, to `FRAMES` takes of each


@dataclass(frozen=True, eq=False)
class Served:
    """A victim, and what its honest clients may send.

    Attributes:
        make: Loads or trains the victim.
        changes: Changes of inputs, of which a client may have one: a camera, a codec, a form.
        groups: Rows of clients who ask about one group alone.
        bursts: Ways to send `FRAMES` inputs in a row that depend on each other.
        file: Order in which a client sends a file, by a number for each input.
        noun: What an input is.
    """

    make: Callable[[], Setting]
    changes: tuple[str, ...]
    groups: Mapping[str, Callable[[Split], np.ndarray]]
    bursts: Mapping[str, Takes]
    file: tuple[str, Callable[[Split], np.ndarray]]
    noun: str = "image"


def independent(inputs: Split, rows: np.ndarray) -> Iterator[Client]:
    """Clients who send up to `QUERIES` of these rows each, at random."""
    generator = np.random.default_rng(0)
    for _ in range(CLIENTS):
        yield inputs, generator.permutation(rows)[:QUERIES]


def again(inputs: Split) -> Iterator[Client]:
    """Clients who send each query `COPIES` times in a row."""
    for _, rows in independent(inputs, np.arange(len(inputs))):
        yield inputs, rows[: QUERIES // COPIES].repeat(COPIES)


def in_order(inputs: Split, by: np.ndarray) -> Iterator[Client]:
    """Clients who send a file in an order, by a number for each input."""
    for _, rows in independent(inputs, np.arange(len(inputs))):
        yield inputs, rows[by[rows].argsort(kind="stable")]


def in_bursts(takes: Split) -> Iterator[Client]:
    """Clients who send all takes of `BURSTS` scenes."""
    generator = np.random.default_rng(0)
    for _ in range(CLIENTS):
        yield takes, burst(generator.permutation(len(takes) // FRAMES)[:BURSTS])


def burst(scenes: np.ndarray) -> np.ndarray:
    """Return the rows of all takes of these scenes."""
    return (scenes[:, None] * FRAMES + np.arange(FRAMES)).ravel()


def checks(inputs: Split, rows: np.ndarray) -> Iterator[Client]:
    """Clients who send one input each hour for a year."""
    for row in rows:
        yield inputs, np.full(CHECKS_A_YEAR, row)


def mixed_checks(inputs: Split, rows: np.ndarray) -> Iterator[Client]:
    """Clients who send one input after every `BETWEEN` others, which make the test forget it, for a week."""
    generator = np.random.default_rng(0)
    for row in rows:
        drawn = generator.integers(len(inputs), size=(CHECKS_A_WEEK, BETWEEN))
        yield inputs, np.concatenate([drawn, np.full((CHECKS_A_WEEK, 1), row)], 1).ravel()


def still(scenes: Split) -> Split:
    """Return takes of a camera that does not move: up to a tenth darker, with noise of 0.01."""
    return _frames(scenes, pixels=0)


def moved(scenes: Split) -> Split:
    """Return such takes of a camera that moves by up to a pixel."""
    return _frames(scenes, pixels=1)


def _frames(scenes: Split, pixels: int) -> Split:
    generator, takes = np.random.default_rng(0), []
    for image in scenes.inputs().numpy():
        for _ in range(FRAMES):
            taken = np.roll(image, generator.integers(-pixels, pixels + 1, 2), (-2, -1)) if pixels else image
            takes.append(taken * generator.uniform(0.9, 1) + generator.normal(0, 0.01, image.shape))
    return _taken(scenes, np.stack(takes).astype(np.float32))


def edited(scenes: Split) -> Split:
    """Return rows in each of which one number is that of another row, as who tries a form sends them."""
    generator, domain, x = np.random.default_rng(0), scenes.domain, scenes.inputs().numpy()
    assert isinstance(domain, Columns)
    numbers = [i for i, column in enumerate(domain.columns) if column.categories is None]
    takes = x.repeat(FRAMES, 0)
    column = generator.choice(numbers, len(takes))
    takes[np.arange(len(takes)), column] = x[generator.integers(len(x), size=len(takes)), column]
    return _taken(scenes, takes)


def _taken(scenes: Split, x: np.ndarray) -> Split:
    """Return `FRAMES` takes of each scene as a split."""
    encoded, labels = scenes.domain.encode(scenes.domain.clip(x)), scenes.arrays[1].repeat(FRAMES, 0)
    return Split.of(encoded, labels, domain=scenes.domain, name="takes", part=scenes.part)


def labelled(label: int) -> Callable[[Split], np.ndarray]:
    """Return what gives the rows of a class."""
    return lambda inputs: np.flatnonzero(inputs.labels.numpy() == label)


def valued(name: str, *categories: str, above: float = -np.inf, below: float = np.inf) -> Callable[[Split], np.ndarray]:
    """Return what gives the rows with one of these categories in a column, or with a number between two others."""

    def rows(inputs: Split) -> np.ndarray:
        assert isinstance(inputs.domain, Columns)
        values = inputs.domain.to_table(inputs.inputs().numpy())[name]
        if categories:
            return np.flatnonzero([value in categories for value in values])
        return np.flatnonzero([above < value < below for value in values])

    return rows


def ages(inputs: Split) -> np.ndarray:
    """Return the first column of rows."""
    return inputs.inputs()[:, 0].numpy()


def classes(inputs: Split) -> np.ndarray:
    """Return the labels."""
    return inputs.labels.numpy()


CAMERAS = "jpeg:95", "jpeg:90", "jpeg:75", "scale:0.875", "noise:0.02", "brightness:0.7", "brightness:1.3", "shift:2"
FILMED = {"bursts of ten frames, a still camera": still, "bursts of ten frames, moved by a pixel": moved}
FORMS = "rounded:2", "rounded:1", "missing:0.1", "missing:0.3"
BY_CLASS = "a file sorted by class", classes
FOREIGN = "Mexico", "Philippines", "Germany", "Canada", "India", "England", "Cuba", "China", "South", "Puerto-Rico"
VICTIMS: Mapping[str, Served] = {
    "CIFAR-10": Served(setting_of_cifar10, CAMERAS, {"only cats": labelled(3)}, FILMED, BY_CLASS),
    "Fashion-MNIST": Served(setting_of_fashion, CAMERAS, {"only shirts": labelled(6)}, FILMED, BY_CLASS),
    "Adult": Served(
        setting_of_adult,
        FORMS,
        {
            "only high incomes": labelled(1),
            "only managers": valued("occupation", "Exec-managerial"),
            "only farmers": valued("occupation", "Farming-fishing"),
            "only civil servants": valued("workclass", "Federal-gov", "State-gov", "Local-gov"),
            "only people from ten other countries": valued("native_country", *FOREIGN),
            "only people above 60": valued("age", above=60),
            "only people below 25": valued("age", below=25),
        },
        {"ten variants of a row, one number changed": edited},
        ("a file sorted by age", ages),
        "row",
    ),
}
