"""Victims from packages of other projects, `.venv/strangers`, with inputs as their users have them."""

import importlib.metadata
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from benchmarks.tables.rows import published_resnet20
from feint import data, victims
from feint._optional import require
from feint.data import Dataset, Split
from feint.errors import MissingData
from feint.signature import Domain, Pixels, Text, Tokens

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = {  # whose files Magika is asked about: of these versions, as lock/dev.txt had them
    "babel": "2.19.0", "docutils": "0.22.4", "fonttools": "4.68.0", "kubernetes-validate": "1.37.0",
    "matplotlib": "3.11.2", "networkx": "3.6.1", "numpy": "2.4.6", "onnx": "1.23.2", "pandas": "3.1.1",
    "playwright": "1.65.2", "plotly": "7.1.0", "pyarrow": "26.0.1", "pyright": "1.1.414", "scikit-learn": "1.9.1",
    "scipy": "1.17.1", "Sphinx": "9.0.4", "sympy": "1.14.0",
}  # fmt: skip
SUFFIXES = {
    ".py": "python", ".pyi": "python", ".txt": "txt", ".so": "elf", ".json": "json", ".c": "c", ".cc": "cpp",
    ".hpp": "cpp", ".cpp": "cpp", ".f90": "fortran", ".f": "fortran", ".html": "html", ".css": "css",
    ".js": "javascript", ".ts": "typescript", ".md": "markdown", ".rst": "rst", ".csv": "csv", ".xml": "xml",
    ".sh": "shell", ".ps1": "powershell", ".toml": "toml", ".yaml": "yaml", ".proto": "proto", ".po": "po",
    ".cmake": "cmake", ".png": "png", ".svg": "svg", ".pdf": "pdf", ".ttf": "ttf", ".woff2": "woff2", ".wav": "wav",
    ".npy": "npy", ".npz": "npz", ".gz": "gzip", ".onnx": "onnx",
}  # fmt: skip
MOST = 1500  # files of one suffix


def package(name: str) -> Path:
    """Return the directory of a package of `.venv/strangers`. Raises `MissingData` without it."""
    sites = [*(ROOT / ".venv" / "strangers").glob("lib/python*/site-packages"), *map(Path, sys.path)]
    place = next((site / name for site in sites if (site / name).is_dir()), None)
    if place is None:
        raise MissingData(f"no package {name}", "the packages of other projects", "make .venv/strangers")
    return place


def magika() -> tuple[nn.Module, Dataset]:
    """Google's classifier of file types, and files of other packages, of which each has one version."""
    place = package("magika") / "models" / "standard_v3_3"
    config = json.loads((place / "config.min.json").read_text())
    names = config["target_labels_space"]
    domain = Tokens(config["beg_size"] + config["end_size"], config["padding_token"] + 1, config["padding_token"])
    rows = [(features(content, config), names.index(label)) for content, label in _files() if label in names]
    x, y = np.stack([row for row, _ in rows]).astype(domain.stored), np.array([label for _, label in rows])
    model = victims.load_any(place / "model.onnx", domain=domain)
    return model.eval(), _divided("files", tuple(names), domain, x, y)


def _files() -> Iterator[tuple[bytes, str]]:
    """Yield files with their types, each content once. Raises `MissingData` where a package has another version."""
    files: dict[str, list[importlib.metadata.PackagePath]] = {suffix: [] for suffix in SUFFIXES}
    for name, version in DISTRIBUTIONS.items():
        distribution = importlib.metadata.distribution(name)
        if distribution.version != version:
            raise MissingData(
                f"{name} {distribution.version}",
                f"{version}, whose files the rows are of",
                f"pip install {name}=={version}",
            )
        for file in sorted(distribution.files or ()):
            if file.hash and file.suffix in files:  # what the installation writes itself has none
                files[file.suffix].append(file)
    for suffix, label in SUFFIXES.items():
        contents = dict.fromkeys(file.read_binary() for file in files[suffix][: 2 * MOST])
        yield from ((content, label) for content in [each for each in contents if len(each) >= 64][:MOST])


def features(content: bytes, config: dict[str, Any]) -> np.ndarray:
    """Return the first and the last 1,024 bytes without white space, padded by 256, as magika 1.0 takes them."""
    begin, end, block = config["beg_size"], config["end_size"], config["block_size"]
    first, last = content[:block].lstrip()[:begin], content[-block:].rstrip()[-end:]
    x = np.full(begin + end, config["padding_token"], np.int32)
    x[: len(first)] = np.frombuffer(first, np.uint8)
    x[begin + end - len(last) :] = np.frombuffer(last, np.uint8)
    return x


