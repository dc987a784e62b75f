"""Normalization of texts."""

import unicodedata
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from feint.defenses.inputs.input import Input
from feint.signature import Domain, Text


@dataclass(frozen=True)
class TextNormalization(Input):
    """Removes differences between texts that readers hardly see (Boucher et al., S&P 2022).

    In this order: compatible characters become one (Unicode NFKC), and invisible ones, of category Cf, are left out;
    all white space becomes one space, with none at the ends; upper case becomes lower case (Unicode case folding). No
    word changes. An attacker who varies spelling, space or invisible characters to search for a boundary, or to draw
    new noise, gets one answer. A text that grows beyond its domain's length is cut after a whole character.

    Attributes:
        unicode: Whether characters are normalised.
        space: Whether white space is.
        case: Whether upper case becomes lower case. Leave it out for a model that reads case. Without any of the three
            the text passes unchanged.
    """

    cite: ClassVar[str] = "boucher2022bad"
    domains: ClassVar[tuple[type[Domain], ...]] = (Text,)
    unicode: bool = True
    space: bool = True
    case: bool = True

    def perturb(self, x: Tensor, model: nn.Module) -> Tensor:
        domain = Text(x.shape[1])
        texts = [self._normal(text) for text in domain.to_strings(x.cpu().numpy())]
        return torch.from_numpy(domain.from_strings(texts, cut=True)).to(x)

    def _normal(self, text: str) -> str:
        if self.unicode:
            text = unicodedata.normalize("NFKC", text)
            text = "".join(character for character in text if unicodedata.category(character) != "Cf")
        if self.space:
            text = " ".join(text.split())
        if self.case:
            text = text.casefold()
            text = unicodedata.normalize("NFKC", text) if self.unicode else text
        return text
