"""Copies and innocents that the owner makes to choose a mark's inputs by."""

from dataclasses import replace

from torch import nn

from feint.data import Split
from feint.models.inference import answers
from feint.models.networks import Classifier, Network
from feint.models.seeds import named_seed
from feint.models.training import Training, learn
from feint.ownership.controls import bounded, learned_share, own_network, plan_controls, train_control
from feint.ownership.removals import Distilled
from feint.ownership.selection import Rehearsal
from feint.progress import NO_PROGRESS, ProgressCallback

STUDENTS = "mlp", "lenet"  # networks of students, the first that is not the copies' own


def rehearse(
    model: nn.Module,
    data: Split,
    pool: Split,
    count: int,
    *,
    network: Network | None = None,
    training: Training | None = None,
    students: bool = False,
    seed: int = 0,
    progress: ProgressCallback = NO_PROGRESS,
) -> Rehearsal:
    """Train innocents, copies of a model by labels alone, and students of both and of the model.

    The copies have one network. One that learns the model's answers in another network teaches what innocents in that
    network share: of Fashion-MNIST (LeNet), where three of eight copies were linear, an innocent agreed with 56 % of
    800 triggers, two copies by 10,000 probabilities with 47 and 56 %.

    A student is a network of another kind that learned the answers of a copy, as an attacker distils it, of the model
    itself, as an attacker with that network steals it, or of an innocent, beside which it is seen what a student keeps
    of the model and what of its kind.

    What copies by labels agree on, copies by probabilities agree on, too. Of digits (MLP, 700 answers, 200 triggers, 8
    rehearsals, 60 controls) triggers then claim five of five copies by labels and five by probabilities; where half of
    the rehearsed copies were by probabilities, none of those by labels was.

    Args:
        model: The model.
        data: Labelled inputs of the task, for the innocents.
        pool: Inputs about which the copies ask.
        count: Number of innocents, two of three of which have the network; there is a copy for each of these.
        network: The network; by default the model's own.
        training: Training of the network; by default that of an attacker who tries it.
        students: Whether three students are trained for every second copy.
        seed: Seed of all trainings.
        progress: Progress callback.

    Returns:
        The models.
    """
    network = network or own_network(model, data)
    plans = plan_controls(2 * count, network, training, role="rehearsal", seed=seed)
    plans = [plan for plan in plans if plan.source is None][:count]
    stolen = Split.of(pool.values, answers(model, pool).argmax(-1).numpy(), domain=pool.domain) if count else pool
    references, copies = list[nn.Module](), list[nn.Module]()
    for i, plan in enumerate(plans):
        references.append(innocent := train_control(plan, data))
        if plan.network == network:
            inputs = learned_share(network, stolen, plan.seed)
            recipe = bounded(plan.training, len(inputs))
            copies.append(copy := learn(network, inputs.inputs(), inputs.labels, recipe, seed=plan.seed))
            if students and i % 2 == 0:
                copies.append(_student(network, copy, pool, named_seed("student of a copy", plan.seed)))
                copies.append(_student(network, model, pool, named_seed("student of the model", plan.seed)))
                references.append(_student(network, innocent, pool, named_seed("student", plan.seed)))
        progress.step("rehearsals", i + 1, len(plans))
    return Rehearsal(references, copies)


def _student(network: Network, teacher: nn.Module, pool: Split, seed: int) -> Classifier:
    """Return another network that learned a model's answers about the pool."""
    other = replace(network, name=next(name for name in STUDENTS if name != network.name))
    return learn(other, pool.inputs(), answers(teacher, pool), Distilled().training, seed=seed)