def directions() -> tuple[nn.Module, Dataset]:
    """RapidOCR's classifier of the direction of a line of text, and lines of words of SMS, half of them turned."""
    image, draw, font = (require(f"PIL.{name}", "data") for name in ("Image", "ImageDraw", "ImageFont"))
    spam, random = data.load("sms_spam"), np.random.default_rng(0)
    assert isinstance(spam.domain, Text)
    words = " ".join(spam.domain.to_strings(spam.train.inputs(slice(0, 1000)).numpy())).split()
    x, y = np.empty((3400, 3, 48, 192), np.uint8), np.arange(3400) % 2
    for row, turned in zip(x, y, strict=True):
        canvas = image.new("RGB", (192, 48), tuple(random.integers(180, 255, 3).tolist()))
        place = tuple(random.integers(2, 12, 2).tolist())
        colour = tuple(random.integers(0, 90, 3).tolist())
        draw.Draw(canvas).text(place, " ".join(random.choice(words, 4))[:14], fill=colour, font=font.load_default(24))
        row[:] = np.asarray(canvas.rotate(180) if turned else canvas).transpose(2, 0, 1)
    domain = Pixels((3, 48, 192))
    file = package("rapidocr_onnxruntime") / "models" / "ch_ppocr_mobile_v2.0_cls_infer.onnx"
    adapter = victims.Adapter(
        domain, ("0", "180"), victims.PixelInputs(low=-1.0), victims.ClassOutputs(values="probabilities")
    )
    model = victims.AdaptedModel(victims.load_raw(file), adapter)
    return model.eval(), _divided("lines", adapter.classes, domain, x, y)


def profanity() -> tuple[nn.Module, Dataset]:
    """alt-profanity-check's vectorizer and model, with texts of IMDB, a third of them with a swear word added."""
    joblib, pipeline = require("joblib", "sklearn"), require("sklearn.pipeline", "sklearn")
    place, reviews = package("profanity_check") / "data", data.load("imdb")
    model = pipeline.make_pipeline(joblib.load(place / "vectorizer.joblib"), joblib.load(place / "model.joblib"))
    domain = Text(400)
    assert isinstance(reviews.domain, Text)
    texts = [text[:300] for text in reviews.domain.to_strings(reviews.train.inputs(slice(0, 7000)).numpy())]
    swearing = [("idiot", "bastard", "asshole")[i % 9 // 3] if i % 3 == 0 else "" for i in range(len(texts))]
    x = domain.from_strings(
        [f"{text} you {word} {word}" if word else text for text, word in zip(texts, swearing, strict=True)], cut=True
    )
    y = np.array([bool(word) for word in swearing]).astype(np.int64)
    with tempfile.TemporaryDirectory() as folder:
        require("skops.io", "sklearn").dump(model, Path(folder) / "model.skops")
        loaded = victims.load_any(Path(folder) / "model.skops", domain=domain)
    return loaded.eval(), _divided("reviews with swear words", ("clean", "profane"), domain, x, y)


def cifar10() -> tuple[nn.Module, Dataset]:
    """The published ResNet-20 of CIFAR-10, asked about CIFAR-100."""
    images = data.load("cifar10")
    return published_resnet20().eval(), images


def _divided(name: str, classes: tuple[str, ...], domain: Domain, x: np.ndarray, y: np.ndarray) -> Dataset:
    """Return a data set of shuffled inputs: 300 fit defenses, 900 judge, and the rest are the attacker's pool."""
    order = np.random.default_rng(0).permutation(len(x))
    parts = {"train": order[:300], "test": order[300:1200], "held_out": order[1200:]}
    splits = {part: Split.of(x[rows], y[rows], domain=domain, name=name, part=part) for part, rows in parts.items()}
    return Dataset(name, classes, splits["train"], splits["test"], splits["held_out"])


class Package(NamedTuple):
    """How to load a victim with its data set, and how many inputs the attacker's pool has."""

    load: Callable[[], tuple[nn.Module, Dataset]]
    pool: int


PACKAGES = {
    "Magika, 214 file types": Package(magika, 5000),  # there are somewhat more files: as many as are asked about
    "RapidOCR, direction of lines": Package(directions, 2200),
    "alt-profanity-check": Package(profanity, 4800),
    "CIFAR-10, ResNet-20": Package(cifar10, 50_000),
}
