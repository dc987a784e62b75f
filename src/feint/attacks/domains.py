"""Substitutes for the attacker's methods in domains that they do not take."""

from collections.abc import Mapping
from typing import ClassVar

from feint.signature import Domain
from feint.signature.support import DomainSpecific


class AttackerMethod(DomainSpecific):
    """Method of the attacker that takes inputs of some domains.

    Attributes:
        instead: For other domains, the method that does the same job there; by default `KnockoffNets`, which takes any.
    """

    instead: ClassVar[Mapping[type[Domain], str]] = {}

    def substitute(self, domain: Domain) -> str:
        return self.instead.get(type(domain), "KnockoffNets")
