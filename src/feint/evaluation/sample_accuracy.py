"""Accuracy of a model on its owner's labelled samples: wrong set-ups are found before anything is measured."""

from dataclasses import dataclass

from torch import nn

from feint.data import Split


@dataclass(frozen=True)
class SampleAccuracy:
    """Accuracy of a model on labelled samples, and what it is compared with.

    Attributes:
        accuracy: Share of the samples on which the model is right.
        balanced_accuracy: Mean over the classes of that share.
        majority: Share of the most frequent class: the accuracy of always answering it.
        majority_class: Name of the most frequent class.
        count: Number of samples.
        notes: Sentences for the owner about the comparison; none where all is as expected.
    """

    accuracy: float
    balanced_accuracy: float
    majority: float
    majority_class: str
    count: int
    notes: tuple[str, ...] = ()


def check_accuracy(
    model: nn.Module,
    samples: Split,
    *,
    expected: float | None = None,
    classes: tuple[str, ...] = (),
    place: str = "MODEL",
    data: str = "SAMPLES",
) -> SampleAccuracy:
    """Compare the accuracy of a model on samples with chance, with other adapters, and with what its owner expects.

    Args:
        model: The victim.
        samples: Labelled samples.
        expected: Accuracy that the owner expects, as a share (`--expect-accuracy`). A model that reaches it passes,
            whatever else is found.
        classes: Names of the classes, in the order of the labels; numbers by default.
        place: Model as the owner named it, for the remedy.
        data: Samples as the owner named them, for the remedy.

    Returns:
        The accuracy and what it was compared with.

    Raises:
        BadInput: The model is no better than chance, or another adapter or order of the labels makes it right much
            more often, or it misses the expected accuracy. The error names the likely cause and the remedy.
    """
    raise NotImplementedError
