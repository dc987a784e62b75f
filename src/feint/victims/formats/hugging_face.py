"""Directories of Hugging Face: classifiers of texts and images, loaded from disk, without remote code."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from feint._optional import require
from feint.errors import BadInput, DamagedFile, one_line
from feint.victims.formats.torch_module import TorchModel
from feint.victims.inputs import PixelInputs
from feint.victims.raw import Metadata, RawModel, TensorSpec

TASKS = {  # by the end of the architecture's name
    "ForTokenClassification": "token classification or generation",
    "ForCausalLM": "token classification or generation",
    "ForConditionalGeneration": "token classification or generation",
    "ForMaskedLM": "token classification or generation",
    "ForQuestionAnswering": "token classification or generation",
    "ForObjectDetection": "detection",
    "ForSemanticSegmentation": "segmentation",
    "Model": "embedding",
}
LOCAL = {"local_files_only": True, "trust_remote_code": False}
MOST = 512  # tokens of a text where neither tokenizer nor configuration says


def load_hugging_face(path: Path | str) -> RawModel:
    """Load a directory with `config.json`, weights in safetensors, and a tokenizer or image preprocessor.

    Without transformers it raises `MissingData`.

    Args:
        path: The directory.

    Returns:
        A model of strings, or of images.

    Raises:
        DamagedFile: The directory is incomplete, or transformers cannot read it.
        BadInput: It is no classifier of texts or images.
    """
    path = Path(path)
    config = _json(path / "config.json")
    architecture = next(iter(config.get("architectures") or [""]))
    kind = next((kind for end, kind in KINDS.items() if architecture.endswith(end)), None)
    _transformers()
    try:
        if kind is not None:
            return kind(path)
    except BadInput:
        raise
    except Exception as error:  # transformers raises errors of many kinds
        raise DamagedFile(
            f"{path} ({one_line(error, 200)})", "config.json, model.safetensors and a tokenizer or preprocessor",
            "save it again: model.save_pretrained(path), tokenizer.save_pretrained(path)",
        ) from error  # fmt: skip
    task = next((task for end, task in TASKS.items() if architecture.endswith(end)), None)
    if "pretrained_cfg" in config:
        raise BadInput(
            f"{path}, a model of timm", "a model of transformers",
            f"return timm.create_model('local-dir:{path}', pretrained=True) in a factory: package.module:factory",
        )  # fmt: skip
    named = f"{architecture}, a model of {task}" if task else architecture or "a model without an architecture"
    raise BadInput(
        f"{path} with {named}", "a classifier of texts or images",
        "put a classifier behind it, or wrap it in a function that returns labels: package.module:function",
    )  # fmt: skip


class TextClassifier(RawModel):
    """Classifier of texts. Its input "text" is an array (N,) of strings, its output the logits.

    Longer texts are cut after the greatest number of tokens that the model takes. A pickle of it has its path alone.

    Args:
        path: Directory of the model and its tokenizer.
    """

    repeatable = True

    def __init__(self, path: Path | str) -> None:
        self.path, self.place = Path(path), str(path)
        transformers = _transformers()
        kind = transformers.AutoModelForSequenceClassification
        self._model = kind.from_pretrained(path, use_safetensors=True, **LOCAL).float().eval()
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(path, **LOCAL)
        config = self._model.config
        positions = getattr(config, "max_position_embeddings", None) or MOST
        self._most = int(min(self._tokenizer.model_max_length, positions))
        self.metadata = _metadata(config)
        self.inputs = (TensorSpec("text", "string", (None,)),)
        self.outputs = (TensorSpec("logits", "float32", (None, config.num_labels)),)
        self.digest = _digest(self.path)

    def run(self, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
        texts = [str(text) for text in arrays["text"]]
        tokens = self._tokenizer(texts, padding=True, truncation=True, max_length=self._most, return_tensors="pt")
        with torch.no_grad():
            return {"logits": self._model(**tokens).logits.numpy()}

    def __reduce__(self) -> tuple[Callable[..., "TextClassifier"], tuple[Path]]:
        return TextClassifier, (self.path,)


class ImageClassifier(TorchModel):
    """Classifier of images, whose gradients are kept. A pickle of it has its path alone.

    Args:
        path: Directory of the model and its preprocessor.
    """

    def __init__(self, path: Path | str) -> None:
        folder = Path(path)
        kind = _transformers().AutoModelForImageClassification
        model = kind.from_pretrained(path, use_safetensors=True, **LOCAL).float().eval()
        inputs = _pixel_inputs(_json(folder / "preprocessor_config.json"))
        spec = TensorSpec("pixel_values", "float32", (None, 3, *inputs.size))
        super().__init__(_Logits(model), str(path), (spec,), _digest(folder))
        self.path = folder
        self.metadata = _metadata(model.config, inputs)

    def __reduce__(self) -> tuple[Callable[..., "ImageClassifier"], tuple[Path]]:
        return ImageClassifier, (self.path,)


class _Logits(nn.Module):
    """Module that returns the logits of a model of transformers."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(pixel_values=x).logits


KINDS: dict[str, Callable[[Path], RawModel]] = {  # by the end of the architecture's name
    "ForSequenceClassification": TextClassifier,
    "ForImageClassification": ImageClassifier,
}


def _transformers() -> Any:
    transformers = require("transformers", "hf")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _metadata(config: Any, inputs: PixelInputs | None = None) -> Metadata:
    """Return names of classes and the task of a configuration. LABEL_0, LABEL_1, … are no names."""
    if config.num_labels == 1 or config.problem_type == "regression":
        return Metadata(task="regression")
    if config.problem_type == "multi_label_classification":
        return Metadata(task="multi-label classification")
    names = tuple(str(config.id2label[i]) for i in range(config.num_labels))
    if all(re.fullmatch(r"LABEL_\d+", name) for name in names):
        names = tuple(map(str, range(config.num_labels)))
    return Metadata(names, values="logits", inputs=inputs)


def _pixel_inputs(settings: dict[str, Any]) -> PixelInputs:
    """Return the inputs of an image model by its preprocessor's settings."""
    size = settings.get("crop_size") if settings.get("do_center_crop") else settings.get("size")
    if isinstance(size, dict):
        sides = (size["height"], size["width"]) if "height" in size else (size["shortest_edge"],) * 2
    else:
        sides = (size, size) if isinstance(size, int) else tuple(size or (224, 224))
    factor = settings.get("rescale_factor", 1 / 255) if settings.get("do_rescale", True) else 1.0
    low = -1.0 if settings.get("rescale_offset") else 0.0
    normalized = settings.get("do_normalize", True)
    mean, deviation = (tuple(settings.get(key) or ()) if normalized else () for key in ("image_mean", "image_std"))
    high = 255 * factor + low
    return PixelInputs("pixel_values", low=low, high=round(high, 6), mean=mean, deviation=deviation, size=sides)


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DamagedFile(f"{path} ({error})", "a file of JSON", "save the model again: save_pretrained") from error


def _digest(folder: Path) -> str:
    """Return the SHA-256 of all files of a directory that belong to the model."""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in (".json", ".safetensors", ".txt", ".model"):
            digest.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
