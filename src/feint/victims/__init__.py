"""Models on the line: whatever is to be protected or stolen becomes a module from inputs in [0, 1] to logits."""

from feint.victims.estimator import FromEstimator, load_estimator
from feint.victims.model import FromProbabilities, Once, answers, logits, predict
from feint.victims.published import load_published
from feint.victims.stored import Trained, fingerprint, load, load_any, notes, save

__all__ = [
    "FromEstimator",
    "FromProbabilities",
    "Once",
    "Trained",
    "answers",
    "fingerprint",
    "load",
    "load_any",
    "load_estimator",
    "load_published",
    "logits",
    "notes",
    "predict",
    "save",
]
