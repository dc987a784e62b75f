"""Methods that take inputs of some domains."""

from dataclasses import is_dataclass
from typing import Any, ClassVar

from feint.errors import BadInput
from feint.signature import DOMAINS, Domain

ANY: tuple[type[Domain], ...] = tuple(DOMAINS.values())


class DomainSpecific:
    """Method that takes inputs of some domains.

    Attributes:
        domains: Kinds of domains whose inputs the method takes; all by default.
    """

    domains: ClassVar[tuple[type[Domain], ...]] = ANY

    def require_domain(self, domain: Domain) -> None:
        """Raise `BadInput` unless the method takes inputs of `domain`. The error names a method that does."""
        if not isinstance(domain, self.domains):
            raise BadInput(
                f"{domain.noun} for {type(self).__name__}",
                " or ".join(kind.noun for kind in self.domains),
                f"use {self.substitute(domain)} instead",
            )

    def substitute(self, domain: Domain) -> str:
        """Return the names of the methods of the same base that take inputs of `domain`."""
        (base,) = type(self).__bases__[:1]
        methods: list[Any] = [kind for kind in base.__subclasses__() if is_dataclass(kind)]
        names = sorted(kind.__name__ for kind in methods if issubclass(type(domain), kind.domains))
        return " or ".join(names) or "an output defense"
