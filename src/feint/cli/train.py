"""Command `feint train`."""

from pathlib import Path

from feint.cli.app import STUDY, app
from feint.cli.out import is_finished, work_directory


@app.command(group=STUDY)
def train(
    *,
    data: str,
    network: str,
    out: Path,
    training: str = "Training",
    weights: Path | None = None,
    seed: int = 0,
) -> None:
    """Train a victim, or load published weights.

    Run the same command again to continue an interrupted training from its last checkpoint.

    Example: `feint train --data digits --network mlp --out runs/victim`

    Args:
        data: Name of a data set, or of a directory under FEINT_DATA.
        network: Network: mlp, lenet, resnet20, resnet18, …
        out: Directory to write: a recipe and the weights.
        training: Recipe, like "Training(epochs=30, crop=4, flip=True)".
        weights: An .npz of published weights, which are not trained.
        seed: Seed of initial weights and batches: same seed, same weights.
    """
    import feint
    from feint import victims
    from feint.cli.terminal import bars
    from feint.evaluation import metrics
    from feint.models import networks
    from feint.recipes import registry
    from feint.recipes.recipe import fingerprint

    images = feint.data.load(data)
    net = networks.get(network, images)
    recipe = registry.parse(training)
    published = None if weights is None else victims.load_published(weights, net)
    start = [repr(recipe), seed] if published is None else victims.fingerprint(published)
    made_of = fingerprint([repr(net), repr(images.train), start])
    if is_finished(out, made_of):
        return
    if published is None:
        with bars() as progress, work_directory(out):
            victim = feint.train(net, images.train, training=recipe, seed=seed, progress=progress)
    else:
        victim = published
    source = {"training": repr(recipe), "seed": seed} if weights is None else {"weights": weights.name}
    victims.save(out, victim, data=data, made_of=made_of, **source)
    print(f"{out}: {network}, {metrics.stealer_accuracy(victim, images.test):.2%} accuracy on the test set")
