"""Marks that a model or its answers carry: wrong labels by which copies are recognised."""

import secrets
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from feint.data import Split
from feint.defenses.boundary import ClassFeatureWatermark, MarginWatermark
from feint.defenses.served_mark import ROWS
from feint.errors import BadInput, BadRecipe
from feint.ledger import Account
from feint.ownership.mark import Mark
from feint.recipes.store import Weights
from feint.signature import Domain, pack, unpack

Watermark = MarginWatermark | ClassFeatureWatermark
METHOD, TRAINED = "marked answers", "trained mark"


def trained_mark(recipe: Watermark, inputs: Split, classes: int) -> Mark:
    """Return the mark that a model has learned by `MarginWatermark` or `ClassFeatureWatermark`.

    Args:
        recipe: The recipe of the training.
        inputs: The inputs of the training, or of `ClassFeatureWatermark` the outliers.
        classes: Number of classes.

    Returns:
        The mark. Its inputs' own classes are not right answers here: an honest model gives them, a copy does not.
    """
    chosen, labels = recipe.triggers(inputs, classes)
    return Mark.of(TRAINED, chosen.domain, classes, chosen.inputs(), labels)


def require_own(recipe: Watermark) -> None:
    """Check that another owner of the same inputs would have another mark.

    Raises:
        BadRecipe: They would have the same one by the same words, and be claimed.
    """
    if recipe.draw == type(recipe).draw:
        raise BadRecipe(
            f"{type(recipe).__name__} with draw={recipe.draw}, as another owner of the same inputs may have it",
            "a number of your own", f"choose draw={secrets.randbits(48)}",
        )  # fmt: skip
    if isinstance(recipe, ClassFeatureWatermark) and recipe.target is not None:
        raise BadRecipe(
            f"ClassFeatureWatermark with one label, {recipe.target}, as another owner of the outliers may have it",
            "a label for each of their classes, by draw", "choose target=None",
        )  # fmt: skip


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
    x, labels = _stored(rows, domain, classes)
    return Mark.of(METHOD, domain, classes, torch.from_numpy(x), torch.from_numpy(labels))


def marked_by_account(accounts: Mapping[str, np.ndarray], domain: Domain, classes: int) -> Mark:
    """Return the marked answers of many accounts as one mark, which names the account of each input.

    An input counts once for an account. One that several accounts asked is left out: all of them got the same wrong
    label, so that it does not tell whose answers a suspect learned.

    Args:
        accounts: Rows that `Marked` stored, by account.
        domain: Domain of the inputs.
        classes: Number of classes.

    Returns:
        The mark.

    Raises:
        BadInput: No account has an input of its own, or rows are not of this domain and these classes.
    """
    content = {name: _stored(rows, domain, classes) for name, rows in accounts.items() if len(rows)}
    whose: dict[bytes, dict[str, int]] = {}
    for name, (x, _) in content.items():
        for i, code in enumerate(domain.mark(x)):
            whose.setdefault(code, {}).setdefault(name, i)
    alone = [owner for owner in whose.values() if len(owner) == 1]
    if not alone:
        raise BadInput(
            f"{len(content)} accounts with marked answers, none with an input of its own", "one or more",
            "serve Marked for longer, or link accounts of one payer: feint keys link",
        )  # fmt: skip
    rows = [(name, i) for owner in alone for name, i in owner.items()]
    names = sorted({name for name, _ in rows})
    x = torch.from_numpy(np.stack([content[name][0][i] for name, i in rows]))
    labels = torch.tensor([int(content[name][1][i]) for name, i in rows])
    mark = Mark.of(METHOD, domain, classes, x, labels)
    numbers = torch.tensor([names.index(name) for name, _ in rows])
    return replace(mark, content=Weights.of(mark.tensors | {"accounts": numbers}), accounts=tuple(names))


def _stored(rows: np.ndarray, domain: Domain, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the inputs (n, …) and labels (n,) of rows that `Marked` stored."""
    labels = rows[:, -1].astype(np.int64)
    if pack(domain.encode(domain.sample(1, 0))).shape[1] != rows.shape[1] - 1 or labels.max() >= classes:
        raise BadInput(
            f"marked answers of {rows.shape[1] - 1} numbers with labels up to {labels.max()}",
            f"those of {domain!r} with {classes} classes", "name the model that served them",
        )  # fmt: skip
    return domain.decode(unpack(rows[:, :-1], domain)), labels


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
