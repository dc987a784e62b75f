"""Models on the line: whatever is to be protected or stolen becomes a module from inputs in [0, 1] to logits."""

from feint.victims.model import FromProbabilities, answers, predict
from feint.victims.published import load_published
from feint.victims.stored import fingerprint, load, save

__all__ = ["FromProbabilities", "answers", "fingerprint", "load", "load_published", "predict", "save"]
