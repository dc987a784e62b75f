"""Domains of inputs that a method of the attacker takes."""

from collections.abc import Mapping
from typing import ClassVar

from feint.errors import BadInput
from feint.signature import DOMAINS, Domain

ANY: tuple[type[Domain], ...] = tuple(DOMAINS.values())


class DomainSpecific:
    """Method that takes inputs of some domains.

    Attributes:
        domains: Domains whose inputs the method takes.
        instead: For other domains, the method that does the same job there; by default `KnockoffNets`, which takes any.
    """

    domains: ClassVar[tuple[type[Domain], ...]] = ANY
    instead: ClassVar[Mapping[type[Domain], str]] = {}

    def require_domain(self, domain: Domain) -> None:
        """Raise `BadInput` unless the method takes inputs of `domain`."""
        if not isinstance(domain, self.domains):
            raise BadInput(
                f"{type(self).__name__} on {domain.noun} ({type(domain).__name__})",
                f"inputs of {' or '.join(kind.__name__ for kind in self.domains)}",
                f"use {self.instead.get(type(domain), 'KnockoffNets')} there",
            )
