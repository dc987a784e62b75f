"""Command `feint mark`."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from feint.cli.app import OWN, app
from feint.cli.common import check_victim, load_victim, outlier_inputs, owner_split, require_at_least, task_inputs
from feint.cli.out import is_finished, work_directory
from feint.errors import BadInput, BadRecipe

if TYPE_CHECKING:
    from torch import nn

    from feint.ownership.mark import Mark


@app.command(group=OWN)
def mark(
    model: str,
    /,
    *,
    data: str,
    out: Path,
    rehearsals: int = 8,
    students: bool = False,
    label: str | None = None,
    network: str | None = None,
    expect_accuracy: float | None = None,
    seed: int = 0,
    max_calls: int | None = None,
) -> None:
    """Find inputs by whose labels copies of a model are recognised. The model is not changed.

    Two kinds: mistakes of the model, which copies repeat, and blends of inputs with a label of neither. Copies and
    innocent models are trained to choose those that tell them apart. A model that `feint fit` trained with a watermark
    has its trained mark as well. Ordinary inputs beside them judge the controls of a claim. Keep the directory secret,
    and commit to it before a suspect appears: `feint commit`.

    Example: `feint mark runs/victim --data digits --out runs/marked`

    Args:
        model: The model: a directory, file, or package.module:name.
        data: Data set of the task, or a file or directory of labelled samples on which the model was not trained.
        out: Directory to write.
        rehearsals: Number of copies and of innocent models that are trained to choose the inputs; 0 for none.
        students: Whether networks of another kind that learned the answers of copies are trained, too, so that copies
            which were distilled into such a network are recognised more often. For images; measured on Fashion-MNIST.
        label: Column of the label in a file (default: label, target, class or y).
        network: Network of the weights in a .safetensors file.
        expect_accuracy: Accuracy that the model has on the data, like 0.93. A lower one is an error; without this
            option, one that is no better than chance, or that another adapter would raise.
        seed: Seed of the choice.
        max_calls: Ceiling on the calls to a paid model.

    Raises:
        BadInput: The model has two classes and no trained mark, no kind finds enough inputs, or students are of no
            images.
    """
    from feint import victims
    from feint.cli.terminal import bars
    from feint.ownership.mark import can_differ, check_classes
    from feint.ownership.mistakes import SameMistakes
    from feint.ownership.ordinary import OrdinaryInputs
    from feint.ownership.rehearsal import rehearse
    from feint.ownership.triggers import OF_STUDENTS, Triggers
    from feint.recipes.recipe import fingerprint
    from feint.recipes.store import atomic_write
    from feint.signature import Pixels

    victim = load_victim(model, data, network, label, max_calls=max_calls)
    inputs = task_inputs(data, victim, label)
    classes, count = victims.classes_of(victim, inputs.train.domain), require_at_least(0, rehearsals, "rehearsals")
    if students and not isinstance(inputs.train.domain, Pixels):
        raise BadInput(f"--students for a model of {inputs.train.domain!r:.60}", "one of images", "leave it out")
    marks, reasons = _trained_marks(model, victim, classes, label), []
    if not marks:
        check_classes(classes)
    model_print, parts = victims.fingerprint(victim), (inputs.train, inputs.pool, inputs.held_out)
    made_of = fingerprint([model_print, *map(repr, (*parts, *marks)), rehearsals, seed, *["students"] * students])
    if is_finished(out, made_of):
        return
    check_victim(victim, inputs.held_out, model, data, expect_accuracy, inputs.classes, label)
    with bars() as progress, work_directory(out):
        cast = rehearse(
            victim, inputs.train, inputs.pool, count if can_differ(classes) else 0, students=students, seed=seed,
            progress=progress,
        )  # fmt: skip
        triggers = replace(OF_STUDENTS if students else Triggers(), seed=seed)
        for kind in (SameMistakes(seed=seed), triggers):
            try:
                marks.append(kind.mark(victim, inputs.held_out, cast))
            except BadInput as error:
                reasons.append(f"no {kind.method}: {error}")
    for reason in reasons:
        print(f"feint: {reason}", file=sys.stderr)
    if not marks:
        raise BadInput("no mark of any kind", "one or more", "see the lines above")
    marks.append(OrdinaryInputs(seed=seed).mark(victim, inputs.held_out))
    with atomic_write(out) as partial:
        for each in marks:
            each.save(partial / each.method.replace(" ", "_"), model=model_print, data=data, made_of=made_of)
    print(f"{out}: {', '.join(f'{len(each):,} {each.method}' for each in marks)}")


def _trained_marks(place: str, model: "nn.Module", classes: int, label: str | None) -> "list[Mark]":
    """Return the mark that `feint fit` trained a model with, of the inputs that its notes name; none for others.

    Nor of one that another owner may have, which earlier versions trained.

    Raises:
        BadInput: These inputs are missing or have changed.
    """
    from feint.ownership.carried import Watermark, require_own, trained_mark
    from feint.ownership.selection import labels_of
    from feint.recipes import registry, store

    if not (Path(place) / store.RECIPE).is_file() or "method" not in (notes := store.notes(place)):
        return []
    recipe = registry.parse(notes["method"])
    if not isinstance(recipe, Watermark):
        return []
    try:
        require_own(recipe)
    except BadRecipe as error:
        print(f"feint: no trained mark: {error}, and train {place} again", file=sys.stderr)
        return []
    inputs, source = owner_split(notes["data"], model, label)[0], notes["data"]
    if "outliers_of" in notes:
        source = notes["outliers_of"]
        inputs = outlier_inputs(source, inputs, notes["seed"])
    if (chosen := repr(recipe.triggers(inputs, classes)[0])) != notes["outliers"]:
        raise BadInput(
            f"{source}, where the watermark of {place} would be {chosen}", f"{notes['outliers']}, as it was learned",
            "restore the data of feint fit",
        )  # fmt: skip
    mark = trained_mark(recipe, inputs, classes)
    learned = int((labels_of(model, mark.x).numpy() == mark.labels).sum())
    print(f"feint: {mark.method}: {place} itself gives {learned:,} of its {len(mark):,} labels", file=sys.stderr)
    return [mark]
