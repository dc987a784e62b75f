"""Command `feint controls`."""

import sys
from pathlib import Path

from feint.cli.app import app
from feint.cli.common import load_victim, require_at_least, task_inputs


@app.command
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
    max_calls: int | None = None,
) -> None:
    """Train innocent models of a model's task, by which `feint claim` judges how often innocents agree.

    Other seeds, other architectures, other halves of the training inputs, and copies of another model, in turn. A
    control that the directory has is not trained again. Put further models there: published ones, or your own.

    Example: `feint controls runs/victim --data digits --out runs/controls --count 8`

    Args:
        model: The model whose innocents they are: a directory, file, or package.module:name.
        data: Data set of the task, or a file or directory of labelled samples.
        out: Directory of the controls.
        count: Number of controls. 59 allow the claim that at most 4.95 % of innocents are accused.
        training: Training of those with the model's own network, like "Training(epochs=30)" (default: an attacker's).
        label: Column of the label in a file (default: label, target, class or y).
        network: Network of the weights in a .safetensors file.
        max_calls: Ceiling on the calls to a paid model.
    """
    from feint.cli.terminal import bars
    from feint.models.networks import Classifier
    from feint.ownership.controls import own_network, plan_controls, train_controls
    from feint.ownership.ordinary import OrdinaryInputs, as_good, least_as_good
    from feint.ownership.selection import labels_of
    from feint.recipes import registry

    victim = load_victim(model, data, network, label, max_calls=max_calls)
    inputs = task_inputs(data, victim, label)
    recipe = registry.parse(training) if training else None
    plans = plan_controls(require_at_least(1, count, "controls"), own_network(victim, inputs.train), recipe)
    ordinary = OrdinaryInputs().mark(victim, inputs.held_out)
    with bars() as progress:
        answered = {
            place.name: labels_of(control, ordinary.x).numpy()
            for place, control in train_controls(out, plans, inputs.train, inputs.pool, progress=progress)
        }
    good, accuracies = as_good(ordinary, answered), [(labels == ordinary.truth).mean() for labels in answered.values()]
    if good < least_as_good(len(plans)):
        right = (ordinary.labels == ordinary.truth).mean()
        print(
            f"feint: mind: {good} of {len(plans)} controls are right as often as the model ({right:.1%}), and a claim "
            f"needs {least_as_good(len(plans))}: give a longer --training or more --data, or put innocents of that "
            f"accuracy into {out}",
            file=sys.stderr,
        )
    if not isinstance(victim, Classifier):
        print(
            f"feint: mind: no control is of the model's own kind, whose innocents agree with it more than others do: "
            f"train it again, on other data or by another seed, and put that into {out}",
            file=sys.stderr,
        )
    print(
        f"{out}: {len(plans)} controls, {min(accuracies):.1%} to {max(accuracies):.1%} right on {len(ordinary):,} "
        f"held-out inputs, {good} as good as the model"
    )
