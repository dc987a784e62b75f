"""Victims: adapters of models of any kind to torch modules from inputs (N, …) in [0, 1] to logits (N, K)."""

from feint.models.inference import CachedForward, FromProbabilities, answers, logits, predict
from feint.models.stored import Trained, fingerprint, load, load_weights, notes, save
from feint.victims.discovery import classes_of, domain_of, load_any
from feint.victims.estimator import FromEstimator, load_estimator
from feint.victims.factory import from_factory
from feint.victims.onnx import FromONNX
from feint.victims.published import load_published
from feint.victims.remote import FromAnswers

__all__ = [
    "CachedForward",
    "FromAnswers",
    "FromEstimator",
    "FromONNX",
    "FromProbabilities",
    "Trained",
    "answers",
    "classes_of",
    "domain_of",
    "fingerprint",
    "from_factory",
    "load",
    "load_any",
    "load_estimator",
    "load_published",
    "load_weights",
    "logits",
    "notes",
    "predict",
    "save",
]
