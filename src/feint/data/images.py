"""Images of any size, mode and depth as inputs of `Pixels`, decoded with Pillow."""

import io
import struct
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from feint._optional import require
from feint.data.remarks import Remark
from feint.errors import BadInput, DamagedFile, MixedSizes, one_line
from feint.signature import Pixels

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm",
    ".avif", ".jp2",
)  # fmt: skip
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # by number of channels
DEEP = 257  # 65535 / 255
TWELVE_BITS = 4095  # highest level, as cameras and scanners write them into files of 16
ORIENTATION = 0x0112  # tag of EXIF


def from_images(
    sources: "Iterable[tuple[str, Path | bytes | Image]]", domain: Pixels | None = None, *, square: int | None = None
) -> tuple[np.ndarray, Pixels, tuple[Remark, ...]]:
    """Decode images.

    EXIF's orientation is applied, transparency left out as by Pillow's `convert("RGB")`, 16 bits divided by 257. An
    image that cannot be decoded raises `DamagedFile`, which names it.

    Args:
        sources: Name of each image with its file, its content, or itself.
        domain: Images that the model takes: others are scaled as a whole, and their channels converted. None keeps
            the size, and grey where all are grey.
        square: Height and width that the centre squares of the images are scaled to.

    Returns:
        Images (N, C, H, W) uint8, their domain, and remarks on what was converted.

    Raises:
        MixedSizes: The images have several sizes, and there is neither a domain nor a square.
        BadInput: There is no image, or the domain is none of images of 1, 3 or 4 channels.
    """
    if domain is not None and (len(domain.shape) != 3 or domain.shape[0] not in MODES):
        raise BadInput("images", f"inputs of shape {domain.shape}, which the model takes", "choose other data")
    counts: Counter[str] = Counter()
    pixels = [_pixels(name, source, domain, square, counts) for name, source in sources]
    if not pixels:
        raise BadInput("no images", "one at least", "check the directory")
    if counts["images 16 bit"]:
        check_depth("images of 16 bits a channel", counts["highest level"])
    if domain is None and {array.ndim for array in pixels} == {2, 3}:
        counts["images grey"] = sum(array.ndim == 2 for array in pixels)
        pixels = [array if array.ndim == 3 else np.repeat(array[:, :, None], 3, 2) for array in pixels]
    sizes = Counter(array.shape[1::-1] for array in pixels)
    if len(sizes) > 1:
        common = ", ".join(f"{w}×{h}" for (w, h), _ in sizes.most_common(3))
        raise MixedSizes(
            f"images of several sizes ({common}, …)", "one size, or the size that the model takes",
            "give it: NAME@SIZE or NAME@WIDTHxHEIGHT",
        )  # fmt: skip
    x = np.stack(pixels)
    x = np.ascontiguousarray(x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2))
    return x, domain or Pixels(x.shape[1:]), _remarks(counts, len(x), domain)


def check_depth(name: str, highest: int) -> None:
    """Raise `BadInput` for images of 16 bits whose levels are those of 12 or fewer: they would be nearly black."""
    if highest <= TWELVE_BITS:
        raise BadInput(
            f"{name} whose highest level is {highest:,}", "levels up to 65,535",
            "save them with 8 bits, or multiply levels of 12 bits by 16",
        )  # fmt: skip


def resized(x: np.ndarray, domain: Pixels) -> tuple[np.ndarray, tuple[Remark, ...]]:
    """Return images (N, C, H, W) uint8 in the size and with the channels of the domain. Errors as in `from_images`."""
    image = require("PIL.Image", "data")
    arrays = (array[0] if len(array) == 1 else array.transpose(1, 2, 0) for array in x)
    named = ((f"image {i + 1:,}", image.fromarray(np.ascontiguousarray(array))) for i, array in enumerate(arrays))
    x, _, remarks = from_images(named, domain)
    return x, remarks


