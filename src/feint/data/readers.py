"""Readers of named data sets: the bundled digits, Debian's package, directories in the hub's layout, and the hub."""

import gzip
import importlib.resources
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from feint._optional import require
from feint.data.folders import divided, read_part
from feint.data.labels import assignments, class_names, label_column, united
from feint.data.parts import Part, converted, domain_of, table_part
from feint.data.remarks import Remark
from feint.errors import FeintError, MissingData, MixedSizes
from feint.signature import Domain, Pixels, Text, Tokens

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")  # from the package dataset-fashion-mnist
FASHION = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
TEST_SHARE = 0.3  # of the rows of a set on the hub that has no test part
HUB_BATCH = 1000  # rows

Arrays = dict[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Decoded:
    """Named data set as its reader decodes it.

    Attributes:
        parts: Inputs (N, …), as their domain stores them, and labels (N,) of "train" and "test".
        domain: Domain of the inputs.
        classes: Names of the classes; none for a set without labels, which has zeros for them and no test part.
        remarks: What the reader changed or left out.
    """

    parts: Arrays
    domain: Domain
    classes: tuple[str, ...]
    remarks: tuple[Remark, ...] = ()


Reader = Callable[[], Decoded]


def read_digits() -> Decoded:
    """Read 1,797 handwritten digits of 8×8 pixels and 17 grey levels (UCI, CC BY 4.0), a fifth of them for testing."""
    with importlib.resources.files("feint.data").joinpath("digits.npz").open("rb") as file, np.load(file) as arrays:
        images, labels = np.round(arrays["images"] * (255 / 16)).astype(np.uint8)[:, None], arrays["labels"]
    train, test = divide(images, labels, 0.2)
    return Decoded({"train": train, "test": test}, Pixels(images.shape[1:]), tuple("0123456789"))


def read_debian_fashion() -> Decoded:
    """Read Fashion-MNIST as Debian packages it."""

    def array(file: str, header: int) -> np.ndarray:
        return np.frombuffer(gzip.decompress((DEBIAN_FASHION / file).read_bytes()), np.uint8, offset=header)

    def part(prefix: str) -> tuple[np.ndarray, np.ndarray]:
        images = array(f"{prefix}-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
        return images, array(f"{prefix}-labels-idx1-ubyte.gz", 8)

    return Decoded({"train": part("train"), "test": part("t10k")}, Pixels((1, 28, 28)), tuple(FASHION))


def read_folder(folder: Path, size: int | None) -> Decoded:
    """Read train and test parts of a directory. Files that are unreadable, or not in this layout, raise `FeintError`.

    Args:
        folder: Directory with train*.parquet and test*.parquet (or .csv, .jsonl), or with train/CLASS/* and
            test/CLASS/* of images or texts. Without a test part the set has no labels.
        size: Height and width in pixels that the centre squares of images are scaled to, or the length of texts.

    Returns:
        The data set.

    Raises:
        MissingData: There is no train part.
    """
    parts = divided(folder)
    if "train" not in parts:
        raise MissingData(
            f"{folder} without a train part",
            "train-*.parquet and test-*.parquet, or train/CLASS/*.jpg and test/CLASS/*.jpg",
            "bring the data into one of these forms",
        )
    try:
        labelled = "test" in parts
        present = [part for part in ("train", "test") if part in parts]
        return decoded({part: read_part(parts[part], labelled=labelled) for part in present}, size)
    except FeintError as error:
        raise error.with_context(str(folder)) from error


def read_hub(name: str, hub: str, size: int | None, label: str | None) -> Decoded:
    """Read a data set of the Hugging Face hub.

    Args:
        name: Feint's name of the data set, for the error.
        hub: The hub's name, or NAME:CONFIG.
        size: As in `read_folder`.
        label: Column of the label; None for the first of the usual names.

    Returns:
        The data set.

    Raises:
        MissingData: The hub cannot be reached, or has no such set.
    """
    datasets, pyarrow = require("datasets", "data"), require("pyarrow", "data")
    place, _, config = hub.partition(":")
    try:
        parts = datasets.load_dataset(place, config or None, streaming=True)
        chosen = {"train": "train", "test": "test" if "test" in parts else "validation"}
        batches = {
            part: list(parts[theirs].with_format("arrow").iter(batch_size=HUB_BATCH))
            for part, theirs in chosen.items()
            if theirs in parts
        }
    except (OSError, RuntimeError) as error:
        remedy = "download it there and set FEINT_DATA to the directory that holds it, or go online"
        if name == "fashion_mnist":
            remedy += ", or `apt-get install dataset-fashion-mnist`"
        raise MissingData(
            f"no data set {name!r} ({type(error).__name__} from the hub's {hub})",
            f"FEINT_DATA/{name}/train-*.parquet and test-*.parquet, or a connection to the hub",
            remedy,
        ) from error
    tables = {part: pyarrow.concat_tables(rows) for part, rows in batches.items()}
    if label_column(tables["train"].column_names, label) is None:
        return decoded({"train": table_part(tables["train"], labelled=False)}, size)
    if "test" not in tables:
        train = tables["train"]
        order = np.random.default_rng(0).permutation(train.num_rows)
        cut = round(train.num_rows * (1 - TEST_SHARE))
        tables = {"train": train.take(np.sort(order[:cut])), "test": train.take(np.sort(order[cut:]))}
    return decoded({part: table_part(table, label=label) for part, table in tables.items()}, size)


def decoded(parts: Mapping[str, Part], size: int | None) -> Decoded:
    """Return the arrays of the parts of one set, with one domain and the same classes.

    Args:
        parts: Parts by name.
        size: Height and width of the images' centre squares, or length of the texts; None for those of the data.

    Returns:
        The data set.

    Raises:
        MixedSizes: The images of two parts have different sizes.
    """
    domain = domain_of(list(parts.values()))
    if isinstance(domain, (Text, Tokens)) and size is not None:
        domain = replace(domain, length=size)
    inputs = {part: converted(entry, domain, square=size) for part, entry in parts.items()}
    domains = {each for _, each, _ in inputs.values()}
    if len(domains) > 1:
        raise MixedSizes(f"parts of {' and '.join(map(repr, domains))}", "the same in all", "give a size: NAME@SIZE")
    (domain,) = domains
    arrays = [x for x, _, _ in inputs.values()]
    remarks = tuple(remark for _, _, more in inputs.values() for remark in more)
    labels = [entry.labels for entry in parts.values() if entry.labels is not None]
    if not labels:
        zeros = {part: (x, np.zeros(len(x), np.int64)) for part, (x, _, _) in inputs.items()}
        return Decoded(zeros, domain, (), remarks)
    labels = united(labels)
    assignment = assignments(labels[0])[0]
    pairs = {part: (x, assignment.of(entry)) for part, x, entry in zip(parts, arrays, labels, strict=True)}
    return Decoded(pairs, domain, class_names(labels[0], assignment), remarks)


def divide(values: np.ndarray, labels: np.ndarray, share: float) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Return two parts, the second with `share` of the rows; the choice of rows is always the same."""
    order = np.random.default_rng(0).permutation(len(values))
    cut = len(values) - round(len(values) * share)
    first, second = np.sort(order[:cut]), np.sort(order[cut:])
    return (values[first], labels[first]), (values[second], labels[second])
