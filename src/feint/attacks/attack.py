"""The interface of attacks, and attacks that look through lenses."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from feint.attacks.domains import AttackerMethod
from feint.attacks.lenses.lens import Lens
from feint.attacks.seeds import attacker_seed
from feint.errors import BadInput, require_kind
from feint.models.networks import Classifier, Network
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.signature import Domain


class Attack(AttackerMethod, ABC):
    """Model-stealing attack: a frozen dataclass that defines `steal_from`.

    Attributes:
        cite: Key of the paper in docs/references.bib.
        is_naive: Whether the attack learns from the answers as they are.
        surrogate: Architecture of the surrogate, whose domain is that of the queries.
    """

    cite: ClassVar[str]
    is_naive: ClassVar[bool] = True
    surrogate: Network

    def steal(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        """Query the oracle within its budget and return the surrogate trained on the answers.

        The same seed gives the same weights. An attack that is refused part-way learns from the answers so far; a
        refusal before any answer is raised.

        Args:
            oracle: The victim behind its budget; all that the attacker knows of it.
            seed: Seed of every random choice: queries, initial weights, batches. A victim trained with the same seed
                shares none of them.
            progress: Callback for the steps of asking and training.

        Returns:
            The surrogate, in evaluation mode.

        Raises:
            BadInput: Before the first query: oracle, budget, pool and surrogate do not fit each other, or the attack
                does not take inputs of this domain.
        """
        require_kind(self.surrogate, Network, "a surrogate", "take one by name: feint.networks.get('mlp', data)")
        if not callable(getattr(oracle, "ask", None)):
            remedy = "Service(model, defense).oracle(client=NAME, budget=N)"
            raise BadInput(f"a {type(oracle).__name__} as an oracle", "an oracle, which counts queries", remedy)
        self.require_domain(self.surrogate.domain)
        return self.steal_from(oracle, seed=attacker_seed(seed), progress=progress)

    def readings(self, p: Tensor) -> tuple[Tensor, ...]:
        """Return what the surrogate may have learned of the answers `p` (N, K): these, or functions of them (N, K)."""
        return (p,)

    @abstractmethod
    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        """Return the surrogate as `steal` does; the domain of its inputs is one of `domains`.

        Args:
            oracle: The victim behind its budget.
            seed: Seed of every random choice.
            progress: Callback for the steps of asking and training.

        Returns:
            The surrogate, in evaluation mode.

        Raises:
            Refused: If the service refuses before it has answered anything.
            BadInput: If the budget, the pool and the surrogate do not fit each other, before the first query.
        """

    def through(self, *lenses: Lens) -> "LensedAttack":
        """Return this attack with its oracle seen through `lenses`, of which the first is nearest to the attack."""
        return LensedAttack(self, lenses)


@dataclass(frozen=True)
class LensedAttack(Attack):
    """Attack whose oracle is seen through lenses.

    Args:
        attack: The attack.
        lenses: The lenses, of which the first is nearest to the attack and the last nearest to the service.
    """

    attack: Attack
    lenses: tuple[Lens, ...]

    @property
    def cite(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.attack.cite

    @property
    def surrogate(self) -> Network:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.attack.surrogate

    @property
    def domains(self) -> tuple[type[Domain], ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Domains that the attack and all lenses take."""
        return tuple(kind for kind in self.attack.domains if all(kind in lens.domains for lens in self.lenses))

    def require_domain(self, domain: Domain) -> None:
        for method in (*self.lenses, self.attack):
            method.require_domain(domain)

    def readings(self, p: Tensor) -> tuple[Tensor, ...]:
        return self.attack.readings(p)

    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        for lens in reversed(self.lenses):
            oracle = lens(oracle, progress=progress)
        return self.attack.steal_from(oracle, seed=seed, progress=progress)
