"""Named networks, from inputs of a domain to logits (N, K).

Normalisation is part of the model.
"""

from feint.models.networks.architectures import ARCHITECTURES, Architecture
from feint.models.networks.network import VOCABULARY, Classifier, Ensemble, Network, default_device, get

__all__ = ["ARCHITECTURES", "VOCABULARY", "Architecture", "Classifier", "Ensemble", "Network", "default_device", "get"]