def _pixels(
    name: str, source: "Path | bytes | Image", domain: Pixels | None, square: int | None, counts: Counter[str]
) -> np.ndarray:
    """Return one image as (H, W) or (H, W, C) uint8, and count what was converted."""
    module = require("PIL.Image", "data")
    try:
        opened = _opened(source)
        counts["images framed"] += opened.format != "MPO" and getattr(opened, "is_animated", False)  # MPO: a preview
        image = _upright(opened)
        image.load()
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        IndexError,
        struct.error,
        module.DecompressionBombError,
    ) as error:
        raise DamagedFile(f"{name} ({one_line(error, 120)})", "a readable image", "mend or delete it") from error
    image = _eight_bits(name, image, counts)
    if "A" in image.getbands() or "transparency" in image.info:
        counts["images alpha"] += domain is None or domain.shape[0] != 4
    grey = image.mode in ("1", "L", "LA")
    if domain is None:
        image = image if image.mode == "L" else image.convert("L" if grey else "RGB")
    else:
        channels = domain.shape[0]
        counts["images grey" if channels > 1 else "images to grey"] += grey != (channels == 1)
        image = image if image.mode == MODES[channels] else image.convert(MODES[channels])
    return np.asarray(_scaled(image, domain, square, counts))


def _scaled(image: "Image", domain: Pixels | None, square: int | None, counts: Counter[str]) -> "Image":
    module = require("PIL.Image", "data")
    if square is not None and image.size != (square, square):
        centre = require("PIL.ImageOps", "data").fit(image.convert("RGB"), (square,) * 2, module.Resampling.LANCZOS)
        return centre if domain is None else centre.convert(image.mode)
    size = image.size if domain is None else (domain.shape[2], domain.shape[1])
    if image.size == size:
        return image
    counts["images scaled"] += 1
    counts[f"size {image.size[0]}×{image.size[1]}"] += 1
    return image.resize(size, module.Resampling.BILINEAR)  # Pillow's averages where it makes smaller


def _opened(source: "Path | bytes | Image") -> "Image":
    if isinstance(source, (Path, bytes)):
        return require("PIL.Image", "data").open(io.BytesIO(source) if isinstance(source, bytes) else source)
    return source


def _upright(image: "Image") -> "Image":
    """Return the image as EXIF says that the camera was held."""
    if image.getexif().get(ORIENTATION) is None:
        return image
    return require("PIL.ImageOps", "data").exif_transpose(image)


def _eight_bits(name: str, image: "Image", counts: Counter[str]) -> "Image":
    """Return a grey image of 16 bits, or of numbers in [0, 1], as one of 8 bits; any other one as it is."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image).astype(np.float64)
    most = 1 if image.mode == "F" else 65535
    if values.min() < 0 or values.max() > most:
        raise BadInput(
            f"{name} with values from {values.min():g} to {values.max():g}", f"grey levels from 0 to {most}",
            "save it with 8 or 16 bits a channel",
        )  # fmt: skip
    if image.mode != "F":
        counts["images 16 bit"] += 1
        counts["highest level"] = max(counts["highest level"], int(values.max()))
    levels = np.rint(values / DEEP if most > 1 else values * 255).astype(np.uint8)
    return require("PIL.Image", "data").fromarray(levels)


def _remarks(counts: Counter[str], n: int, domain: Pixels | None) -> tuple[Remark, ...]:
    size = next((key.removeprefix("size ") for key, _ in counts.most_common() if key.startswith("size ")), "")
    target = f"{domain.shape[2]}×{domain.shape[1]}" if domain is not None and len(domain.shape) == 3 else ""
    values = {"n": f"{n:,}", "size": size, "target": target}
    phrases = [phrase for phrase in counts if phrase.startswith("images ") and counts[phrase]]
    return tuple(Remark(phrase, values | {"count": f"{counts[phrase]:,}"}) for phrase in phrases)
