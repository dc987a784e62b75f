"""Victims: models of any kind behind an adapter.

A victim is a torch module from inputs (N, …) of a domain to logits (N, K).
"""

from feint.models.inference import CachedForward, FromProbabilities, answers, logits, penultimate, predict
from feint.models.stored import Trained, fingerprint, load, load_weights, save
from feint.paid.meter import Meter
from feint.recipes.store import notes
from feint.victims.adapter import AdaptedModel, Adapter
from feint.victims.certain import adapt
from feint.victims.discovery import classes_of, domain_of, is_own, label_classes, load_adapted, load_any, load_raw
from feint.victims.formats.estimator import EstimatorModel
from feint.victims.formats.function import FunctionModel
from feint.victims.formats.onnx import OnnxFile
from feint.victims.formats.torch_module import TorchModel
from feint.victims.inputs import ColumnInputs, PixelInputs, TextInputs, TokenInputs
from feint.victims.json_api.model import JsonApiModel
from feint.victims.model_file import ModelFile
from feint.victims.outputs import ClassOutputs, label_text
from feint.victims.published import load_published
from feint.victims.raw import Metadata, RawModel, TensorSpec
from feint.victims.remote import FromAnswers

__all__ = [
    "AdaptedModel",
    "Adapter",
    "CachedForward",
    "ClassOutputs",
    "ColumnInputs",
    "EstimatorModel",
    "FromAnswers",
    "FromProbabilities",
    "FunctionModel",
    "JsonApiModel",
    "Metadata",
    "Meter",
    "ModelFile",
    "OnnxFile",
    "PixelInputs",
    "RawModel",
    "TensorSpec",
    "TextInputs",
    "TokenInputs",
    "TorchModel",
    "Trained",
    "adapt",
    "answers",
    "classes_of",
    "domain_of",
    "fingerprint",
    "is_own",
    "label_classes",
    "label_text",
    "load",
    "load_adapted",
    "load_any",
    "load_published",
    "load_raw",
    "load_weights",
    "logits",
    "notes",
    "penultimate",
    "predict",
    "save",
]
