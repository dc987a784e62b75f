"""Mark of a model: inputs, and the labels by which copies of the model are recognised."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

import feint.signature
from feint.data import Split
from feint.errors import BadInput, DamagedFile, MissingData, NotFitted
from feint.ownership.selection import NONE, Rehearsal
from feint.query import torch_type
from feint.recipes import recipe, store
from feint.recipes.recipe import exported_recipes
from feint.signature import Domain

NO_TRUTH = -1  # of an input without a right answer


@dataclass(frozen=True)
class Mark:
    """Inputs, and the labels by which copies of a model are recognised. Nothing but labels of a suspect is needed.

    Attributes:
        method: Method that chose the inputs, like "same mistakes".
        domain: Domain of the inputs.
        classes: Number K of classes of the model.
        content: Tensors "inputs" (n, …), "labels" (n,) and "truth" (n,): the right classes, -1 where there is none; of
            marked answers "accounts" (n,) as well, the number of the account that each input's answer was served to.
        accounts: Names of these accounts; empty for other marks.
    """

    method: str
    domain: Domain
    classes: int
    content: store.Weights
    accounts: Sequence[str] = ()

    @classmethod
    def of(
        cls, method: str, domain: Domain, classes: int, x: Tensor, labels: Tensor, truth: Tensor | None = None
    ) -> Self:
        """Return the mark with these inputs (n, …), labels (n,) and right classes (n,).

        Raises:
            BadInput: There is no input, or inputs and labels are not as many.
        """
        truth = torch.full_like(labels, NO_TRUTH) if truth is None else truth
        if not len(x) or not len(x) == len(labels) == len(truth):
            raise BadInput(f"{len(x)} inputs with {len(labels)} labels", "one or more, with a label each", "add some")
        content = {"inputs": x.contiguous(), "labels": labels.long(), "truth": truth.long()}
        return cls(method, domain, classes, store.Weights.of(content))

    def take(self, rows: np.ndarray) -> Self:
        """Return the mark with these rows (m,) of its inputs alone, in their order."""
        content = {name: tensor[torch.from_numpy(rows)] for name, tensor in self.tensors.items()}
        return replace(self, content=store.Weights.of(content))

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors of `content`.

        Raises:
            NotFitted: The mark was read from text, without its tensors.
        """
        if not self.content.tensors:
            raise NotFitted(f"{self!r}", "the mark's inputs and labels", "load it from its directory")
        return dict(self.content.tensors)

    @property
    def x(self) -> Tensor:
        """Inputs (n, …) of the domain."""
        return self.tensors["inputs"].to(torch_type(self.domain))

    @property
    def labels(self) -> np.ndarray:
        """Labels (n,) by which a copy is recognised."""
        return self.tensors["labels"].numpy()

    @property
    def truth(self) -> np.ndarray:
        """Right classes (n,), -1 where an input has none."""
        return self.tensors["truth"].numpy()

    def __len__(self) -> int:
        return len(self.labels)

    def save(self, path: Path, **about: Any) -> None:
        """Write the mark to a directory, with notes. A directory of something else raises `BadInput`."""
        store.save(path, self, **about)

    @classmethod
    def load(cls, path: Path | str) -> "Mark":
        """Return the mark in a directory. A missing one raises `MissingData`.

        Args:
            path: The directory.

        Returns:
            The mark.

        Raises:
            DamagedFile: The directory holds something else.
        """
        stored = store.load(path, VOCABULARY)
        if not isinstance(stored.recipe, Mark):
            raise DamagedFile(f"{path}, which holds {stored.recipe!r:.80}", "a mark of feint mark", "name a mark")
        return stored.recipe


class Marking(ABC):
    """Method that finds a mark of a model, a frozen dataclass. The model is not changed.

    Attributes:
        method: Name of the method.
    """

    method: ClassVar[str]

    @abstractmethod
    def mark(self, model: nn.Module, inputs: Split, rehearsal: Rehearsal = NONE) -> Mark:
        """Return the mark of a model. Too few inputs that would be evidence raise `BadInput`.

        Args:
            model: Module from inputs to logits.
            inputs: Labelled inputs that are held out: the model was not trained on them, and no attacker has them.
            rehearsal: Copies and innocents, by which the inputs are chosen.

        Returns:
            The mark.
        """


def can_differ(classes: int) -> bool:
    """Return whether models that are both wrong can differ, and a blend's label can be neither parent's."""
    return classes > 2


def check_classes(classes: int) -> None:
    """Check that a model has classes enough for a mark that leaves it as it is.

    Raises:
        BadInput: There are two classes.
    """
    if not can_differ(classes):
        raise BadInput(
            f"a model of {classes} classes, where all models that are wrong give the same label", "3 or more",
            "serve Marked, or train a mark",
        )  # fmt: skip


def load_marks(path: Path) -> dict[str, Mark]:
    """Read the marks in a directory that `feint mark` wrote.

    Args:
        path: The directory.

    Returns:
        The marks by their methods.

    Raises:
        MissingData: There is none.
        BadInput: They are of several models.
    """
    folders = sorted(place.parent for place in path.glob(f"*/{store.RECIPE}"))
    marks = [Mark.load(folder) for folder in folders]
    if not marks:
        raise MissingData(f"{path} without a mark", "a directory that feint mark wrote", "make it: feint mark")
    if len({(mark.domain, mark.classes) for mark in marks}) > 1 or len(marked_models(path)) > 1:
        got = f"{path} with marks of several models: {', '.join(folder.name for folder in folders)}"
        raise BadInput(got, "those of one", "give each a directory of its own: feint mark")
    return {mark.method: mark for mark in marks}


def marked_models(path: Path) -> set[str]:
    """Return the fingerprints of the models whose marks are in a directory; none where marks of accounts are."""
    return {store.notes(place.parent).get("model", "") for place in path.glob(f"*/{store.RECIPE}")} - {""}


VOCABULARY: recipe.Vocabulary = exported_recipes(feint.signature) | {"Mark": Mark}
