"""Command `feint controls`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from feint.cli.app import OWN, app
from feint.cli.common import check_victim, load_victim, require_at_least, task_inputs
from feint.errors import BadRecipe

if TYPE_CHECKING:
    from torch import nn

REFITS = 4  # controls of which one is of the model's own kind


@app.command(group=OWN)
def controls(
    model: str,
    /,
    *,
    data: str,
    out: Path,
    count: int = 59,
    training: str | None = None,
    label: str | None = None,
    network: str | None = None,
    expect_accuracy: float | None = None,
    max_calls: int | None = None,
) -> None:
    """Train innocent models of a model's task, by which `feint claim` judges how often innocents agree.

    Other seeds, other architectures, other halves of the training inputs, and copies of another model, in turn. Of a
    classifier of scikit-learn or a file of boosted trees, every fourth control is one of its own kind, trained as it
    was on half of the inputs. A control that the directory has is not trained again. Put further models there:
    published ones, or your own.

    Example: `feint controls runs/victim --data digits --out runs/controls --count 8`

    Args:
        model: The model whose innocents they are: a directory, file, or package.module:name.
        data: Data set of the task, or a file or directory of labelled samples.
        out: Directory of the controls.
        count: Number of controls. 59 allow the claim that at most 4.95 % of innocents are accused.
        training: Training of those with the model's own network, like "Training(epochs=30)" (default: an attacker's).
        label: Column of the label in a file (default: label, target, class or y).
        network: Network of the weights in a .safetensors file.
        expect_accuracy: Accuracy that the model has on the data, like 0.93. A lower one is an error; without this
            option, one that is no better than chance, or that another adapter would raise.
        max_calls: Ceiling on the calls to a paid model.
    """
    from feint.cli.terminal import bars
    from feint.models.networks import Classifier
    from feint.ownership.controls import own_network, plan_controls, train_controls
    from feint.ownership.ordinary import OrdinaryInputs, as_good, least_as_good
    from feint.ownership.refits import can_refit, train_refits
    from feint.ownership.selection import labels_of
    from feint.recipes import registry

    victim = load_victim(model, data, network, label, max_calls=max_calls)
    inputs = task_inputs(data, victim, label)
    recipe = registry.parse(training) if training else None
    require_at_least(1, count, "controls")
    check_victim(victim, inputs.held_out, model, data, expect_accuracy, inputs.classes, label)
    ordinary = OrdinaryInputs().mark(victim, inputs.held_out)
    with bars() as progress:
        made, reason = dict[Path, "nn.Module"](), ""
        try:
            if can_refit(victim):
                made |= train_refits(out, count // REFITS, victim, inputs.train, progress=progress)
        except BadRecipe as error:
            reason = f"{error}; "
        plans = plan_controls(count - len(made), own_network(victim, inputs.train), recipe)
        made |= train_controls(out, plans, inputs.train, inputs.pool, progress=progress)
        answered = {place.name: labels_of(control, ordinary.x).numpy() for place, control in made.items()}
    good, accuracies = as_good(ordinary, answered), [(labels == ordinary.truth).mean() for labels in answered.values()]
    if good < least_as_good(count):
        right = (ordinary.labels == ordinary.truth).mean()
        print(
            f"feint: mind: {good} of {count} controls are right as often as the model ({right:.1%}), and a claim "
            f"needs {least_as_good(count)}: give a longer --training or more --data, or put innocents of that "
            f"accuracy into {out}",
            file=sys.stderr,
        )
    if not isinstance(victim, Classifier) and len(plans) == count:
        print(
            f"feint: mind: {reason}no control is of the model's own kind, whose innocents agree with it more than "
            f"others do: train it again, on other data or by another seed, and put that into {out}",
            file=sys.stderr,
        )
    print(
        f"{out}: {count} controls, {min(accuracies):.1%} to {max(accuracies):.1%} right on {len(ordinary):,} "
        f"held-out inputs, {good} as good as the model"
    )
