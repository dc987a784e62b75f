"""Attack that changes its copy afterwards, so that the owner does not recognise it."""

from dataclasses import dataclass

from torch import Tensor

from feint.attacks import Attack
from feint.data import Split
from feint.models.networks import Classifier, Network
from feint.oracle import Oracle
from feint.ownership.removals import Removal
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.signature import Domain


@dataclass(frozen=True)
class Removed(Attack):
    """Theft, and a removal of the owner's marks with nothing but the inputs and labels that were stolen.

    Attributes:
        attack: The theft.
        removal: What is done to its copy.
    """

    attack: Attack
    removal: Removal

    @property
    def cite(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.removal.cite

    @property
    def is_naive(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.attack.is_naive

    @property
    def surrogate(self) -> Network:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.attack.surrogate

    @property
    def domains(self) -> tuple[type[Domain], ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return tuple(kind for kind in self.attack.domains if kind in self.removal.domains)

    def readings(self, p: Tensor) -> tuple[Tensor, ...]:
        return self.attack.readings(p)

    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        copy = self.attack.steal_from(oracle, seed=seed, progress=progress)
        domain, transcript = self.surrogate.domain, oracle.transcript
        labels = transcript.p.argmax(-1).numpy()
        stolen = Split.of(domain.encode(transcript.x.numpy()), labels, domain=domain, name="stolen")
        return self.removal.remove(copy, stolen, seed=seed)  # pyright: ignore[reportReturnType]  # a gate is around one
