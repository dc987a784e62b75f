"""Copies and innocents that the owner makes to choose a mark's inputs by."""

from torch import nn

from feint.data import Split
from feint.models.inference import answers
from feint.models.networks import Network
from feint.models.training import Training, learn
from feint.ownership.controls import bounded, learned_share, own_network, plan_controls, train_control
from feint.ownership.selection import Rehearsal
from feint.progress import NO_PROGRESS, ProgressCallback


def rehearse(
    model: nn.Module,
    data: Split,
    pool: Split,
    count: int,
    *,
    network: Network | None = None,
    training: Training | None = None,
    seed: int = 0,
    progress: ProgressCallback = NO_PROGRESS,
) -> Rehearsal:
    """Train innocents, and copies of a model by labels alone, those with one network.

    A copy in another network teaches what innocents in that network share: of Fashion-MNIST (LeNet), where three of
    eight copies were linear, an innocent agreed with 56 % of 800 triggers, two copies by 10,000 probabilities with 47
    and 56 %.

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
        references.append(train_control(plan, data))
        if plan.network == network:
            inputs = learned_share(network, stolen, plan.seed)
            recipe = bounded(plan.training, len(inputs))
            copies.append(learn(network, inputs.inputs(), inputs.labels, recipe, seed=plan.seed))
        progress.step("rehearsals", i + 1, len(plans))
    return Rehearsal(references, copies)
