"""Marks that a model or its answers carry: wrong labels by which copies are recognised."""

import torch

from feint.data import Split
from feint.defenses.boundary.margin_watermark import MarginWatermark
from feint.defenses.outputs.marked import ROWS
from feint.errors import BadInput
from feint.ledger import Account
from feint.ownership.mark import Mark
from feint.signature import Domain, unpack

METHOD, TRAINED = "marked answers", "trained mark"


def trained_mark(recipe: MarginWatermark, inputs: Split, classes: int) -> Mark:
    """Return the mark that a model has learned by `MarginWatermark`.

    Args:
        recipe: The recipe of the training.
        inputs: The inputs of the training.
        classes: Number of classes.

    Returns:
        The mark. Its inputs' own classes are not right answers here: an honest model gives them, a copy does not.
    """
    chosen, labels = recipe.triggers(inputs, classes)
    return Mark.of(TRAINED, chosen.domain, classes, chosen.inputs(), labels)


def marked_answers(account: Account, domain: Domain, classes: int) -> Mark:
    """Return the mark of one client: the inputs whose answers `Marked` changed, with the labels that it gave.

    Args:
        account: The client's account.
        domain: Domain of the inputs.
        classes: Number of classes.

    Returns:
        The mark. A suspect that repeats it was made of this client's answers.

    Raises:
        BadInput: The client has no marked answers.
    """
    rows = account.rows(ROWS).array
    if not len(rows):
        raise BadInput(
            f"the account of {account.client!r} without marked answers", "those that Marked stores",
            "look at another client; with few queries none may be marked",
        )  # fmt: skip
    x = torch.from_numpy(domain.decode(unpack(rows[:, :-1], domain)))
    return Mark.of(METHOD, domain, classes, x, torch.from_numpy(rows[:, -1].copy()).long())


def flips(shared: Account, domain: Domain, classes: int) -> Mark:
    """Return the mark of the labels that `LabelFlip` gave to accused clients (AMAO).

    Args:
        shared: Account that all clients of the service's ledger have in common.
        domain: Domain of the inputs.
        classes: Number of classes.

    Returns:
        The mark.

    Raises:
        BadInput: The ledger holds no flipped pairs.
    """
    pairs = shared.rows("flips/pairs").array
    if not len(pairs):
        raise BadInput("a ledger without flipped pairs", "those that LabelFlip keeps on a line", "there is no evidence")
    x = torch.from_numpy(pairs[:, :-1].reshape(-1, *domain.shape).astype(domain.dtype))
    return Mark.of(METHOD, domain, classes, x, torch.from_numpy(pairs[:, -1].copy()).long())
