"""Convolutional network for texts and token sequences."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feint.signature import Domain, Tokens

BYTES = 256


class SequenceCNN(nn.Module):
    """Convolutions over embedded symbols (N, L), and the maximum over time, as in Kim (EMNLP 2014).

    Symbols are the bytes of a text or the tokens of a sequence, embedded with their positions. A first convolution with
    a stride of two makes texts of bytes short. Padding counts as a symbol of zeros.

    Args:
        domain: `Text` or `Tokens`.
        classes: Number K of classes.
        width: Channels of the convolutions.
    """

    def __init__(self, domain: Domain, classes: int, *, width: int = 64) -> None:
        super().__init__()
        symbols, padding = (domain.vocabulary, domain.padding) if isinstance(domain, Tokens) else (BYTES, 0)
        self.padding = padding
        self.embedding = nn.Embedding(symbols, width // 2, padding_idx=padding)
        self.position = nn.Parameter(torch.zeros(domain.shape[0], width // 2))
        self.first = nn.Conv1d(width // 2, width, 7, stride=2, padding=3)
        self.second = nn.Conv1d(width, width, 5, padding=2)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(2 * width, classes))

    def forward(self, x: Tensor) -> Tensor:
        there = (x != self.padding)[..., None]
        symbols = (self.embedding(x.long()) + self.position) * there
        low = F.relu(self.first(symbols.transpose(1, 2)))
        high = F.relu(self.second(F.max_pool1d(low, 2, ceil_mode=True)))
        return self.head(torch.cat([low.amax(2), high.amax(2)], 1))
