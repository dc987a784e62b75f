"""Models on the line: whatever is to be protected or stolen becomes a module from inputs in [0, 1] to logits."""

from feint.victims.answering import FromAnswers
from feint.victims.estimator import FromEstimator, load_estimator
from feint.victims.factory import from_factory
from feint.victims.found import classes_of, load_any, shape_of
from feint.victims.model import FromProbabilities, Once, answers, logits, predict
from feint.victims.onnx import FromONNX
from feint.victims.published import load_published
from feint.victims.stored import Trained, fingerprint, load, load_weights, notes, save

__all__ = [
    "FromAnswers",
    "FromEstimator",
    "FromONNX",
    "FromProbabilities",
    "Once",
    "Trained",
    "answers",
    "classes_of",
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
    "shape_of",
]
