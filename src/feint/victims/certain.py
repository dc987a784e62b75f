"""Adapters that a raw model makes certain by itself."""

from feint.errors import BadInput
from feint.signature import Domain
from feint.victims.adapter import AdaptedModel, Adapter
from feint.victims.raw import RawModel


def adapt(raw: RawModel, domain: Domain | None = None) -> AdaptedModel:
    """Adapt a raw model by the adapter that it makes certain.

    Args:
        raw: The raw model.
        domain: Domain of the data at hand, which may decide what the model leaves open; None for none.

    Returns:
        The model.

    Raises:
        BadInput: The model leaves its adapter open, or it is no classifier.
    """
    return AdaptedModel(raw, certain_adapter(raw, domain))


def certain_adapter(raw: RawModel, domain: Domain | None = None) -> Adapter:
    """Return the adapter that a raw model makes certain; arguments and errors as in `adapt`."""
    raise undecided(raw, "which inputs it takes")


def undecided(raw: RawModel, question: str) -> BadInput:
    """Return the error for a model whose files leave a question open."""
    listed = ", ".join(map(str, (*raw.inputs, *raw.outputs)))
    return BadInput(
        f"{raw.place} with {listed}, which does not say {question}", "a model.toml, which says how it is used",
        f"feint inspect {raw.place} --data SAMPLES",
    )  # fmt: skip
