"""Readers of image data: the bundled digits, Debian's package, Parquet files, image folders, and the hub."""

import gzip
import importlib.resources
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from feint._optional import require
from feint.errors import BadInput, DamagedFile, FeintError, MissingData, MixedSizes

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")  # from the package dataset-fashion-mnist
FASHION = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
LABELS = "label", "fine_label", "labels"  # columns that hold the class, the first one present

Parts = dict[str, tuple[np.ndarray, np.ndarray]]
Reader = Callable[[], tuple[Parts, tuple[str, ...]]]


def read_digits() -> tuple[Parts, tuple[str, ...]]:
    """Read 1,797 handwritten digits of 8×8 pixels and 17 grey levels (UCI, CC BY 4.0), a fifth of them for testing."""
    with importlib.resources.files("feint.data").joinpath("digits.npz").open("rb") as file, np.load(file) as arrays:
        images, labels = np.round(arrays["images"] * (255 / 16)).astype(np.uint8)[:, None], arrays["labels"]
    train, test = divide(images, labels, 0.2)
    return {"train": train, "test": test}, tuple("0123456789")


def read_debian_fashion() -> tuple[Parts, tuple[str, ...]]:
    """Read Fashion-MNIST as Debian packages it."""

    def array(file: str, header: int) -> np.ndarray:
        return np.frombuffer(gzip.decompress((DEBIAN_FASHION / file).read_bytes()), np.uint8, offset=header)

    def part(prefix: str) -> tuple[np.ndarray, np.ndarray]:
        images = array(f"{prefix}-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
        return images, array(f"{prefix}-labels-idx1-ubyte.gz", 8)

    return {"train": part("train"), "test": part("t10k")}, tuple(FASHION)


def read_folder(folder: Path, size: int | None) -> tuple[Parts, tuple[str, ...]]:
    """Read train and test parts of a directory of Parquet files or images.

    Args:
        folder: Directory with train*.parquet and test*.parquet, or with train/CLASS/* and test/CLASS/*.
        size: Height and width in pixels that images are scaled to; None leaves them as they are.

    Returns:
        Images (N, C, H, W) uint8 and labels (N,) int64 by part, and the names of the classes.

    Raises:
        FeintError: The images or columns are not those that `decode_part` takes.
        DamagedFile: The files are unreadable.
        MissingData: A part is missing.
    """
    datasets = require("datasets", "data")
    files = {part: sorted(map(str, folder.rglob(f"{part}*.parquet"))) for part in ("train", "test")}
    try:
        if all(files.values()):
            return _decode(datasets.load_dataset("parquet", data_files=files, streaming=True), size)
        if all((folder / part).is_dir() for part in files):
            return _decode(datasets.load_dataset("imagefolder", data_dir=str(folder), streaming=True), size)
    except FeintError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # those of the readers of Parquet and images
        raise DamagedFile(f"{folder} ({error})", "readable Parquet or image files", "fetch them again") from error
    raise MissingData(
        f"{folder} without both parts", "train-*.parquet and test-*.parquet, or train/CLASS/*.jpg and test/CLASS/*.jpg",
        "bring the data into one of these forms",
    )  # fmt: skip


def read_hub(name: str, hub: str, size: int | None) -> tuple[Parts, tuple[str, ...]]:
    """Read a data set of the Hugging Face hub.

    Args:
        name: Feint's name of the data set, for the error.
        hub: The hub's name.
        size: Height and width in pixels that images are scaled to; None leaves them as they are.

    Returns:
        As `read_folder`.

    Raises:
        MissingData: The hub cannot be reached, or has no such set.
    """
    datasets = require("datasets", "data")
    try:
        return _decode(datasets.load_dataset(hub, streaming=True), size)
    except (OSError, RuntimeError) as error:
        remedy = "download it there and set FEINT_DATA to the directory that holds it, or go online"
        if name == "fashion_mnist":
            remedy += ", or `apt-get install dataset-fashion-mnist`"
        raise MissingData(
            f"no data set {name!r} ({type(error).__name__} from the hub's {hub})",
            f"FEINT_DATA/{name}/train-*.parquet and test-*.parquet, or a connection to the hub",
            remedy,
        ) from error


def _decode(parts: Any, size: int | None) -> tuple[Parts, tuple[str, ...]]:
    """Return the arrays of a dictionary of splits of `datasets`, and the names of the classes."""
    train, names = decode_part(parts["train"], size)
    test, _ = decode_part(parts["test"] if "test" in parts else parts["validation"], size)
    return {"train": train, "test": test}, names or tuple(str(i) for i in range(train[1].max() + 1))


def decode_part(
    part: Any, size: int | None, *, labelled: bool = True
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[str, ...]]:
    """Decode one split of the library `datasets`.

    Args:
        part: The split. The first column of images and the first of `LABELS` count.
        size: Height and width in pixels that images are scaled to; None leaves them as they are.
        labelled: Whether labels are required. Missing ones are 0 otherwise.

    Returns:
        Images (N, C, H, W) uint8 with labels (N,) int64, and the names of the classes where the split has them.

    Raises:
        BadInput: There is no image, or no column of images or labels.
        MixedSizes: The images have several sizes, and no `size` is given.
    """
    datasets = require("datasets", "data")
    features = part.features
    image = next((name for name, feature in features.items() if isinstance(feature, datasets.Image)), None)
    image = image or next((name for name in ("image", "img") if name in features), None)
    label = next((name for name in LABELS if name in features), None)
    if image is None or (label is None and labelled):
        raise BadInput(f"columns {', '.join(features)}", "an image and a label", "rename them to image and label")
    rows = part.cast_column(image, datasets.Image())
    pairs = [(_pixels(row[image], size), row[label] if label else 0) for row in rows]
    if len({pixels.shape for pixels, _ in pairs}) > 1:
        raise MixedSizes("images of several sizes", "one size", "load the set with a size, in pixels")
    if not pairs:
        raise BadInput("no images", "one at least", "check the directory")
    images = np.stack([pixels for pixels, _ in pairs])
    images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    names = tuple(getattr(features[label], "names", None) or ()) if label else ()
    return (np.ascontiguousarray(images), np.array([label for _, label in pairs], np.int64)), names


def _pixels(image: Any, size: int | None) -> np.ndarray:
    """Return a Pillow image as (H, W) or (H, W, 3) uint8; a `size` scales its centre square."""
    image = image if image.mode in ("L", "RGB") else image.convert("RGB")
    if size is not None and image.size != (size, size):
        from PIL import Image, ImageOps

        image = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.LANCZOS)
    return np.asarray(image)


def divide(images: np.ndarray, labels: np.ndarray, share: float) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Return two parts, the second with `share` of the rows; the choice of rows is always the same."""
    order = np.random.default_rng(0).permutation(len(images))
    cut = len(images) - round(len(images) * share)
    first, second = np.sort(order[:cut]), np.sort(order[cut:])
    return (images[first], labels[first]), (images[second], labels[second])
