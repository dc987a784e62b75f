"""Images of an owner, wherever they are: a named data set, a directory, or an .npz file."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from feint import data
from feint._optional import require
from feint.data import Split
from feint.data.pools import parse_pool
from feint.errors import BadInput, DamagedFile, FeintError, MissingData, MixedSizes, one_line

Shape = tuple[int, int, int] | None
KINDS = "a data set, a directory of CLASS/*.png or *.parquet, or an .npz with images and labels"


def samples_at(place: str, shape: Shape) -> Split:
    """The labelled samples at a place; of a data set and of a directory with both, the test part, which the model was
    not trained on. Raises `MissingData`, `DamagedFile` or `BadInput`."""
    return _from_file(place, shape, labelled=True) if is_file(place) else data.load(place).test


def pool_at(place: str, shape: Shape) -> Split:
    """The images at a place that a thief would ask about, with labels or without; of a data set its pool, unless it is
    NAME/train. Errors as `samples_at`."""
    if is_file(place):
        return _from_file(place, shape, labelled=False)
    return parse_pool(place)


def is_file(place: str) -> bool:
    """Whether a place is a path: no data set's name, and it exists here or ends as a file does."""
    return place not in data.SOURCES and (Path(place).exists() or Path(place).suffix == ".npz")


def _from_file(place: str, shape: Shape, *, labelled: bool) -> Split:
    path = Path(place)
    if path.is_dir():
        images, labels = _from_folder(path, shape, labelled)
    elif path.suffix == ".npz":
        images, labels = _from_npz(path, labelled)
    else:
        raise BadInput(place, KINDS, "name one of these")
    return Split.of(images, labels, name=path.name, part="all")


def _from_npz(path: Path, labelled: bool) -> tuple[np.ndarray, np.ndarray]:
    if not path.is_file():
        raise MissingData(f"{path}, which is not there", "an .npz file with images and labels", "check the path")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            held = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DamagedFile(f"{path} ({error})", "an .npz file without pickles", "write it again: numpy.savez") from error
    if "images" not in held or (labelled and "labels" not in held):
        raise BadInput(
            f"{path} with {', '.join(held) or 'nothing'}", "images and labels" if labelled else "images",
            "name the arrays so: numpy.savez(path, images=…, labels=…)",
        )  # fmt: skip
    images = _planes(path, held["images"])
    labels = held.get("labels", np.zeros(len(images), np.int64)).reshape(-1)
    if len(labels) != len(images) or labels.dtype.kind not in "iu":
        raise BadInput(
            f"{len(labels)} labels of type {labels.dtype} for {len(images)} images", "an integer each", "mend the file"
        )
    return images, labels


def _planes(path: Path, images: np.ndarray) -> np.ndarray:
    """The images as (N, C, H, W) uint8: grey ones without a channel, and those with the channels last, are turned."""
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim == 4 and images.shape[3] in (1, 3) and images.shape[1] not in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or not len(images):
        raise BadInput(
            f"{path}, images of shape {images.shape}", "(N, C, H, W), (N, H, W, C) or (N, H, W)", "reshape them"
        )
    if images.dtype == np.uint8:
        return np.ascontiguousarray(images)
    if images.dtype.kind != "f" or not (images.min() >= 0 and images.max() <= 1):
        raise BadInput(
            f"{path}, images of type {images.dtype} from {images.min():.3g} to {images.max():.3g}",
            "uint8, or floats in [0, 1]", "save plain pixels: normalisation is a part of the model",
        )  # fmt: skip
    return np.ascontiguousarray(np.round(images * 255).astype(np.uint8))


def _from_folder(path: Path, shape: Shape, labelled: bool) -> tuple[np.ndarray, np.ndarray]:
    """The images of a directory; where they differ in size, scaled to what the model takes."""
    found = _opened(path)
    part = found["test" if "test" in found else next(iter(found))]
    try:
        (images, labels), _ = data.decode_part(part, None, labelled=labelled)
    except MixedSizes:
        if shape is None:
            raise
        (images, labels), _ = data.decode_part(part, shape[1], labelled=labelled)
    return images, labels


def _opened(path: Path) -> Any:
    """The parts of a directory, as `datasets` reads them."""
    datasets = require("datasets", "data")
    parquet = sorted(map(str, path.rglob("*.parquet")))
    parts = {part: [it for it in parquet if Path(it).name.startswith(part)] for part in ("train", "test")}
    files: Any = {part: its for part, its in parts.items() if its} or {"train": parquet}
    try:
        if parquet:
            return datasets.load_dataset("parquet", data_files=files, streaming=True)
        return datasets.load_dataset("imagefolder", data_dir=str(path), streaming=True)
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, FeintError):
            raise
        raise DamagedFile(f"{path} ({one_line(error, 160)})", KINDS, "bring the data into that form") from error
