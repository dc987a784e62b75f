"""`feint train`."""

from pathlib import Path

from feint.cli.app import app
from feint.cli.common import require_new, work_directory


@app.command
def train(
    *,
    data: str,
    network: str,
    out: Path,
    training: str = "Training",
    weights: Path | None = None,
    seed: int = 0,
) -> None:
    """Train a victim, or take published weights for one.

    Interrupted, the same command continues with the epoch that it was in.

    Example: `feint train --data digits --network mlp --out runs/victim`

    Parameters
    ----------
    data
        A named data set, or a directory of that name under FEINT_DATA.
    network
        mlp, lenet, resnet20, resnet18, …
    out
        The directory to write: a recipe and the weights.
    training
        A recipe, like "Training(epochs=30, crop=4, flip=True)".
    weights
        An .npz of published weights; nothing is trained then.
    seed
        Same seed, same weights.
    """
    import feint
    from feint import victims
    from feint.cli.terminal import bars
    from feint.evaluation import metrics
    from feint.models import networks
    from feint.recipes import registry

    images = feint.data.load(data)
    net = networks.get(network, images)
    recipe = registry.parse(training)
    require_new(out)
    if weights is not None:
        victim = victims.load_published(weights, net)
    else:
        with bars() as progress, work_directory(out) as progress.folder:
            victim = feint.train(net, images.train, training=recipe, seed=seed, progress=progress)
    victims.save(out, victim, data=data, **({"weights": weights.name} if weights else {"training": repr(recipe)}))
    print(f"{out}: {network}, right on {metrics.stealer_accuracy(victim, images.test):.2%} of the test set")
