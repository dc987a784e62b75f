"""Readers of image data: the digits that ship with Feint, Debian's package, Parquet files, image folders, the hub."""

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
    """1,797 handwritten digits of 8×8 pixels and 17 grey levels (UCI, CC BY 4.0); a fifth of them for testing."""
    with importlib.resources.files("feint.data").joinpath("digits.npz").open("rb") as file, np.load(file) as arrays:
        images, labels = np.round(arrays["images"] * (255 / 16)).astype(np.uint8)[:, None], arrays["labels"]
    train, test = divide(images, labels, 0.2)
    return {"train": train, "test": test}, tuple("0123456789")


def read_debian_fashion() -> tuple[Parts, tuple[str, ...]]:
    def array(file: str, header: int) -> np.ndarray:
        return np.frombuffer(gzip.decompress((DEBIAN_FASHION / file).read_bytes()), np.uint8, offset=header)

    def part(prefix: str) -> tuple[np.ndarray, np.ndarray]:
        images = array(f"{prefix}-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
        return images, array(f"{prefix}-labels-idx1-ubyte.gz", 8)

    return {"train": part("train"), "test": part("t10k")}, tuple(FASHION)


def read_folder(folder: Path, size: int | None) -> tuple[Parts, tuple[str, ...]]:
    datasets = require("datasets", "data")
    files = {part: sorted(map(str, folder.rglob(f"{part}*.parquet"))) for part in ("train", "test")}
    try:
        if all(files.values()):
            return _decode(datasets.load_dataset("parquet", data_files=files, streaming=True), size)
        if all((folder / part).is_dir() for part in files):
            return _decode(datasets.load_dataset("imagefolder", data_dir=str(folder), streaming=True), size)
    except (OSError, ValueError, RuntimeError) as error:  # what the readers of Parquet and images raise
        if isinstance(error, FeintError):
            raise
        raise DamagedFile(f"{folder} ({error})", "readable Parquet or image files", "fetch them again") from error
    raise MissingData(
        f"{folder} without both parts", "train-*.parquet and test-*.parquet, or train/CLASS/*.jpg and test/CLASS/*.jpg",
        "bring the data into one of these forms",
    )  # fmt: skip


def read_hub(name: str, hub: str, size: int | None) -> tuple[Parts, tuple[str, ...]]:
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
    """Arrays of a `datasets` dictionary of splits, and the classes."""
    train, names = decode_part(parts["train"], size)
    test, _ = decode_part(parts["test"] if "test" in parts else parts["validation"], size)
    return {"train": train, "test": test}, names or tuple(str(i) for i in range(train[1].max() + 1))


def decode_part(
    part: Any, size: int | None, *, labelled: bool = True
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[str, ...]]:
    """Arrays of one split of `datasets`: its image column and its label column, whatever their names, and the classes
    where it names them. Without labels, where none are needed, they are 0. Raises `BadInput`."""
    datasets = require("datasets", "data")
    features = part.features
    image = next((name for name, it in features.items() if isinstance(it, datasets.Image)), None)
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
    """A Pillow image as (H, W) or (H, W, 3) uint8; with a size, its centre square scaled to that."""
    image = image if image.mode in ("L", "RGB") else image.convert("RGB")
    if size is not None and image.size != (size, size):
        from PIL import Image, ImageOps

        image = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.LANCZOS)
    return np.asarray(image)


def divide(images: np.ndarray, labels: np.ndarray, share: float) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Two parts, the second with `share` of the rows; always the same ones."""
    order = np.random.default_rng(0).permutation(len(images))
    cut = len(images) - round(len(images) * share)
    first, second = np.sort(order[:cut]), np.sort(order[cut:])
    return (images[first], labels[first]), (images[second], labels[second])
